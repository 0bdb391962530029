"""The one logger of coordinator and branches: go-zero's levels, fields beside the sentence, the real caller.

    log.info("rolling back: {}", reason, gid=transaction.gid)
    log.with_context().with_duration(seconds).slow("the database took its time")

Where lines go and what they look like is in `log_output`.
"""

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

from loguru import logger
from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

# Beside loguru's own DEBUG 10, INFO 20, WARNING 30, ERROR 40. A level's number decides what LogLevel shows.
STAT: Final = "STAT"  # figures that are written from time to time
SLOW: Final = "SLOW"  # it worked, and took too long
STACK: Final = "STACK"  # an error with the place it was noticed at
ALERT: Final = "ALERT"  # somebody should look
SEVERE: Final = "SEVERE"  # the program cannot go on
_NUMBERS: Final = {STAT: 20, SLOW: 30, STACK: 40, ALERT: 45, SEVERE: 50}
STACK_COOLDOWN_SECONDS: Final = 0.1  # go-zero's default

for _name, _number in _NUMBERS.items():
    logger.level(_name, no=_number)


class Elsewhere(Protocol):
    """Takes lines that are not for the outputs of this program: it belongs to somebody else."""

    def write(
        self,
        level: str,
        message: str,
        fields: Mapping[str, object],
        exception: BaseException | None,
    ) -> None:
        """Write a line, whose sentence is filled in."""
        ...


_elsewhere: ContextVar[Elsewhere | None] = ContextVar("log_elsewhere", default=None)
_call: ContextVar[Mapping[str, object]] = ContextVar("log_call", default={})  # noqa: B039 - never changed


class Log:
    """Writes lines. Never changed: each `with_…` returns a new one that adds to every line.

    A sentence's `{}` are filled from the values behind it, and only when there are any; names given with `=`
    become fields. exception: its trace comes along, without the values of variables.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, object] | None = None) -> None:
        self._fields = dict(fields or {})

    def debug(self, message: str, /, *values: object, **fields: object) -> None:
        """What went well."""
        self._write("DEBUG", message, values, fields)

    def info(self, message: str, /, *values: object, **fields: object) -> None:
        """What an operator wants to read although nothing is wrong."""
        self._write("INFO", message, values, fields)

    def stat(self, message: str, /, *values: object, **fields: object) -> None:
        """Figures."""
        self._write(STAT, message, values, fields)

    def warning(
        self, message: str, /, *values: object, exception: BaseException | None = None, **fields: object
    ) -> None:
        """Something is wrong and the program helps itself."""
        self._write("WARNING", message, values, fields, exception)

    def slow(self, message: str, /, *values: object, **fields: object) -> None:
        """It worked, and took too long; ranks as a warning."""
        self._write(SLOW, message, values, fields)

    def error(
        self, message: str, /, *values: object, exception: BaseException | None = None, **fields: object
    ) -> None:
        """Something is wrong and stays so."""
        self._write("ERROR", message, values, fields, exception)

    def alert(self, message: str, /, *values: object, **fields: object) -> None:
        """Somebody should look now."""
        self._write(ALERT, message, values, fields)

    def severe(
        self, message: str, /, *values: object, exception: BaseException | None = None, **fields: object
    ) -> None:
        """The program cannot go on. Shown as `fatal`, as zap and go-zero do; it ends nothing by itself."""
        self._write(SEVERE, message, values, fields, exception)

    def stack(self, message: str, /, *values: object, **fields: object) -> None:
        """An error with the calls that led here; the same place is written once per cool-down."""
        if stacks.may_write(_place()):
            frames = "".join(traceback.format_stack(sys._getframe(1)))
            self._write(STACK, message, values, {**fields, "stack": frames})

    def with_fields(self, **fields: object) -> "Log":
        """The same, with these fields on every line."""
        return Log({**self._fields, **fields})

    def with_context(self) -> "Log":
        """The same, with `trace` and `span` of the span that runs here, and what `in_call` said."""
        context = get_current_span().get_span_context()
        ids = {}
        if context.is_valid:
            ids = {"trace": format_trace_id(context.trace_id), "span": format_span_id(context.span_id)}
        return Log({**self._fields, **ids, **_call.get()})

    def with_duration(self, seconds: float) -> "Log":
        """The same, with `duration` in go-zero's form: `12.3ms`."""
        return Log({**self._fields, "duration": f"{seconds * 1000:.1f}ms"})

    def _write(
        self,
        level: str,
        message: str,
        values: tuple[object, ...],
        fields: Mapping[str, object],
        exception: BaseException | None = None,
    ) -> None:
        if self._fields:
            fields = {**self._fields, **fields}
        elsewhere = _elsewhere.get()
        if elsewhere is not None:
            elsewhere.write(level, message.format(*values) if values else message, fields, exception)
            return
        bound = logger.bind(**fields) if fields else logger
        # Never by loguru's own formatting when there is nothing to fill in: a message may hold braces.
        bound.opt(depth=2, exception=exception).log(level, message, *values)


class Stacks:
    """Lets one place write its stack again only after a cool-down. cooldown_seconds: 0 is none."""

    def __init__(
        self,
        cooldown_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        places_max: int = 1000,
    ) -> None:
        self.cooldown_seconds = cooldown_seconds
        self._monotonic = monotonic
        self._places_max = places_max
        self._written: dict[tuple[str, int], float] = {}

    def may_write(self, place: tuple[str, int]) -> bool:
        """True when the place has not written within the cool-down; it counts as having written now."""
        now = self._monotonic()
        last = self._written.get(place)
        if last is not None and now - last < self.cooldown_seconds:
            return False
        if len(self._written) >= self._places_max:
            self._written.clear()
        self._written[place] = now
        return True


def _place() -> tuple[str, int]:
    frame = sys._getframe(2)
    return frame.f_code.co_filename, frame.f_lineno


@contextmanager
def written_by(elsewhere: Elsewhere) -> Iterator[None]:
    """Have lines written elsewhere: in the block, and in every task that begins in it, for ever."""
    token = _elsewhere.set(elsewhere)
    try:
        yield
    finally:
        _elsewhere.reset(token)


@contextmanager
def in_call(**fields: object) -> Iterator[None]:
    """Let `with_context` add these fields (gid, branch) until the block ends."""
    token = _call.set({**_call.get(), **fields})
    try:
        yield
    finally:
        _call.reset(token)


stacks: Final = Stacks(STACK_COOLDOWN_SECONDS)
log: Final = Log()
