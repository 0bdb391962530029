"""One process of several: started, watched through two pipes, ended."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from coordinator.server.place import Place

PassOn = Callable[[str], None]  # takes a line

_READ_BYTES: Final = 64 * 1024


@dataclass(slots=True)
class Child:
    """life: the end of a pipe that it hears the end of, when it is to stop or when we are gone.

    said: what it says when it is ready; empty when it ended before.
    """

    number: int
    process: asyncio.subprocess.Process
    said: asyncio.Task[str]
    started: float
    lines: asyncio.Task[None] | None
    _life: int = field(repr=False)

    def ask_to_stop(self) -> None:
        """Let it end what it does and go. Asking again does nothing."""
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    def kill(self) -> None:
        """End it at once: what it drove is taken up by others."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)

    async def ended(self) -> int:
        """Wait for its end; returns its exit code, negative for a signal."""
        code = await self.process.wait()
        self.ask_to_stop()
        self.said.cancel()
        if self.lines is not None:
            await asyncio.wait([self.lines])
        return code


async def start_child(
    number: int, count: int, folder: Path, words: Sequence[str], pass_on: PassOn | None
) -> Child:
    """Start process `number` of `count` with these words after the program's name.

    pass_on: takes each line that it logs; None: it writes where we do. Raises OSError.
    """
    life, our_life = os.pipe()
    our_ready, ready = os.pipe()
    try:
        place = Place(number, count, folder, life, ready)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "coordinator", "--worker", str(place), *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=None if pass_on is None else asyncio.subprocess.PIPE,
            pass_fds=(life, ready),
            start_new_session=True,  # Ctrl-C in a terminal is for us: we let them end in order
            limit=1 << 20,
        )
    except BaseException:
        os.close(our_life)
        os.close(our_ready)
        raise
    finally:
        os.close(life)
        os.close(ready)
    loop = asyncio.get_running_loop()
    said = asyncio.create_task(_all_of(our_ready))
    lines = None
    if pass_on is not None and process.stdout is not None:
        lines = asyncio.create_task(_pass_lines(process.stdout, pass_on))
    return Child(number, process, said, loop.time(), lines, our_life)


async def _all_of(descriptor: int) -> str:
    """What comes through the pipe until its end."""
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    try:
        return (await reader.read()).decode("utf-8", "replace")
    finally:
        transport.close()


async def _pass_lines(stream: asyncio.StreamReader, pass_on: PassOn) -> None:
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # longer than a line may be: it is passed on in pieces
            line = await stream.read(_READ_BYTES)
        if not line:
            return
        pass_on(line.decode("utf-8", "backslashreplace"))
