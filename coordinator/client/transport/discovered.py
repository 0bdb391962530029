"""Coordinators that are found through etcd, or named together: `etcd://…`, `direct://…` (PROTOCOL §11)."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from coordinator.client.errors import InvalidUse
from coordinator.client.transport.base import (
    BranchRegistration,
    ConnectionProblem,
    Operation,
    TopicOperation,
    WorkflowState,
    without_secrets,
)
from coordinator.client.transport.over_grpc import GrpcTransport
from coordinator.discovery.base import DiscoveryError
from coordinator.discovery.open import open_resolver
from coordinator.discovery.target import host_and_port, parse_target
from coordinator.model import PROTOCOL_GRPC, TransactionRequest

_T = TypeVar("_T")

PASSED_OVER_SECONDS: Final = 10.0  # after a call that failed, while there are others
_SHARE: Final = 0.5  # of the time-out, for one of several
_SHARE_OF_A_WAIT: Final = 0.75  # of the time-out: the coordinator holds such an answer back


class DiscoveredTransport:
    """gRPC to the registered coordinators in turns; the attempt after one that fails goes to another.

    One that takes connections and does not answer gets only a share of an operation's time.
    """

    protocol = PROTOCOL_GRPC

    def __init__(self, target: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._target = target
        self._resolver = open_resolver()
        self._transports: dict[str, GrpcTransport] = {}
        self._turn = 0
        self._monotonic = monotonic
        self._failed_at: dict[str, float] = {}  # by `monotonic`, of those whose last call failed

    @property
    def address(self) -> str:
        """See Transport."""
        return without_secrets(self._target)

    async def operate(self, operation: Operation, request: TransactionRequest, timeout: float) -> None:
        """See Transport."""
        options = request.options
        share = _SHARE_OF_A_WAIT if options.wait_result else _SHARE
        held_seconds = options.request_timeout if options.wait_result else 0
        await self._with_one(
            timeout,
            lambda one, seconds: one.operate(operation, request, seconds),
            share=share,
            held_seconds=held_seconds,
        )

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
        """Raises InvalidUse: the protocol has no query over gRPC."""
        return await self._with_one(timeout, lambda one, seconds: one.query(gid, seconds))

    async def close(self) -> None:
        """See Transport."""
        for transport in self._transports.values():
            await transport.close()
        self._transports.clear()
        await self._resolver.close()

    async def _with_one(
        self,
        timeout: float,
        ask: Callable[[GrpcTransport, float], Awaitable[_T]],
        *,
        share: float = _SHARE,
        held_seconds: float = 0,
    ) -> _T:
        """Ask one of them, giving it all of the time-out where it is the only one, else a share of it.

        held_seconds: how long the coordinator may rightly be silent; not shared.
        """
        try:
            endpoints = await self._resolver.endpoints(self._target)
        except DiscoveryError as error:
            raise ConnectionProblem(str(error), sent=False) from error
        endpoint = self._next_of(endpoints)
        if endpoint not in self._transports:
            await self._forget_all_but(endpoints)
            self._transports[endpoint] = GrpcTransport(*host_and_port(endpoint))
        held_seconds = min(held_seconds, timeout)
        seconds = held_seconds + (timeout - held_seconds) * share if len(endpoints) > 1 else timeout
        try:
            answer = await ask(self._transports[endpoint], seconds)
        except ConnectionProblem:
            if endpoint in self._transports:  # else it is forgotten
                self._failed_at[endpoint] = self._monotonic()
            raise
        self._failed_at.pop(endpoint, None)
        return answer

    def _next_of(self, endpoints: Sequence[str]) -> str:
        """Return whose turn it is, passing over those that failed a moment ago unless all have."""
        turns = [endpoints[(self._turn + step) % len(endpoints)] for step in range(len(endpoints))]
        self._turn += 1
        failed_before = self._monotonic() - PASSED_OVER_SECONDS
        return next(
            (one for one in turns if self._failed_at.get(one, failed_before) <= failed_before), turns[0]
        )

    async def _forget_all_but(self, endpoints: Any) -> None:
        for gone in [known for known in self._transports if known not in endpoints]:
            await self._transports.pop(gone).close()
            self._failed_at.pop(gone, None)


def checked_target(url: str) -> str:
    """Return the target in the resolver's form; raises InvalidUse with the sentence of what is wrong."""
    try:
        return str(parse_target(url))
    except ValueError as error:
        raise InvalidUse(f"coordinator url {without_secrets(url)!r} {error}") from error
