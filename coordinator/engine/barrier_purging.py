"""Which rows of a barrier nobody needs any more, and how they go: few at a time, with pauses.

The barrier is in a business database, whether a transaction has ended stands in the coordinator's store: what
is asked of both is handed in.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from coordinator.engine.purging import Pace

# What a row's age can be wrong by: its time may be written in the zone of whoever wrote it.
ZONES_APART: Final = timedelta(hours=26)
_LOOK: Final = 1_000  # rows, where they are only counted


class BarrierRow(Protocol):
    """A row of the barrier: age by the clock of its own database."""

    @property
    def id(self) -> int:
        """Its primary key."""
        ...

    @property
    def gid(self) -> str:
        """Of its transaction."""
        ...

    @property
    def age(self) -> timedelta:
        """Since it was inserted."""
        ...


class BarrierRows(Protocol):
    """What is asked of the business database."""

    async def look(self, after: int, *, limit: int) -> Sequence[BarrierRow]:
        """So many rows behind this id, in its order."""
        ...

    async def delete(self, ids: Sequence[int]) -> int:
        """Delete these rows in one commit; returns how many were there."""
        ...


# Asked with gids: of those that a coordinator stores, in lower case, when they ended; None: they have not.
WhenEnded = Callable[[Collection[str]], Awaitable[Mapping[str, datetime | None]]]


class Verdict(StrEnum):
    """What becomes of a row, and why."""

    FINISHED = "finished"  # goes: its transaction ended long enough ago
    FORGOTTEN = "forgotten"  # goes: its transaction is stored no more, and the row is older than any could be
    UNFINISHED = "unfinished"  # stays, however old it is
    RECENT = "recent"  # stays: its transaction, or the row, is too young
    UNKNOWN = "unknown"  # stays: not stored, and that alone does not say that it has ended


GOES: Final = (Verdict.FINISHED, Verdict.FORGOTTEN)


@dataclass(frozen=True, slots=True)
class Limits:
    """older_than: how long ago a transaction must have ended.

    kept: how long the coordinator keeps what has ended; zero: for ever.
    """

    older_than: timedelta
    kept: timedelta

    def judge(self, row: BarrierRow, ended: Mapping[str, datetime | None], now: datetime) -> Verdict:
        """What becomes of the row. ended: see WhenEnded. now: by the clock that those times are of."""
        if row.age < self.older_than:
            return Verdict.RECENT
        gid = row.gid.casefold()
        if gid in ended:
            end = ended[gid]
            if end is None:
                return Verdict.UNFINISHED
            return Verdict.FINISHED if now - end > self.older_than else Verdict.RECENT
        forgotten = self.kept and row.age > self.kept + self.older_than + ZONES_APART
        return Verdict.FORGOTTEN if forgotten else Verdict.UNKNOWN


@dataclass(slots=True)
class Tally:
    """What was seen so far. deleted: rows that are gone; none where they are only counted."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    deleted: int = 0

    @property
    def looked_at(self) -> int:
        """How many rows."""
        return self.verdicts.total()

    @property
    def going(self) -> int:
        """How many rows nobody needs any more."""
        return sum(self.verdicts[one] for one in GOES)


async def purge_barrier(
    rows: BarrierRows,
    when_ended: WhenEnded,
    utc_now: Callable[[], Awaitable[datetime]],
    limits: Limits,
    *,
    delete: bool,
    told: Callable[[Tally], None],
) -> Tally:
    """Look at the rows from the oldest on, up to those that are too young; delete those that may go.

    when_ended, utc_now: of the coordinator's store. delete: False only counts. told: after each step.
    """
    pace, tally, after = Pace(), Tally(), 0
    while True:
        began = time.monotonic()
        limit = pace.size if delete else _LOOK
        page = await rows.look(after, limit=limit)
        if not page:
            return tally
        ended = await when_ended({row.gid for row in page})
        now = await utc_now()
        judged = [(row.id, limits.judge(row, ended, now)) for row in page]
        tally.verdicts.update(verdict for _, verdict in judged)
        going = [row_id for row_id, verdict in judged if verdict in GOES]
        if delete and going:
            tally.deleted += await rows.delete(going)
        told(tally)
        if len(page) < limit or all(row.age < limits.older_than for row in page):
            return tally
        after = page[-1].id
        if delete:
            await asyncio.sleep(pace.pause(time.monotonic() - began, 0))
