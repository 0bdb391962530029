"""gRPC branches (PROTOCOL §10): payload bytes untouched, pooled connections, round robin over endpoints."""

import asyncio
from collections.abc import Sequence
from typing import Final

from grpclib.const import Status
from grpclib.exceptions import StreamTerminatedError
from h2.exceptions import H2Error

from coordinator.calls.answers import grpc_answer
from coordinator.calls.balance import Balancer
from coordinator.calls.base import Answer
from coordinator.calls.channels import Channels, Pooled
from coordinator.calls.deadlines import Deadlines
from coordinator.calls.grpc_connection import ReplyTooLong
from coordinator.calls.grpc_headers import grpc_headers
from coordinator.calls.grpc_stream import BrokenReply, CannotConnect, UnaryCall
from coordinator.calls.header_block import HeaderBlock
from coordinator.calls.url import GrpcUrl
from coordinator.discovery.base import DiscoveryError, Resolver
from coordinator.discovery.names import Names
from coordinator.discovery.target import shown
from coordinator.errors import Busy
from coordinator.model import Branch, Result, Transaction, TransType
from coordinator.proto.workflow import WorkflowData

DEAD_SECONDS: Final = 5.0  # an endpoint that could not be connected to is passed over for so long

_UNAVAILABLE: Final = Status.UNAVAILABLE.value
_DEADLINE_EXCEEDED: Final = Status.DEADLINE_EXCEEDED.value
_RESOURCE_EXHAUSTED: Final = Status.RESOURCE_EXHAUSTED.value
_INTERNAL: Final = Status.INTERNAL.value


