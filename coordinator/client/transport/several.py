"""Several coordinators over one database, asked in turns; after one that fails another is tried."""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

from coordinator.client.transport.base import (
    BranchRegistration,
    ConnectionProblem,
    ListFilter,
    Operation,
    TopicOperation,
    Transport,
    WorkflowState,
)
from coordinator.client.transport.step_results import Results
from coordinator.model import TransactionRequest

_T = TypeVar("_T")

PASSED_OVER_SECONDS: Final = 10.0  # after a call that failed, while there are others
_SHARE: Final = 0.5  # of the time-out, for one of several
_SHARE_OF_A_WAIT: Final = 0.75  # of the time-out: the coordinator holds such an answer back


class SeveralTransports:
    """One that takes connections and does not answer gets only a share of an operation's time.

    find: returns who there is now; raises ConnectionProblem. opened: makes the transport to one of them.
    closed: called at the end. address: told to branches.
    """

    def __init__(
        self,
        find: Callable[[], Awaitable[Sequence[str]]],
        opened: Callable[[str], Transport],
        *,
        protocol: str,
        address: str,
        closed: Callable[[], Awaitable[None]] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.protocol = protocol
        self.address = address
        self._find = find
        self._opened = opened
        self._closed = closed
        self._transports: dict[str, Transport] = {}
        self._turn = 0
        self._monotonic = monotonic
        self._failed_at: dict[str, float] = {}  # by `monotonic`, of those whose last call failed

    async def operate(self, operation: Operation, request: TransactionRequest, timeout: float) -> Results:
        """See Transport."""
        options = request.options
        share = _SHARE_OF_A_WAIT if options.wait_result else _SHARE
        held_seconds = options.request_timeout if options.wait_result else 0
        return await self._with_one(
            timeout,
            lambda one, seconds: one.operate(operation, request, seconds),
            share=share,
            held_seconds=held_seconds,
        )

    async def kept_results(self, gid: str, timeout: float) -> Results:
        """See Transport."""
        return await self._with_one(timeout, lambda one, seconds: one.kept_results(gid, seconds))

    async def register_branch(self, registration: BranchRegistration, timeout: float) -> None:
        """See Transport."""
        await self._with_one(timeout, lambda one, seconds: one.register_branch(registration, seconds))

    async def prepare_workflow(self, request: TransactionRequest, timeout: float) -> WorkflowState:
        """See Transport."""
        return await self._with_one(timeout, lambda one, seconds: one.prepare_workflow(request, seconds))

    async def change_topic(
        self, operation: TopicOperation, topic: str, url: str, remark: str, timeout: float
    ) -> None:
        """See Transport."""
        await self._with_one(
            timeout, lambda one, seconds: one.change_topic(operation, topic, url, remark, seconds)
        )

    async def new_gid(self, timeout: float) -> str:
        """See Transport."""
        return await self._with_one(timeout, lambda one, seconds: one.new_gid(seconds))

    async def query(self, gid: str, timeout: float) -> Mapping[str, Any]:
        """See Transport."""
        return await self._with_one(timeout, lambda one, seconds: one.query(gid, seconds))

    async def list(self, wanted: ListFilter, timeout: float) -> Mapping[str, Any]:
        """See Transport."""
        return await self._with_one(timeout, lambda one, seconds: one.list(wanted, seconds))

    async def stop(self, gid: str, timeout: float) -> None:
        """See Transport."""
        await self._with_one(timeout, lambda one, seconds: one.stop(gid, seconds))

    async def retry(self, gid: str, timeout: float) -> None:
        """See Transport."""
        await self._with_one(timeout, lambda one, seconds: one.retry(gid, seconds))

    async def close(self) -> None:
        """See Transport."""
        for transport in self._transports.values():
            await transport.close()
        self._transports.clear()
        if self._closed is not None:
            await self._closed()

    async def _with_one(
        self,
        timeout: float,
        ask: Callable[[Transport, float], Awaitable[_T]],
        *,
        share: float = _SHARE,
        held_seconds: float = 0,
    ) -> _T:
        """Ask one of them, giving it all of the time-out where it is the only one, else a share of it.

        held_seconds: how long the coordinator may rightly be silent; not shared.
        """
        found = await self._find()
        chosen = self._next_of(found)
        if chosen not in self._transports:
            await self._forget_all_but(found)
            self._transports[chosen] = self._opened(chosen)
        held_seconds = min(held_seconds, timeout)
        seconds = held_seconds + (timeout - held_seconds) * share if len(found) > 1 else timeout
        try:
            answer = await ask(self._transports[chosen], seconds)
        except ConnectionProblem:
            if chosen in self._transports:  # else it is forgotten
                self._failed_at[chosen] = self._monotonic()
            raise
        self._failed_at.pop(chosen, None)
        return answer

    def _next_of(self, found: Sequence[str]) -> str:
        """Return whose turn it is, passing over those that failed a moment ago unless all have."""
        turns = [found[(self._turn + step) % len(found)] for step in range(len(found))]
        self._turn += 1
        failed_before = self._monotonic() - PASSED_OVER_SECONDS
        return next(
            (one for one in turns if self._failed_at.get(one, failed_before) <= failed_before), turns[0]
        )

    async def _forget_all_but(self, found: Collection[str]) -> None:
        for gone in [known for known in self._transports if known not in found]:
            await self._transports.pop(gone).close()
            self._failed_at.pop(gone, None)
