"""Calls that took too long: said in the log, but not so often that the log becomes the trouble."""

import time
from collections.abc import Callable
from typing import Final

from coordinator.telemetry.log import log

LINES_MAX: Final = 10  # within a period
PERIOD_SECONDS: Final = 10.0
_NEVER: Final = float("inf")


class Slow:
    """One kind of call. limit_seconds: from how long on it is said; 0 is never.

    Whoever measures compares with `seconds` itself, which costs next to nothing, and calls `said` only then.
    """

    def __init__(
        self, what: str, limit_seconds: float, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds = limit_seconds or _NEVER
        self._what = what
        self._monotonic = monotonic
        self._period_began = -PERIOD_SECONDS
        self._lines = 0
        self._unsaid = 0

    def said(self, seconds: float, **fields: object) -> None:
        """Write a line, unless this period had enough; the next line tells how many were left out."""
        now = self._monotonic()
        if now - self._period_began >= PERIOD_SECONDS:
            self._period_began, self._lines = now, 0
        if self._lines >= LINES_MAX:
            self._unsaid += 1
            return
        self._lines += 1
        if self._unsaid:
            fields["left_out"] = self._unsaid
            self._unsaid = 0
        log.with_context().with_duration(seconds).slow(self._what, **fields)
