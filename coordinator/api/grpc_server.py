"""The gRPC server: its port, its connections and how many there may be, how it ends."""

import asyncio
import ssl
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from coordinator.api.connections import connections_max
from coordinator.api.grpc_call import Around, Call, Method
from coordinator.api.grpc_connection import Connection
from coordinator.api.room import BODY_BYTES_MAX, Room
from coordinator.deadlines import Deadlines
from coordinator.tls import listening_with


class GrpcServer:
    """Answers calls by their path (`/package.Service/Method`). Needs a running loop.

    room: for messages and metadata; None: its own. bytes_max: of a message.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        room: Room | None = None,
        bytes_max: int = BODY_BYTES_MAX,
        connections_at_most: int | None = None,
    ) -> None:
        self._methods = methods
        self._running: dict[asyncio.Task[None], Call] = {}
        self._around = Around(Room() if room is None else room, Deadlines(), bytes_max, self._running)
        self._connections: dict[Connection, None] = {}  # the oldest first
        self._connections_max = connections_at_most or connections_max()
        self._listening: asyncio.Server | None = None

    @property
    def paths(self) -> Collection[str]:
        """Of all methods."""
        return self._methods.keys()

    @property
    def connections(self) -> Collection[Connection]:
        """The open ones, the oldest first."""
        return self._connections.keys()

    async def start(
        self, host: str, port: int, *, backlog: int, tls: ssl.SSLContext | None, is_shared: bool = False
    ) -> int:
        """Open the port, 0: any free one; returns which. tls: None: plainly. Raises OSError.

        is_shared: with other processes.
        """
        self._listening = await asyncio.get_running_loop().create_server(
            self.connection,
            host,
            port,
            backlog=backlog,
            reuse_port=is_shared or None,
            **listening_with(tls),
        )
        found: int = self._listening.sockets[0].getsockname()[1]
        return found

    def connection(self) -> Connection:
        """For a client that has come."""
        return Connection(self._methods, self._around, self._connections, self._keep_to_bound)

    def transports(self) -> Iterable[tuple[asyncio.Transport, bool]]:
        """Every open transport, and whether writing to it is paused."""
        return ((connection.transport, connection.writing_paused) for connection in self._connections)

    def close(self) -> None:
        """Stop listening, give up the calls under way, say goodbye to every client."""
        if self._listening is not None:
            self._listening.close()
        for connection in tuple(self._connections):
            connection.say_goodbye()

    async def wait_closed(self) -> None:
        """Wait for what was given up; what goes on without its client is not waited for."""
        ending: list[asyncio.Task[Any]] = [
            task for task, call in self._running.items() if not call.is_protected
        ]
        if ending:
            await asyncio.wait(ending)
        if self._listening is not None:
            await self._listening.wait_closed()

    def _keep_to_bound(self, newcomer: Connection) -> None:
        """With too many open, who has not spoken yet makes room, else who has no call, else the newcomer."""
        if len(self._connections) > self._connections_max:
            others = [it for it in self._connections if it is not newcomer and not it.is_closing]
            silent = next((connection for connection in others if connection.is_silent), None)
            idle = silent or next((connection for connection in others if connection.is_idle), newcomer)
            idle.say_goodbye()
