"""gRPC branches (PROTOCOL §10): payload bytes untouched, pooled connections, round robin over endpoints."""

import asyncio
from collections.abc import Sequence
from typing import Final

from grpclib.const import Status

from coordinator.attempt import Kind
from coordinator.calls.answers import grpc_answer
from coordinator.calls.balance import Balancer
from coordinator.calls.base import Answer
from coordinator.calls.channels import Channels, Pooled
from coordinator.calls.connect import Reach
from coordinator.calls.grpc_connection import GrpcConnection
from coordinator.calls.grpc_headers import grpc_headers
from coordinator.calls.grpc_reply import Broke, BrokenReply, NotServed, ReplyTooLong
from coordinator.calls.kinds import kind_of_connecting
from coordinator.calls.url import GrpcUrl
from coordinator.deadlines import Deadlines
from coordinator.discovery.base import DiscoveryError, Resolver
from coordinator.discovery.target import shown
from coordinator.errors import Busy
from coordinator.model import Branch, Result, Transaction, TransType
from coordinator.proto.workflow import WorkflowData
from coordinator.results import RESULT_BYTES_MAX, keeps

DEAD_SECONDS: Final = 5.0  # an endpoint that could not be connected to is passed over for so long

_KEPT_BYTES: Final = RESULT_BYTES_MAX + 1  # enough to see that it is too long
_UNAVAILABLE: Final = Status.UNAVAILABLE.value
_DEADLINE_EXCEEDED: Final = Status.DEADLINE_EXCEEDED.value
_RESOURCE_EXHAUSTED: Final = Status.RESOURCE_EXHAUSTED.value
_INTERNAL: Final = Status.INTERNAL.value


class CannotConnect(Exception):
    """No connection: nothing was sent, so another endpoint may be tried."""


class GrpcCaller:
    """Calls gRPC branches. To be made and used on one running event loop.

    resolver: turns targets into endpoints; its owner closes it. reply_bytes_max: a longer reply is UNKNOWN.
    channels_max: connections at a time. idle_seconds: how long an unused one is kept.
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
        reach: Reach,
    ) -> None:
        self._resolver = resolver
        self._reply_bytes_max = reply_bytes_max
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._channels = Channels(channels_max=channels_max, idle_seconds=idle_seconds, reach=reach)
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
            return _unknown(str(error), _UNAVAILABLE, Kind.DNS)
        except Busy as error:
            return _unknown(str(error), _RESOURCE_EXHAUSTED, Kind.FULL)
        except TimeoutError:
            return _unknown(
                f"{shown(url.target)}{url.path} gave no answer within {timeout:g} s",
                _DEADLINE_EXCEEDED,
                Kind.TIMEOUT,
            )

    async def close(self) -> None:
        """Close the pooled connections. Calls that still run end with UNKNOWN."""
        self._channels.close()

    async def _call_any(
        self, endpoints: Sequence[str], transaction: Transaction, branch: Branch, url: GrpcUrl, ends: float
    ) -> Answer:
        """Call the first endpoint, in the balancer's order, that can be connected to."""
        candidates = self._balancer.order(url.target, endpoints)
        problem, kind = "no endpoint", Kind.DNS
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
                kind = kind_of_connecting(error.__cause__)
        also = f", nor to the other {len(candidates) - 1} endpoints" if len(candidates) > 1 else ""
        return _unknown(f"{problem}{also}", _UNAVAILABLE, kind)

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
            headers = grpc_headers(
                url.authority or endpoint, url.path, transaction, branch, timeout, https=url.is_encrypted
            )
        except ValueError as error:
            return _unknown(f"the call cannot be sent: {error}", _INTERNAL, Kind.URL)
        pooled = self._channels.take(
            endpoint, url.authority, is_encrypted=url.is_encrypted, certificate_of=url.certificate_of
        )
        began = self._loop.time()
        try:
            payload, keeps_bytes = _body(transaction, branch), _KEPT_BYTES if keeps(branch.url) else 0
            answer = await self._exchange(pooled, headers, payload, connect_within, keeps_bytes)
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
        self,
        pooled: Pooled,
        headers: bytes,
        payload: bytes,
        connect_within: float | None,
        keeps_bytes: int,
    ) -> Answer:
        for attempt in (1, 2):
            try:
                return await self._once(pooled, headers, payload, connect_within, keeps_bytes)
            except NotServed as error:
                # The server had closed the connection, or takes no more calls on it: once more, on another.
                if attempt == 2 or self._channels.is_closed:
                    return _broken(pooled, error)
            except Broke as error:
                return _broken(pooled, error)
        raise AssertionError("the second attempt returns")

    async def _once(
        self,
        pooled: Pooled,
        headers: bytes,
        payload: bytes,
        connect_within: float | None,
        keeps_bytes: int,
    ) -> Answer:
        """Make the call, over the connection that there is or a new one. Raises CannotConnect, Broke."""
        connection = await self._connected(pooled, connect_within)
        try:
            status, reply = await connection.call_and_keep(
                headers, payload, reply_bytes_max=self._reply_bytes_max, keeps_bytes=keeps_bytes
            )
        except ReplyTooLong as error:
            return _unknown(f"{pooled.endpoint}: {error}", _RESOURCE_EXHAUSTED, Kind.BROKEN)
        except BrokenReply as error:
            return _unknown(f"{pooled.endpoint} does not speak gRPC: {error}", _INTERNAL, Kind.BROKEN)
        return grpc_answer(*status, reply if keeps_bytes else None)

    async def _connected(self, pooled: Pooled, within: float | None) -> GrpcConnection:
        try:
            if within is None:
                return await pooled.channel.connected()
            with self._deadlines.within(within):
                return await pooled.channel.connected()
        except OSError as error:
            if within is not None and isinstance(error, TimeoutError):
                raise CannotConnect(f"no reaction within {within:.1f} s") from error
            raise CannotConnect(error.strerror or str(error)) from error


def _body(transaction: Transaction, branch: Branch) -> bytes:
    # The only call that has a type of its own is the one that lets a workflow go on (PROTOCOL §7).
    if transaction.trans_type == TransType.WORKFLOW:
        return bytes(WorkflowData(data=branch.payload))
    return branch.payload


def _broken(pooled: Pooled, error: Broke) -> Answer:
    return _unknown(f"the connection to {pooled.endpoint} broke: {error}", _UNAVAILABLE, Kind.BROKEN)


def _unknown(text: str, status: int, cause: Kind) -> Answer:
    return Answer(Result.UNKNOWN, text, status, cause=cause)
