"""Outputs whose trouble is not the program's: what they do not take loses lines, not transactions.

A full disk, a closed pipe, a pipe that nobody reads, a disk that hangs: lines wait in a bounded queue, and a
thread of the output's own writes them. Whoever logs waits for none of it.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

_CHUNK: Final = 64 * 1024  # characters, about, that are written at once
_STOP_SECONDS: Final = 2.0
_NOBODY_READS: Final = "nobody reads this output, or too slowly"


class Output(Protocol):
    """What lines are written to."""

    def write(self, message: Any, /) -> object:
        """Take a line, or several."""
        ...


@dataclass(frozen=True, slots=True)
class QueueMax:
    """How much may wait to be written."""

    lines: int = 20_000
    characters: int = 4 * 1024 * 1024


class Lines(str):
    """Lines that are written at once. record: of the first, as far as file rotation looks at it."""

    __slots__ = ("record",)
    record: dict[str, datetime]


class Guarded:
    """Takes lines at once and writes them in its own thread; what was lost is counted, and said in its place.

    flush: called after each write. close: called at the end. say_lost: (how many, why) → the line that says
    so. After a fork each process writes what it logged itself.
    """

    def __init__(
        self,
        output: Output,
        *,
        flush: Callable[[], object] = lambda: None,
        close: Callable[[], object] = lambda: None,
        say_lost: Callable[[int, str], str],
        queue_max: QueueMax | None = None,
    ) -> None:
        self._output = output
        self._flush = flush
        self._close = close
        self._say_lost = say_lost
        self._max = queue_max or QueueMax()
        self._failed = 0  # lines in a row that the output refused, and why
        self._reason = ""
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        lock = threading.Lock()
        self._changed = threading.Condition(lock)  # there is something to write, or the end has come
        self._emptied = threading.Condition(lock)
        # Each with the time of its line; a notice has none.
        self._waiting: deque[tuple[str, datetime | None]] = deque()
        self._size = 0  # characters, of what waits and of what is being written
        self._dropped = 0  # lines, since the last that found room
        self._is_full = False
        self._is_idle = False
        self._is_ending = False
        self._is_stuck = False
        self._thread: threading.Thread | None = None

    def write(self, message: Any) -> None:
        """Take a line of loguru's. It waits for no output, and raises nothing."""
        self._take(str(message), message.record["time"])

    def say(self, text: str) -> None:
        """Take lines that are written whatever the log level is."""
        self._take(text, datetime.now().astimezone())

    def _take(self, text: str, moment: datetime) -> None:
        if os.getpid() != self._process:
            self._begin()
        with self._changed:
            if self._is_ending:
                return
            if not self._has_room(len(text)):
                self._dropped += 1
                return
            self._note_dropped()
            self._waiting.append((text, moment))
            self._size += len(text)
            if self._thread is None:
                # A daemon, because an output that hangs must not keep the process.
                self._thread = threading.Thread(target=self._run, name="log output", daemon=True)
                self._thread.start()
            elif self._is_idle:
                self._is_idle = False
                self._changed.notify()

    def _has_room(self, size: int) -> bool:
        """Once it was full, only when half of it is free again: so a loss is said once, not line by line."""
        share = 0.5 if self._is_full else 1.0
        self._is_full = bool(self._size) and (
            self._size + size > share * self._max.characters or len(self._waiting) >= share * self._max.lines
        )
        return not self._is_full

    def _note_dropped(self) -> None:
        if self._dropped:
            self._waiting.append((self._say_lost(self._dropped, _NOBODY_READS), None))
            self._dropped = 0

    def drain(self, seconds: float) -> bool:
        """Wait until everything is written, for at most so long; returns whether it is. Blocks."""
        with self._emptied:
            self._is_stuck = not self._emptied.wait_for(
                lambda: self._thread is None or self._is_idle, seconds
            )
            return not self._is_stuck

    def stop(self) -> None:
        """Write what waits, in bounded time, and end. Loguru calls it, also when the program ends."""
        if os.getpid() != self._process:
            return
        with self._changed:
            self._is_ending = True
            thread = self._thread
            self._changed.notify()
        if thread is None:
            self._end_output()
        else:
            thread.join(0 if self._is_stuck else _STOP_SECONDS)

    # --- in the thread ---

    def _run(self) -> None:
        written = 0
        while True:
            lines, written = self._next(written)
            if lines is None:
                break
            self._put(*lines)
        self._end_output()

    def _next(self, written: int) -> tuple[tuple[list[str], datetime, int] | None, int]:
        """Lines to write, the time of the first, how many they are; None at the end. And their size.

        written: the size of those before.
        """
        with self._changed:
            self._size -= written
            if not self._waiting:
                self._is_full = False
                self._note_dropped()
            while not self._waiting:
                self._is_idle = True
                self._emptied.notify_all()
                if self._is_ending:
                    return None, 0
                self._changed.wait()
            self._is_idle = False
            texts: list[str] = []
            first, count, size = None, 0, 0
            while self._waiting and size < _CHUNK:
                text, moment = self._waiting.popleft()
                texts.append(text)
                if moment is not None:
                    first = first or moment
                    count += 1
                    size += len(text)
            return (texts, first or datetime.now().astimezone(), count), size

    def _put(self, texts: list[str], first: datetime, count: int) -> None:
        if self._failed:
            texts.insert(0, self._say_lost(self._failed, self._reason))
        lines = Lines("".join(texts))
        lines.record = {"time": first}
        try:
            self._output.write(lines)
            self._flush()
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever an output raises
            self._failed += count
            self._reason = getattr(error, "strerror", None) or str(error)
        else:
            self._failed = 0

    def _end_output(self) -> None:
        try:
            self._close()
        except (OSError, ValueError):
            return  # the last lines are lost, and nobody is left to be told


def drain_all(outputs: "list[Guarded]", seconds: float) -> None:
    """Wait until everything is written, for at most so long altogether. Blocks."""
    until = time.monotonic() + seconds
    for output in outputs:
        output.drain(max(0.0, until - time.monotonic()))
