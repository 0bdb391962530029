"""What was kept of transactions that went wrong is forgotten, a page at a time.

A page a beat would be less than a busy service adds, so each beat goes on for a tenth of the time. Any number
of coordinators may do so over one database: what one has deleted is not there for the next.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

from coordinator.clock import Clock
from coordinator.errors import StoreUnavailable
from coordinator.telemetry.log import log

BEAT_SECONDS: Final = 10.0
_PAGE: Final = 500  # transactions that are looked at in one commit
_BUSY_SECONDS: Final = 0.5  # of a beat, for each table
_PAUSE_SECONDS: Final = 60.0  # after the whole table was gone through


class Rows(Protocol):
    """What is asked of the store. Raises StoreUnavailable."""

    async def sweep_attempts(self, after: str, *, now: datetime, kept: timedelta, limit: int) -> str:
        """See AttemptTables."""
        ...

    async def sweep_stuck(self, after: str, *, limit: int) -> str:
        """See AttemptTables."""
        ...


class Results(Protocol):
    """The same, of the results of steps. Raises StoreUnavailable."""

    async def sweep(self, after: str, *, limit: int) -> str:
        """See ResultTable."""
        ...


@dataclass(slots=True)
class _Sweep:
    """How far one table has been gone through."""

    page: Callable[[str], Awaitable[str]]  # behind which gid → where to go on, "" at the end
    after: str = ""
    not_before: float = 0.0  # monotonic


class Sweeper:
    """beat: every BEAT_SECONDS. kept: how long attempts of a transaction outlive its end."""

    def __init__(self, rows: Rows, clock: Clock, *, kept: timedelta, results: Results | None = None) -> None:
        self._rows = rows
        self._clock = clock
        self._kept = kept
        self._sweeps = [_Sweep(self._stuck_page), _Sweep(self._attempts_page)]
        if results is not None:
            self._sweeps.append(_Sweep(partial(results.sweep, limit=_PAGE)))

    async def beat(self) -> None:
        """Go through some pages of each table; while the store is away, wait."""
        now = self._clock.monotonic()
        try:
            for one in self._sweeps:
                if now >= one.not_before:
                    one.after = await self._pages(one.page, one.after)
                    one.not_before = now if one.after else now + _PAUSE_SECONDS
        except StoreUnavailable as error:
            log.debug("old attempts wait for the store: {}", error.message)

    async def _pages(self, page: Callable[[str], Awaitable[str]], after: str) -> str:
        """One at least, as many as the time allows; where to go on, "" at the end."""
        until = self._clock.monotonic() + _BUSY_SECONDS
        while (after := await page(after)) and self._clock.monotonic() < until:
            pass
        return after

    def _stuck_page(self, after: str) -> Awaitable[str]:
        return self._rows.sweep_stuck(after, limit=_PAGE)

    def _attempts_page(self, after: str) -> Awaitable[str]:
        return self._rows.sweep_attempts(after, now=self._clock.now(), kept=self._kept, limit=_PAGE)
