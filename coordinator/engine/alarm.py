"""When something is due that no poll would meet in time: whole seconds, as rows have them, near ones alone.

Pure, but for telling who waits. Bounded by the horizon: no more seconds than it has.
"""

import math
from collections.abc import Callable
from datetime import datetime
from typing import Final

_BEHIND_SECONDS: Final = 0.02  # so that nobody looks a moment too early, for another clock or for rounding


def _nobody() -> None:
    """Told of what comes sooner."""


class Alarm:
    """horizon: seconds ahead; a poll meets what is due later. sooner: told of an earlier moment."""

    def __init__(self) -> None:
        self.horizon = 0.0
        self.sooner: Callable[[], None] = _nobody
        self._moments: dict[int, float] = {}  # by the second at which something is due, when to look

    def note(self, due: datetime, now: datetime, *, spread: float = 0.0) -> None:
        """Something is due then. spread: seconds by which this coordinator comes later than others may."""
        second = math.ceil(due.timestamp())
        if not 0 <= second - now.timestamp() <= self.horizon:
            return
        moment, first = second + _BEHIND_SECONDS + spread, self.first()
        if moment < self._moments.get(second, math.inf):
            self._moments[second] = moment
            if first is None or moment < first:
                self.sooner()

    def first(self) -> float | None:
        """When to look next, as seconds since 1970; None where nothing is known."""
        return min(self._moments.values(), default=None)

    def looked(self, now: datetime) -> None:
        """Forget what was due until then."""
        at = now.timestamp()
        self._moments = {second: moment for second, moment in self._moments.items() if second > at}