class GrpcCaller:
    """Calls gRPC branches. To be made and used on one running event loop.

    resolver: turns targets into endpoints; its owner closes it. reply_bytes_max: a longer reply is UNKNOWN.
    channels_max: connections at a time. idle_seconds: how long an unused one is kept. names: looks hosts up;
    its owner closes it.
    An UNKNOWN of our own has the status that a Go client would report: UNAVAILABLE, DEADLINE_EXCEEDED …
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        reply_bytes_max: int,
        channels_max: int,
        idle_seconds: float,
        deadlines: Deadlines,
        names: Names,
    ) -> None:
        self._resolver = resolver
        self._reply_bytes_max = reply_bytes_max
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._channels = Channels(channels_max=channels_max, idle_seconds=idle_seconds, names=names)
        self._balancer = Balancer(dead_seconds=DEAD_SECONDS, monotonic=self._loop.time)

    async def call(self, transaction: Transaction, branch: Branch, url: GrpcUrl, timeout: float) -> Answer:
        """Call the branch. timeout: seconds, for resolving, connecting and the call together."""
        deadline = self._deadlines.within(timeout)
        ends = self._loop.time() + timeout
        try:
            with deadline:
                endpoints = await self._resolver.endpoints(url.target)
                return await self._call_any(endpoints, transaction, branch, url, ends)
        except DiscoveryError as error:
            return _unknown(str(error), _UNAVAILABLE)
        except Busy as error:
            return _unknown(str(error), _RESOURCE_EXHAUSTED)
        except TimeoutError:
            return _unknown(
                f"{shown(url.target)}{url.path} gave no answer within {timeout:g} s", _DEADLINE_EXCEEDED
            )

    async def close(self) -> None:
        """Close the pooled connections. Calls that still run end with UNKNOWN."""
        self._channels.close()

    async def _call_any(
        self, endpoints: Sequence[str], transaction: Transaction, branch: Branch, url: GrpcUrl, ends: float
    ) -> Answer:
        """Call the first endpoint, in the balancer's order, that can be connected to."""
        candidates = self._balancer.order(url.target, endpoints)
        problem = "no endpoint"
        for index, endpoint in enumerate(candidates):
            remaining = ends - self._loop.time()
            # While there are others to try, one that does not react gets only its share of the time.
            others = len(candidates) - index - 1
            connect_within = remaining / (others + 1) if others else None
            try:
                return await self._call_one(endpoint, transaction, branch, url, remaining, connect_within)
            except CannotConnect as error:
                self._balancer.failed(endpoint)
                problem = f"cannot connect to {endpoint} ({error})"
        also = f", nor to the other {len(candidates) - 1} endpoints" if len(candidates) > 1 else ""
        return _unknown(f"{problem}{also}", _UNAVAILABLE)

    async def _call_one(
        self,
        endpoint: str,
        transaction: Transaction,
        branch: Branch,
        url: GrpcUrl,
        timeout: float,
        connect_within: float | None,
    ) -> Answer:
        """Call over the endpoint's channel. Raises CannotConnect, and then nothing was sent."""
        try:
            headers = grpc_headers(url.authority or endpoint, url.path, transaction, branch, timeout)
        except ValueError as error:
            return _unknown(f"the call cannot be sent: {error}", _INTERNAL)
        pooled = self._channels.take(endpoint)
        began = self._loop.time()
        try:
            answer = await self._exchange(pooled, headers, _body(transaction, branch), connect_within)
        except asyncio.CancelledError:
            # Nothing came since this call began: the connection may be dead without anybody having said so.
            if pooled.last_answer < began:
                self._channels.retire(pooled)
            raise
        finally:
            self._channels.give_back(pooled)
        pooled.last_answer = self._loop.time()
        self._balancer.answered(endpoint)
        return answer

    async def _exchange(
        self, pooled: Pooled, headers: HeaderBlock, payload: bytes, connect_within: float | None
    ) -> Answer:
        call = UnaryCall(pooled.channel)
        try:
            return await self._once(call, pooled, headers, payload, connect_within)
        except StreamTerminatedError as error:
            if self._channels.is_closed or not call.may_repeat(error):
                return _broken(pooled, error)
        # The server had closed the connection, or takes no more calls on it: once more, on another.
        try:
            return await self._once(UnaryCall(pooled.channel), pooled, headers, payload, connect_within)
        except StreamTerminatedError as error:
            return _broken(pooled, error)

    async def _once(
        self,
        call: UnaryCall,
        pooled: Pooled,
        headers: HeaderBlock,
        payload: bytes,
        connect_within: float | None,
    ) -> Answer:
        """Make the call, over the connection that there is or a new one. Raises StreamTerminatedError."""
        try:
            await self._connect(call, headers, connect_within)
            status, message = await call.finish(payload, self._reply_bytes_max)
        except ReplyTooLong as error:
            return _unknown(f"{pooled.endpoint}: {error}", _RESOURCE_EXHAUSTED)
        except BrokenReply as error:
            return _unknown(f"{pooled.endpoint} does not speak gRPC: {error}", _INTERNAL)
        except H2Error as error:
            self._channels.retire(pooled)  # of no more use: out of stream numbers, for instance
            return _unknown(f"the connection to {pooled.endpoint} failed: {error!r}", _UNAVAILABLE)
        finally:
            call.release()
        return grpc_answer(status, message)

    async def _connect(self, call: UnaryCall, headers: HeaderBlock, within: float | None) -> None:
        if within is None:
            await call.connect(headers)
            return
        try:
            with self._deadlines.within(within):
                await call.connect(headers)
        except TimeoutError as error:
            raise CannotConnect(f"no reaction within {within:.1f} s") from error


def _body(transaction: Transaction, branch: Branch) -> bytes:
    # The only call that has a type of its own is the one that lets a workflow go on (PROTOCOL §7).
    if transaction.trans_type == TransType.WORKFLOW:
        return bytes(WorkflowData(data=branch.payload))
    return branch.payload


def _broken(pooled: Pooled, error: StreamTerminatedError) -> Answer:
    return _unknown(f"the connection to {pooled.endpoint} broke: {error}", _UNAVAILABLE)


def _unknown(text: str, status: int) -> Answer:
    return Answer(Result.UNKNOWN, text, status)
