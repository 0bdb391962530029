"""Writing to a stream of the process without its lock.

A thread that hangs in `sys.stderr.write` holds a lock that the interpreter wants when it ends, and it
would abort.
"""

import select
from typing import Any, TextIO


class Unlocked:
    """Writes text to the raw file below a text stream, whole, however long that takes."""

    def __init__(self, raw: Any, encoding: str) -> None:
        self._raw = raw
        self._encoding = encoding

    def write(self, text: str) -> int:
        """Write it. Raises OSError."""
        left = memoryview(text.encode(self._encoding, "backslashreplace"))
        while left:
            count = self._raw.write(left)
            if count is None:  # whoever shares the pipe has made it non-blocking
                select.select([], [self._raw], [])
            else:
                left = left[count:]
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""


def unlocked(stream: TextIO) -> Unlocked | TextIO:
    """The stream without its lock; the stream itself where it has no file below it."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return stream if raw is None else Unlocked(raw, stream.encoding or "utf-8")
