"""Coordinators that are found through etcd, or named together: `etcd://…`, `direct://…` (PROTOCOL §11)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from coordinator.client._errors import InvalidUse
from coordinator.client._grpc import GrpcTransport
from coordinator.client._transport import (
    BranchRegistration,
    ConnectionProblem,
    Operation,
    TopicOperation,
    WorkflowState,
)
from coordinator.discovery.base import DiscoveryError
from coordinator.discovery.open import open_resolver
from coordinator.discovery.target import host_and_port, parse_target
from coordinator.model import PROTOCOL_GRPC, TransactionRequest

_T = TypeVar("_T")


class DiscoveredTransport:
    """gRPC to the registered coordinators in turns; the attempt after one that fails goes to the next."""

    protocol = PROTOCOL_GRPC

    def __init__(self, target: str) -> None:
        self._target = target
        self._resolver = open_resolver()
        self._transports: dict[str, GrpcTransport] = {}
        self._turn = 0

    @property
    def address(self) -> str:
        """See Transport."""
        return self._target

    async def operate(self, operation: Operation, request: TransactionRequest, timeout: float) -> None:
        """See Transport."""
        await self._with_one(lambda one: one.operate(operation, request, timeout))

    async def register_branch(self, registration: BranchRegistration, timeout: float) -> None:
        """See Transport."""
        await self._with_one(lambda one: one.register_branch(registration, timeout))

    async def prepare_workflow(self, request: TransactionRequest, timeout: float) -> WorkflowState:
        """See Transport."""
        return await self._with_one(lambda one: one.prepare_workflow(request, timeout))

    async def change_topic(
        self, operation: TopicOperation, topic: str, url: str, remark: str, timeout: float
    ) -> None:
        """See Transport."""
        await self._with_one(lambda one: one.change_topic(operation, topic, url, remark, timeout))

    async def new_gid(self, timeout: float) -> str:
        """See Transport."""
        return await self._with_one(lambda one: one.new_gid(timeout))

    async def query(self, gid: str, timeout: float) -> Mapping[str, Any]:
        """Raises InvalidUse: the protocol has no query over gRPC."""
        return await self._with_one(lambda one: one.query(gid, timeout))

    async def close(self) -> None:
        """See Transport."""
        for transport in self._transports.values():
            await transport.close()
        self._transports.clear()
        await self._resolver.close()

    async def _with_one(self, ask: Callable[[GrpcTransport], Awaitable[_T]]) -> _T:
        try:
            endpoints = await self._resolver.endpoints(self._target)
        except DiscoveryError as error:
            raise ConnectionProblem(str(error), sent=False) from error
        endpoint = endpoints[self._turn % len(endpoints)]
        self._turn += 1
        if endpoint not in self._transports:
            await self._forget_all_but(endpoints)
            self._transports[endpoint] = GrpcTransport(*host_and_port(endpoint))
        return await ask(self._transports[endpoint])

    async def _forget_all_but(self, endpoints: Any) -> None:
        for gone in [known for known in self._transports if known not in endpoints]:
            await self._transports.pop(gone).close()


def checked_target(url: str) -> str:
    """Return the target in the resolver's form; raises InvalidUse with the sentence of what is wrong."""
    try:
        return str(parse_target(url))
    except ValueError as error:
        raise InvalidUse(f"coordinator url {url!r} {error}") from error
