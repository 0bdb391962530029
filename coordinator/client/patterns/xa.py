"""XA: the branches' local transactions, prepared everywhere, then committed everywhere (PROTOCOL §7)."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from coordinator.client.patterns.begun import GlobalTransaction
from coordinator.client.transport.branch_calls import BranchAnswer, BranchCall
from coordinator.client.transport.checks import check_open, check_url_called_from_here
from coordinator.client.transport.context import PHASE_TWO_URL, BranchContext
from coordinator.client.transport.coordinator import Coordinator
from coordinator.client.transport.options import headers_of_call
from coordinator.client.transport.payload import Payload
from coordinator.model import Op, Options, TransType


class Xa:
    """An XA transaction (PROTOCOL §7); made by `Dtm.xa` as a block, by `Dtm.nested_xa` inside an action.

    Example:
        async with dtm.xa() as xa:
            await xa.call_branch(f"{a}/TransOut", {"amount": 30})
            await xa.call_branch(f"{b}/TransIn", {"amount": 30})
    """

    def __init__(self, coordinator: Coordinator, options: Options, parent: BranchContext) -> None:
        self._coordinator = coordinator
        self._options = options
        self._parent = parent
        self._is_open = bool(parent.branch_id)  # one that is nested has its block elsewhere
        self._global = GlobalTransaction(coordinator, parent.gid, TransType.XA, options)

    @property
    def gid(self) -> str:
        """The gid of the whole transaction."""
        return self._parent.gid

    async def call_branch(
        self, url: str, payload: Payload = None, *, headers: Mapping[str, str] | None = None
    ) -> BranchAnswer:
        """Call a branch, which prepares its local transaction (`Dtm.xa_branch` there); return its answer.

        The same url is called for commit and rollback. headers: sent with this call alone, before
        branch_headers, which go with commit and rollback, too. Raises InvalidUse outside of the block, and
        for what cannot be called or sent. Raises Failure when the branch says no, Ongoing, DtmError when it
        is not known whether it was done: let it leave the block, and all are rolled back.
        """
        check_open(self._is_open, "xa", self.gid)
        check_url_called_from_here("url", url)
        all_headers = headers_of_call(self._options, headers, url)
        call = BranchCall(
            url,
            self._coordinator.encode(payload),
            self.gid,
            TransType.XA,
            self._parent.next_branch_id(),
            Op.ACTION,
            headers=all_headers,
            more={PHASE_TWO_URL: url, **self._coordinator.told_to_branches},
            always_post=True,
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
