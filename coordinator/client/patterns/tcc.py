"""TCC: try everywhere, then confirm everywhere, or cancel everywhere (PROTOCOL §7)."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from coordinator.client.patterns.begun import GlobalTransaction
from coordinator.client.transport.base import BranchRegistration
from coordinator.client.transport.branch_calls import BranchAnswer, BranchCall
from coordinator.client.transport.checks import check_either_url, check_open, check_url_called_from_here
from coordinator.client.transport.context import BranchContext
from coordinator.client.transport.coordinator import Coordinator
from coordinator.client.transport.options import headers_of_call
from coordinator.client.transport.payload import Payload
from coordinator.model import Op, Options, TransType


class Tcc:
    """A TCC transaction (PROTOCOL §7); made by `Dtm.tcc` as a block, by `Dtm.nested_tcc` inside a try.

    Example:
        async with dtm.tcc() as tcc:
            await tcc.call_branch({"amount": 30}, f"{a}/Try", f"{a}/Confirm", f"{a}/Cancel")
            await tcc.call_branch({"amount": 30}, f"{b}/Try", f"{b}/Confirm", f"{b}/Cancel")
    """

    def __init__(self, coordinator: Coordinator, options: Options, parent: BranchContext) -> None:
        self._coordinator = coordinator
        self._options = options
        self._parent = parent
        self._is_open = bool(parent.branch_id)  # one that is nested has its block elsewhere
        self._global = GlobalTransaction(coordinator, parent.gid, TransType.TCC, options)

    @property
    def gid(self) -> str:
        """The gid of the whole transaction."""
        return self._parent.gid

    async def call_branch(
        self,
        payload: Payload,
        try_url: str,
        confirm_url: str,
        cancel_url: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> BranchAnswer:
        """Register confirm and cancel, then call try; return what it answered.

        payload: given to all three. headers: sent with this try alone, before branch_headers, which go with
        all three. Raises InvalidUse outside of the block, and for what cannot be called or sent. Raises
        Failure when the try says no, Ongoing, DtmError when it is not known whether it was done,
        Unreachable: let it leave the block, and everything is cancelled. Raises Failure as well when the
        transaction has timed out meanwhile.
        """
        check_open(self._is_open, "tcc", self.gid)
        check_url_called_from_here("try_url", try_url)
        check_either_url("confirm_url", confirm_url)
        check_either_url("cancel_url", cancel_url)
        all_headers = headers_of_call(self._options, headers, try_url)
        encoded = self._coordinator.encode(payload)
        branch_id = self._parent.next_branch_id()
        await self._coordinator.register_branch(
            BranchRegistration(
                self.gid, TransType.TCC, branch_id, {"confirm": confirm_url, "cancel": cancel_url}, encoded
            )
        )
        call = BranchCall(
            try_url,
            encoded,
            self.gid,
            TransType.TCC,
            branch_id,
            Op.TRY,
            headers=all_headers,
            more=self._coordinator.told_to_branches,
        )
        return await self._coordinator.call_branch(call, self._options.request_timeout)

    async def __aenter__(self) -> Self:
        await self._global.prepare()
        self._is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_open = False
        await self._global.end(error)
