"""gRPC connections, one per endpoint: shared by the calls, closed when idle, bounded in number."""

import asyncio
from dataclasses import dataclass
from weakref import WeakSet

from coordinator.calls.connect import Reach
from coordinator.calls.grpc_connection import GrpcConnection
from coordinator.discovery.target import host_and_port
from coordinator.errors import Busy


class BranchChannel:
    """Connects to one endpoint at its first call, and again when that connection takes no more calls.

    known_as: the host that its clients ask for, where that is another. is_encrypted: with TLS.
    certificate_of: whose certificate it must be then; empty: that host's.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        reach: Reach,
        known_as: str = "",
        is_encrypted: bool = False,
        certificate_of: str = "",
    ) -> None:
        self._host = host
        self._port = port
        self._reach = reach
        self._known_as = known_as
        self._certificate_of = certificate_of
        self._encrypts = "h2" if is_encrypted else ""
        self._connection: GrpcConnection | None = None
        self._connecting = asyncio.Lock()
        self._left: WeakSet[GrpcConnection] = WeakSet()  # connections that go on beside the present one
        self._is_closed = False

    async def connected(self) -> GrpcConnection:
        """Return the connection; made anew when there is none that takes calls. Raises OSError."""
        connection = self._connection
        if connection is not None and connection.takes_calls:
            return connection
        async with self._connecting:
            if self._connection is not None and self._connection.takes_calls:
                return self._connection
            if self._connection is not None:
                self._left.add(self._connection)
            made = await self._reach.connect(
                GrpcConnection,
                self._host,
                self._port,
                known_as=self._known_as,
                encrypts=self._encrypts,
                certificate_of=self._certificate_of,
            )
            if self._is_closed:
                made.close()
            self._connection = made
            return made

    def close(self) -> None:
        """Close all connections; calls that still run end with an error."""
        self._is_closed = True
        for connection in (*self._left, *([self._connection] if self._connection else ())):
            connection.close()


@dataclass(slots=True, eq=False)
class Pooled:
    """A channel and who uses it."""

    endpoint: str  # and, where it is encrypted, the name of its certificate
    channel: BranchChannel
    calls: int = 0  # running
    last_used: float = 0.0  # seconds of the loop's clock
    last_answer: float = 0.0
    is_retired: bool = False  # takes no new calls, closes with its last one


class Channels:
    """The pool. To be made on the running loop.

    channels_max: connections at a time, one per endpoint. idle_seconds: how long an unused one is kept.
    """

    def __init__(self, *, channels_max: int, idle_seconds: float, reach: Reach) -> None:
        self.is_closed = False
        self._reach = reach
        self._channels_max = channels_max
        self._idle_seconds = idle_seconds
        self._loop = asyncio.get_running_loop()
        self._pool: dict[str, Pooled] = {}  # least recently taken first
        self._retired: set[Pooled] = set()
        self._sweep_timer: asyncio.TimerHandle | None = None

    def take(
        self, endpoint: str, authority: str = "", *, is_encrypted: bool = False, certificate_of: str = ""
    ) -> Pooled:
        """Return the endpoint's channel; to be given back. Raises Busy when there are too many in use.

        authority: the `host:port` that the client asked for, where a look-up made the endpoint of it.
        is_encrypted: with TLS, and a certificate of `certificate_of`, or else of that host.
        """
        whose = certificate_of or authority or endpoint
        key = f"grpcs://{whose} at {endpoint}" if is_encrypted else endpoint
        pooled = self._pool.pop(key, None) or Pooled(
            key, self._new(endpoint, authority, is_encrypted, certificate_of)
        )
        self._pool[key] = pooled
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

    def _new(self, endpoint: str, authority: str, is_encrypted: bool, certificate_of: str) -> BranchChannel:
        if len(self._pool) >= self._channels_max:
            self._make_room()
        host, port = host_and_port(endpoint)
        known_as = host_and_port(authority)[0] if authority else ""
        if self._sweep_timer is None:
            self._sweep_timer = self._loop.call_later(self._idle_seconds, self._sweep)
        return BranchChannel(
            host,
            port,
            reach=self._reach,
            known_as=known_as,
            is_encrypted=is_encrypted,
            certificate_of=certificate_of,
        )

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
