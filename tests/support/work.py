"""How much work a piece of code is, whatever the machine and whoever else uses it."""

import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any


@dataclass(slots=True)
class Calls:
    """Calls of functions in this thread, Python's and C's."""

    made: int = 0


@contextmanager
def calls_counted() -> Iterator[Calls]:
    """Count calls while inside."""
    calls = Calls()

    def seen(_frame: FrameType, event: str, _argument: Any) -> None:
        if event in {"call", "c_call"}:
            calls.made += 1

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        yield calls
    finally:
        sys.setprofile(before)


@dataclass(slots=True)
class Allocated:
    """Bytes that were allocated at once, at most; known when the block has ended."""

    peak_bytes: int = 0


@contextmanager
def allocation_watched() -> Iterator[Allocated]:
    """Watch what Python allocates while inside."""
    allocated = Allocated()
    tracemalloc.start()
    try:
        yield allocated
        allocated.peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
