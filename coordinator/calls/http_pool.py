"""Connections to HTTP branches, kept and used again: by endpoint, the one used last first."""

import asyncio
import ssl
from typing import Final

from coordinator.calls.connect import CannotResolve, Reach
from coordinator.calls.http_connection import Connection, Reply
from coordinator.calls.http_errors import Broken, Stopping, text_of
from coordinator.calls.places import Refused
from coordinator.calls.url import HttpUrl

IDLE_SECONDS: Final = 15.0
_TICKS_PER_IDLE: Final = 3  # how often it is looked for connections that are idle for too long


class HttpPool:
    """Makes exchanges with HTTP branches. To be made and used on one running event loop.

    The calls at a time are bounded by whoever makes them, and so are the connections. body_bytes_max: of
    an answer. idle_seconds: how long a connection is kept that nobody uses; up to a third longer.
    """

    def __init__(self, reach: Reach, *, body_bytes_max: int, idle_seconds: float = IDLE_SECONDS) -> None:
        self._loop = asyncio.get_running_loop()
        self._reach = reach
        self._body_bytes_max = body_bytes_max
        self._tick_seconds = idle_seconds / _TICKS_PER_IDLE
        self._free: dict[str, list[Connection]] = {}  # by endpoint, used last at the end
        self._open: set[Connection] = set()
        self._is_closed = False
        self._all_lost: asyncio.Future[None] | None = None
        self._ticks = 0
        self._timer: asyncio.TimerHandle | None = None
        self._turn = 0

    async def exchange(self, url: HttpUrl, request: bytes, reply: Reply) -> None:
        """Send the request, and read its answer into `reply`. Raises Broken and Stopping.

        Over a connection that had served other calls and was closed before anything came: its server had
        left it, so once more over a fresh one. Whatever the method: a call without a result is repeated in
        any case (PROTOCOL §2), only later.
        """
        connection = self._taken(url.endpoint)
        is_fresh = connection is None
        while True:
            if connection is None:
                connection = await self._connected(url)
            try:
                return await connection.exchange(request, reply)
            except Broken:
                if is_fresh or reply.head:
                    raise
            except asyncio.CancelledError:
                connection.give_up(reply)
                raise
            connection, is_fresh = None, True

    async def close(self) -> None:
        """Close all connections. Exchanges that still run raise Broken, later ones Stopping."""
        self._is_closed = True
        self._free.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._open:
            self._all_lost = self._loop.create_future()
            for connection in list(self._open):
                connection.abort(Broken("no answer", "the coordinator is stopping"))
            await self._all_lost

    def _taken(self, endpoint: str) -> Connection | None:
        free = self._free.get(endpoint)
        while free:
            connection = free.pop()
            if connection.is_usable:
                return connection
        return None

    def _keep(self, connection: Connection) -> None:
        if self._is_closed:
            return
        connection.free_since = self._ticks
        free = self._free.get(connection.endpoint)
        if free is None:
            self._free[connection.endpoint] = [connection]
        else:
            free.append(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(self._tick_seconds, self._tick)

    def _tick(self) -> None:
        """Close what has been idle for too long."""
        self._ticks += 1
        oldest = self._ticks - _TICKS_PER_IDLE
        for endpoint, free in list(self._free.items()):
            kept = []
            for connection in free:
                if connection.free_since < oldest:
                    connection.abort(Broken("no answer", "the connection was idle"))
                elif connection.is_usable:
                    kept.append(connection)
            if kept:
                self._free[endpoint] = kept
            else:
                del self._free[endpoint]
        self._timer = self._loop.call_later(self._tick_seconds, self._tick) if self._free else None

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if self._all_lost is not None and not self._open and not self._all_lost.done():
            self._all_lost.set_result(None)

    async def _connected(self, url: HttpUrl) -> Connection:
        self._require_open()
        self._turn += 1
        try:
            connection = await self._reach.connect(
                lambda: self._made(url.endpoint),
                url.url.raw_host or "",
                url.url.port or 0,
                turn=self._turn,  # a name's addresses take turns
                encrypts="http/1.1" if url.url.scheme == "https" else "",
            )
        except CannotResolve as error:
            raise Broken("the host name cannot be resolved", text_of(error)) from error
        except Refused as error:
            raise Broken("not called", text_of(error)) from error
        except ssl.SSLError as error:
            raise Broken("TLS failed", text_of(error)) from error
        except OSError as error:
            raise Broken("cannot connect", text_of(error)) from error
        if self._is_closed:
            connection.abort(Broken("no answer", "the coordinator is stopping"))
        elif connection.is_usable:  # else it is already closing
            self._open.add(connection)
        self._require_open()
        return connection

    def _require_open(self) -> None:
        if self._is_closed:
            raise Stopping

    def _made(self, endpoint: str) -> Connection:
        return Connection(
            self._loop,
            endpoint,
            body_bytes_max=self._body_bytes_max,
            when_free=self._keep,
            when_lost=self._forget,
        )
