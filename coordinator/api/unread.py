"""Answers that nobody reads: who does not take them is broken off, else they fill the memory."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Final

SECONDS_MAX: Final = 10.0  # without progress
_SWEEP_SECONDS: Final = 1.0
_PROGRESS_BYTES: Final = 16 * 1024  # less than that in all the time is none

_NOW: Final = struct.pack("ii", True, 0)  # SO_LINGER: what the kernel still holds is thrown away, too

Waiting = Iterable[tuple[asyncio.Transport, bool]]


class Unread:
    """Breaks off connections on which nothing moves. run: as a task, while the port is open."""

    def __init__(self, connections: Callable[[], Waiting]) -> None:
        """connections: every open transport, and whether writing to it is paused.

        Only what is paused or being closed is looked at: nothing is added to that, it gets less or stands.
        """
        self._connections = connections
        self._standing: dict[asyncio.Transport, tuple[int, float]] = {}  # bytes left, since when

    async def run(self) -> None:
        """Look every second, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.sweep(loop.time())

    def sweep(self, now: float) -> None:
        """Look once. now: seconds, monotonic."""
        before, self._standing = self._standing, {}
        for transport, is_paused in list(self._connections()):
            if not is_paused and not transport.is_closing():
                continue
            left = transport.get_write_buffer_size()
            if not left:
                continue
            earlier, since = before.get(transport, (left, now))
            if left + _PROGRESS_BYTES <= earlier:
                earlier, since = left, now
            if now - since >= SECONDS_MAX:
                _reset(transport)
            else:
                self._standing[transport] = earlier, since


def _reset(transport: asyncio.Transport) -> None:
    open_socket = transport.get_extra_info("socket")
    if open_socket is not None:
        with contextlib.suppress(OSError):  # it is gone
            open_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
    transport.abort()
