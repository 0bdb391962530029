"""A TCP proxy between a program and its database that loses, cuts and holds back what passes.

async with Proxy(database.host, database.port) as proxy:
    store = await open_store(replace(config, host=proxy.host, port=proxy.port), …)
    proxy.cut_at(b"COMMIT", answered=False)   # the commit stands, nobody is told
    proxy.cut()                               # every connection, now
    proxy.hold()                              # bytes are taken and kept until let_go()
"""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Self

from tests.support.ports import HOST

_CHUNK = 65_536


class Proxy:
    """Forwards connections to host:port; runs in the test's own loop."""

    def __init__(self, host: str, port: int) -> None:
        self.host = HOST
        self.port = 0  # known once it listens
        self.cuts = 0  # how often `cut_at` found its place
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._cut_at = b""
        self._cut_every = 0
        self._seen = 0
        self._arrives = True

    def cut_at(self, words: bytes, *, every: int = 1, arrives: bool = True) -> None:
        """Cut the connection at each `every`-th packet of the program that holds these words.

        By turns before it reaches the database and after it, before the answer comes back; always before it
        where it never `arrives`.
        """
        self._cut_at, self._cut_every, self._seen, self._arrives = words, every, 0, arrives

    def cut_nothing(self) -> None:
        """End `cut_at`."""
        self._cut_at = b""

    def cut(self) -> None:
        """Cut every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    def hold(self) -> None:
        """Let nothing through; connections stay."""
        self._passing.clear()

    def let_go(self) -> None:
        """Let through again, what was held first."""
        self._passing.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there_writer}
        self._start(self._forth(reader, there_writer, writer))
        self._start(self._back(there_reader, writer, there_writer))

    def _start(self, pipe: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(pipe)
        self._pipes.add(task)
        task.add_done_callback(self._pipes.discard)

    async def _forth(
        self, reader: asyncio.StreamReader, there: asyncio.StreamWriter, here: asyncio.StreamWriter
    ) -> None:
        """From the program to the database."""
        try:
            while data := await reader.read(_CHUNK):
                await self._passing.wait()
                if self._is_to_be_cut(data):
                    self.cuts += 1
                    if self._arrives and self.cuts % 2:
                        here.transport.abort()  # the answer finds nobody
                        there.write(data)
                        await there.drain()
                        await asyncio.sleep(0.05)
                    break
                there.write(data)
                await there.drain()
        except (OSError, RuntimeError):  # uvloop says RuntimeError of a connection that is closed
            pass
        finally:
            self._end(here, there)

    async def _back(
        self, reader: asyncio.StreamReader, here: asyncio.StreamWriter, there: asyncio.StreamWriter
    ) -> None:
        """From the database to the program."""
        try:
            while data := await reader.read(_CHUNK):
                await self._passing.wait()
                here.write(data)
                await here.drain()
        except (OSError, RuntimeError):  # uvloop says RuntimeError of a connection that is closed
            pass
        finally:
            self._end(here, there)

    def _is_to_be_cut(self, data: bytes) -> bool:
        if not self._cut_at or self._cut_at not in data:
            return False
        self._seen += 1
        return self._seen % self._cut_every == 0

    def _end(self, *writers: asyncio.StreamWriter) -> None:
        for writer in writers:
            writer.transport.abort()
            self._writers.discard(writer)
