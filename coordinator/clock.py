"""Time, handed in: a wall clock that coordinators agree on, a monotonic one that leases are held by."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the engine asks about time. The simulation hands in a virtual one."""

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """This machine's monotonic clock, and a wall clock that can be set by the database's (PROTOCOL §9).

    Coordinators over one database agree on `now` although their own clocks differ.
    """

    def __init__(self) -> None:
        self._base = datetime.now(UTC)
        self._base_at = time.monotonic()
        self._follows_another = False

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC: the last synchronised time plus the monotonic seconds since."""
        if not self._follows_another:
            return datetime.now(UTC)
        return self._base + timedelta(seconds=time.monotonic() - self._base_at)

    def apart(self) -> float:
        """Seconds between the clock that is followed and this machine's own; 0 where none is."""
        return abs((self.now() - datetime.now(UTC)).total_seconds()) if self._follows_another else 0.0

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        return time.monotonic()

    def synchronise(self, now: datetime, at: float) -> None:
        """Follow another clock from here on: it showed `now` (aware) when `monotonic()` was `at`."""
        self._base, self._base_at, self._follows_another = now.astimezone(UTC), at, True
