"""gRPC connections, one per endpoint: shared by the calls, closed when idle, bounded in number."""

import asyncio
from dataclasses import dataclass
from typing import Final, cast
from weakref import WeakSet

from grpclib.client import Channel
from grpclib.config import Configuration

from coordinator.calls.connect import connect
from coordinator.calls.grpc_connection import BranchProtocol
from coordinator.discovery.names import Names
from coordinator.discovery.target import host_and_port
from coordinator.errors import Busy

_STREAM_WINDOW_BYTES: Final = 65_535  # of a reply in flight; HTTP/2's least, because replies are dropped
_CONNECTION_WINDOW_BYTES: Final = 1 << 20


class BranchChannel(Channel):
    """A channel for calls whose headers are a HeaderBlock.

    Headers come as Latin-1, which no byte fails: what a branch does not encode breaks no connection.
    """

    def __init__(self, host: str, port: int, *, config: Configuration, names: Names) -> None:
        super().__init__(host, port, config=config)
        self._names = names
        self._h2_config.header_encoding = "latin-1"
        self._left: WeakSet[BranchProtocol] = WeakSet()  # connections that go on beside the present one

    async def connected(self) -> BranchProtocol:
        """Return the connection; made anew when there is none that takes calls. Raises OSError."""
        return cast(BranchProtocol, await self.__connect__())

    def close(self) -> None:
        """Close all connections; calls that still run end with an error."""
        for protocol in self._left:
            protocol.processor.close()
        super().close()

    def _protocol_factory(self) -> BranchProtocol:
        return BranchProtocol(self._config, self._h2_config)

    async def _create_connection(self) -> BranchProtocol:
        if isinstance(self._protocol, BranchProtocol):
            self._left.add(self._protocol)
        return await connect(self._protocol_factory, await self._names.addresses(self._host), self._port)


@dataclass(slots=True, eq=False)
class Pooled:
    """A channel and who uses it. grpclib connects it at its first call, and again when that broke."""

    endpoint: str
    channel: BranchChannel
    calls: int = 0  # running
    last_used: float = 0.0  # seconds of the loop's clock
    last_answer: float = 0.0
    is_retired: bool = False  # takes no new calls, closes with its last one


class Channels:
    """The pool. To be made on the running loop.

    channels_max: connections at a time, one per endpoint. idle_seconds: how long an unused one is kept.
    names: looks hosts up; its owner closes it.
    """

    def __init__(self, *, channels_max: int, idle_seconds: float, names: Names) -> None:
        self.is_closed = False
        self._names = names
        self._channels_max = channels_max
        self._idle_seconds = idle_seconds
        self._loop = asyncio.get_running_loop()
        self._pool: dict[str, Pooled] = {}  # least recently taken first
        self._retired: set[Pooled] = set()
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._configuration = Configuration(
            http2_connection_window_size=_CONNECTION_WINDOW_BYTES,
            http2_stream_window_size=_STREAM_WINDOW_BYTES,
        )

    def take(self, endpoint: str) -> Pooled:
        """Return the endpoint's channel; to be given back. Raises Busy when there are too many in use."""
        pooled = self._pool.pop(endpoint, None) or self._new(endpoint)
        self._pool[endpoint] = pooled
        pooled.calls += 1
        pooled.last_used = self._loop.time()
        return pooled

    def give_back(self, pooled: Pooled) -> None:
        """End the use of a channel."""
        pooled.calls -= 1
        if pooled.is_retired and pooled.calls == 0:
            self._retired.discard(pooled)
            pooled.channel.close()

    def retire(self, pooled: Pooled) -> None:
        """Let the next call to the endpoint have a connection of its own; the running ones keep this one."""
        if self._pool.get(pooled.endpoint) is pooled:
            del self._pool[pooled.endpoint]
            pooled.is_retired = True
            self._retired.add(pooled)

    def close(self) -> None:
        """Close all; calls that still run end with an error."""
        self.is_closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        for pooled in (*self._pool.values(), *self._retired):
            pooled.channel.close()
        self._pool.clear()

    def __len__(self) -> int:
        """How many are open, or ready to be."""
        return len(self._pool) + len(self._retired)

    def _new(self, endpoint: str) -> Pooled:
        if len(self._pool) >= self._channels_max:
            self._make_room()
        host, port = host_and_port(endpoint)
        channel = BranchChannel(host, port, config=self._configuration, names=self._names)
        if self._sweep_timer is None:
            self._sweep_timer = self._loop.call_later(self._idle_seconds, self._sweep)
        return Pooled(endpoint, channel)

    def _make_room(self) -> None:
        for endpoint, pooled in self._pool.items():
            if pooled.calls == 0:
                pooled.channel.close()
                del self._pool[endpoint]
                return
        raise Busy(f"calls to {len(self._pool)} gRPC endpoints are running, no more are allowed at a time")

    def _sweep(self) -> None:
        limit = self._loop.time() - self._idle_seconds
        for pooled in [each for each in self._pool.values() if each.calls == 0 and each.last_used <= limit]:
            pooled.channel.close()
            del self._pool[pooled.endpoint]
        again = bool(self._pool)
        self._sweep_timer = self._loop.call_later(self._idle_seconds, self._sweep) if again else None
