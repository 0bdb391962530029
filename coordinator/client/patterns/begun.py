"""The begin and the end that tcc and xa have in common: prepare, then submit or abort (PROTOCOL §5, §7)."""

import asyncio
from typing import Final

from coordinator.client.errors import DtmError
from coordinator.client.transport.base import Operation
from coordinator.client.transport.coordinator import Coordinator
from coordinator.client.transport.said import rollback_reason_of
from coordinator.model import Options, TransactionRequest

_CANCELLED_SECONDS: Final = 2.0  # how long a cancelled task may take to say so to the coordinator


class GlobalTransaction:
    """One prepared transaction of this process."""

    def __init__(self, coordinator: Coordinator, gid: str, trans_type: str, options: Options) -> None:
        self._coordinator = coordinator
        self._gid = gid
        self._trans_type = trans_type
        self._options = options

    async def prepare(self) -> None:
        """Store it. Raises Failure when the gid was used before, Unreachable."""
        await self._coordinator.operate(Operation.PREPARE, self._request())

    async def end(self, error: BaseException | None) -> None:
        """Submit where there is no error, abort where there is one.

        An abort that cannot be said is a note on the error: the coordinator rolls back by itself when
        timeout_to_fail has passed.
        """
        if error is None:
            await self._coordinator.operate(Operation.SUBMIT, self._request())
        elif isinstance(error, (Exception, asyncio.CancelledError)):
            await self._abort(error)
        # Else the process is ending: the coordinator rolls back in time.

    async def _abort(self, error: BaseException) -> None:
        reason = rollback_reason_of(error)
        seconds = _CANCELLED_SECONDS if isinstance(error, asyncio.CancelledError) else None
        try:
            async with asyncio.timeout(seconds):
                await self._coordinator.operate(Operation.ABORT, self._request(reason))
        except (DtmError, TimeoutError) as problem:
            error.add_note(
                f"Transaction {self._gid} could not be aborted at once ({str(problem) or 'no answer'}); "
                "the coordinator rolls it back when its timeout_to_fail has passed."
            )

    def _request(self, reason: str = "") -> TransactionRequest:
        return TransactionRequest(
            gid=self._gid,
            trans_type=self._trans_type,
            protocol=self._coordinator.protocol,
            options=self._options,
            rollback_reason=reason,
        )
