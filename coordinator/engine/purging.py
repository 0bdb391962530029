"""What ended longer ago than it is kept is deleted: by one coordinator, in small steps, in nobody's way."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from coordinator.clock import Clock
from coordinator.errors import DtmError
from coordinator.store.retention import WHOLE_MAX, Old, OldPage, Purged
from coordinator.telemetry.log import log

BEAT_SECONDS: Final = 5.0
LEASE_SECONDS: Final = 40.0  # more than a beat takes, and what comes before the next
_BUSY_SECONDS: Final = 20.0  # of a beat
_AGAIN_SECONDS: Final = 3600.0  # from one walk through everything to the next
_REST_SECONDS: Final = 15.0  # at the end of a walk, until something has become old enough
_OTHERS_SECONDS: Final = 30.0  # until somebody else's lease is looked at again


class OldRows(Protocol):
    """What is asked of the store, see coordinator.store.retention. Raises StoreUnavailable."""

    async def look(self, after: int, before: datetime, *, limit: int) -> OldPage:
        """Look at so many rows behind this id."""
        ...

    async def whole(self, old: Sequence[Old]) -> Sequence[Mapping[str, Any]]:
        """Their rows."""
        ...

    async def purge(self, old: Sequence[Old], before: datetime) -> Purged:
        """Delete those of them that have ended before that."""
        ...

    async def give_back(self) -> int:
        """Give space back to the disk; returns how much is left to be given."""
        ...


Keep = Callable[[Sequence[Mapping[str, Any]], datetime], None]  # blocking; raises ArchiveFailed
PerBeat = Callable[[], Awaitable[bool]]  # whether it is this coordinator's turn


@dataclass(slots=True)
class Pace:
    """How many rows a step looks at, and how long the pause behind it is. Pure.

    A step is to take a twentieth of a second or so; then nobody waits for long. Where writes wait for their
    commits, everybody else comes first.
    """

    size: int = 100  # rows

    SIZE_MIN = 10
    SIZE_MAX = 500
    _SLOW_SECONDS = 0.2
    _QUICK_SECONDS = 0.05
    _BUSY_FROM = 24  # writes that wait: more than two batches of a calm service
    _PAUSE_MAX = 5.0

    def pause(self, took: float, waiting: int) -> float:
        """Seconds until the next step. took: seconds of this one. waiting: writes that wait for a commit."""
        if took > self._SLOW_SECONDS:
            self.size = max(self.size // 2, self.SIZE_MIN)
        elif took < self._QUICK_SECONDS:
            self.size = min(self.size * 2, self.SIZE_MAX)
        return min(took * (20 if waiting >= self._BUSY_FROM else 2), self._PAUSE_MAX)


async def purge_page(
    rows: OldRows, page: OldPage, before: datetime, keep: Keep | None, now: datetime
) -> Purged:
    """Delete what was found, once it is kept. Raises StoreUnavailable, ArchiveFailed."""
    if keep is not None:
        for start in range(0, len(page.found), WHOLE_MAX):
            whole = await rows.whole(page.found[start : start + WHOLE_MAX])
            await asyncio.to_thread(keep, whole, now)
    purged = await rows.purge(page.found, before)
    while not purged.is_done:
        purged += await rows.purge(page.found, before)
    return purged


class Purger:
    """beat: every BEAT_SECONDS. kept: how long what has ended stays. waiting: writes that wait for a commit.

    keep: where it is written before; None: nowhere. turn: whether it is this coordinator's turn.
    """

    def __init__(
        self,
        rows: OldRows,
        clock: Clock,
        *,
        kept: timedelta,
        keep: Keep | None,
        turn: PerBeat,
        waiting: Callable[[], int],
    ) -> None:
        self._rows = rows
        self._clock = clock
        self._kept = kept
        self._keep = keep
        self._turn = turn
        self._waiting = waiting
        self._pace = Pace()
        self._after = 0  # id up to which this walk has come
        self._walk_began: float | None = None
        self._not_before = 0.0  # monotonic
        self._since_told = Purged()
        self.problem = ""  # why nothing is deleted; empty when it is

    async def beat(self) -> None:
        """Go on for some seconds, if it is this coordinator's turn; while the store is away, wait."""
        now = self._clock.monotonic()
        if now < self._not_before:
            return
        try:
            if not await self._turn():
                self._not_before = now + _OTHERS_SECONDS
                return
            await self._go_on(until=now + _BUSY_SECONDS)
            self.problem = ""
        except DtmError as error:
            if self.problem != error.message:
                log.warning("what ended long ago is not deleted now: {}", error.message)
            self.problem = error.message

    async def _go_on(self, until: float) -> None:
        clock = self._clock
        if self._walk_began is None or clock.monotonic() - self._walk_began > _AGAIN_SECONDS:
            self._after, self._walk_began = 0, clock.monotonic()
        while (began := clock.monotonic()) < until:
            before = clock.now() - self._kept
            page = await self._rows.look(self._after, before, limit=self._pace.size)
            purged = await purge_page(self._rows, page, before, self._keep, clock.now())
            self._since_told += purged
            if purged.transactions:
                await self._rows.give_back()
            if page.after is None:  # what comes next is too young still
                await self._at_the_end(until)
                return
            self._after = page.after
            await asyncio.sleep(self._pace.pause(clock.monotonic() - began, self._waiting()))

    async def _at_the_end(self, until: float) -> None:
        self._not_before = self._clock.monotonic() + _REST_SECONDS
        if self._since_told.transactions:
            log.info(
                "deleted {} transactions with {} branches that ended more than {:g} days ago",
                self._since_told.transactions,
                self._since_told.branches,
                self._kept / timedelta(days=1),
            )
            self._since_told = Purged()
        while await self._rows.give_back() and self._clock.monotonic() < until:  # noqa: ASYNC110 - paced
            await asyncio.sleep(self._pace.pause(0.1, self._waiting()))
