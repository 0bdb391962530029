"""Which rows of a barrier may go: nothing unfinished, nothing that a late request could still need."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from coordinator.client.barriers.old_rows import OldRow
from coordinator.engine.barrier_purging import Limits, Tally, Verdict, purge_barrier

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
MONTH = timedelta(days=30)
LIMITS = Limits(older_than=WEEK, kept=MONTH)
ENDED = {
    "old": NOW - timedelta(days=8),
    "young": NOW - timedelta(hours=1),
    "unfinished": None,
}


@pytest.mark.parametrize(
    ("gid", "days", "verdict"),
    [
        ("old", 9, Verdict.FINISHED),
        ("OLD", 9, Verdict.FINISHED),  # a database that does not tell them apart stores either
        ("old", 3, Verdict.RECENT),  # inserted by a late request
        ("young", 400, Verdict.RECENT),  # it ran for long, and its last call may be on its way
        ("unfinished", 400, Verdict.UNFINISHED),
        ("forgotten", 30, Verdict.UNKNOWN),  # may have ended just before it was deleted
        ("forgotten", 38, Verdict.UNKNOWN),  # in whatever zone its time is written
        ("forgotten", 39, Verdict.FORGOTTEN),
    ],
)
def test_what_goes(gid: str, days: int, verdict: Verdict) -> None:
    assert LIMITS.judge(OldRow(1, gid, timedelta(days=days)), ENDED, NOW) is verdict


def test_where_everything_is_kept_what_is_not_stored_was_never_there() -> None:
    limits = Limits(older_than=WEEK, kept=timedelta(0))
    assert limits.judge(OldRow(1, "forgotten", timedelta(days=4000)), ENDED, NOW) is Verdict.UNKNOWN


@dataclass
class Rows:
    """A table of the barrier."""

    rows: list[OldRow]
    commits: list[int] = field(default_factory=list)  # rows in each

    async def look(self, after: int, *, limit: int) -> Sequence[OldRow]:
        return [row for row in self.rows if row.id > after][:limit]

    async def delete(self, ids: Sequence[int]) -> int:
        gone = set(ids)
        self.commits.append(len(gone))
        self.rows = [row for row in self.rows if row.id not in gone]
        return len(gone)


async def when_ended(gids: Collection[str]) -> Mapping[str, datetime | None]:
    return {gid: ENDED[gid] for gid in gids if gid in ENDED}


async def utc_now() -> datetime:
    return NOW


def purged(rows: Rows, *, delete: bool) -> tuple[Tally, list[int]]:
    told: list[int] = []

    def tell(tally: Tally) -> None:
        told.append(tally.looked_at)

    return asyncio.run(purge_barrier(rows, when_ended, utc_now, LIMITS, delete=delete, told=tell)), told


def table() -> Rows:
    old = [OldRow(n, "unfinished" if n % 10 == 0 else "old", timedelta(days=9)) for n in range(1, 1201)]
    return Rows([*old, *(OldRow(n, "old", timedelta(hours=1)) for n in range(1201, 9000))])


def test_counting_deletes_nothing_and_ends_where_rows_are_young() -> None:
    rows = table()
    tally, told = purged(rows, delete=False)
    assert (tally.going, tally.verdicts[Verdict.UNFINISHED], tally.deleted) == (1080, 120, 0)
    assert rows.commits == [] and told[-1] < 4000


def test_it_deletes_in_small_commits_and_tells_after_each() -> None:
    rows = table()
    tally, told = purged(rows, delete=True)
    assert tally.deleted == 1080 == sum(rows.commits)
    assert max(rows.commits) <= 500 and len(told) >= len(rows.commits) > 2
    assert {row.gid for row in rows.rows if row.age > WEEK} == {"unfinished"}
