"""Outputs whose trouble is not the program's: a full disk or closed pipe loses lines, not transactions."""

from collections.abc import Callable
from typing import Any, Protocol


class Output(Protocol):
    """What lines are written to."""

    def write(self, message: Any, /) -> object:
        """Take a line."""
        ...


class Guarded:
    """Writes to an output; what it does not take is counted, and said when it takes lines again.

    flush: called after each line. close: called at the end. say_lost: (how many, why) → the line that says
    so.
    """

    def __init__(
        self,
        output: Output,
        *,
        flush: Callable[[], object] = lambda: None,
        close: Callable[[], object] = lambda: None,
        say_lost: Callable[[int, str], str],
    ) -> None:
        self._output = output
        self._flush = flush
        self._close = close
        self._say_lost = say_lost
        self._lost = 0
        self._reason = ""

    def write(self, message: Any) -> None:
        """Take a line of loguru's; it never raises what the output raises."""
        try:
            self._output.write(self._with_lost(message) if self._lost else message)
            self._flush()
        except (OSError, ValueError) as error:  # ValueError: the file was closed
            self._lost += 1
            self._reason = getattr(error, "strerror", None) or str(error)
        else:
            self._lost = 0

    def stop(self) -> None:
        """End; loguru calls it."""
        try:
            self._close()
        except (OSError, ValueError):
            return  # the last lines are lost, and nobody is left to be told

    def _with_lost(self, message: Any) -> Any:
        joined = type(message)(self._say_lost(self._lost, self._reason) + message)
        joined.record = message.record  # file rotation looks at it
        return joined
