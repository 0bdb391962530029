"""gRPC branches (PROTOCOL §10): payload bytes untouched, pooled connections, round robin over endpoints."""

import asyncio
from collections.abc import Sequence
from typing import Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from h2.exceptions import H2Error
from multidict import MultiDict

from coordinator.calls.answers import GRPC_OK, grpc_answer
from coordinator.calls.balance import Balancer
from coordinator.calls.base import Answer
from coordinator.calls.channels import Channels, Pooled
from coordinator.calls.deadlines import Deadlines
from coordinator.calls.grpc_stream import BranchStream, CannotConnect, ReplyTooLong
from coordinator.calls.url import GrpcUrl
from coordinator.discovery.base import DiscoveryError, Resolver
from coordinator.discovery.target import shown
from coordinator.errors import Busy
from coordinator.model import Branch, Result, Transaction

DEAD_SECONDS: Final = 5.0  # an endpoint that could not be connected to is passed over for so long

_UNAVAILABLE: Final = Status.UNAVAILABLE.value
_DEADLINE_EXCEEDED: Final = Status.DEADLINE_EXCEEDED.value
_RESOURCE_EXHAUSTED: Final = Status.RESOURCE_EXHAUSTED.value
_INTERNAL: Final = Status.INTERNAL.value
_RESERVED: Final = frozenset(
    {"te", "content-type", "user-agent"}
)  # gRPC's own; Go clients drop them silently too


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
    ) -> None:
        self._resolver = resolver
        self._reply_bytes_max = reply_bytes_max
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._channels = Channels(channels_max=channels_max, idle_seconds=idle_seconds)
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
                return await self._call_one(
                    endpoint, transaction, branch, url.path, remaining, connect_within
                )
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
        path: str,
        timeout: float,
        connect_within: float | None,
    ) -> Answer:
        """Call over the endpoint's channel. Raises CannotConnect, and then nothing was sent."""
        pooled = self._channels.take(endpoint)
        began = self._loop.time()
        stream = BranchStream(pooled.channel, path, _metadata(transaction, branch), timeout)
        try:
            answer = await self._exchange(stream, pooled, branch.payload, connect_within)
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
        self, stream: BranchStream, pooled: Pooled, payload: bytes, connect_within: float | None
    ) -> Answer:
        try:
            async with stream:
                await self._connect(stream, connect_within)
                await stream.send_message(payload, end=True)
                await stream.drop_reply(self._reply_bytes_max)
        except GRPCError as error:
            return grpc_answer(error.status.value, error.message or "")
        except StreamTerminatedError as error:
            return _unknown(f"the connection to {pooled.endpoint} broke: {error}", _UNAVAILABLE)
        except ReplyTooLong as error:
            return _unknown(f"{pooled.endpoint}: {error}", _RESOURCE_EXHAUSTED)
        except (H2Error, ProtocolError, AssertionError) as error:  # grpclib asserts that a message is whole
            self._channels.retire(pooled)
            return _unknown(f"{pooled.endpoint} broke the rules of gRPC: {error}", _INTERNAL)
        except ValueError as error:  # grpclib's only one: about metadata
            return _unknown(f"the call cannot be sent: {error}", _INTERNAL)
        finally:
            stream.settle()
        return grpc_answer(GRPC_OK, "")

    async def _connect(self, stream: BranchStream, within: float | None) -> None:
        if within is None:
            await stream.connect()
            return
        try:
            with self._deadlines.within(within):
                await stream.connect()
        except TimeoutError as error:
            raise CannotConnect(f"no reaction within {within:.1f} s") from error


def _metadata(transaction: Transaction, branch: Branch) -> "MultiDict[str | bytes]":
    """What travels beside the payload. Empty values are left out, grpclib refuses them."""
    metadata: MultiDict[str | bytes] = MultiDict(
        [
            ("dtm-gid", branch.gid),
            ("dtm-trans_type", transaction.trans_type),
            ("dtm-branch_id", branch.branch_id),
            ("dtm-op", branch.op),
        ]
    )
    for name, value in transaction.options.branch_headers.items():
        key = name.lower()
        if value and key not in _RESERVED and not key.startswith("grpc-"):
            metadata.add(key, value.encode() if key.endswith("-bin") else value)
    return metadata


def _unknown(text: str, status: int) -> Answer:
    return Answer(Result.UNKNOWN, text, status)
