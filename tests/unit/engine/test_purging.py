"""Who deletes what ended long ago, how much at once, and how it keeps out of the way."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coordinator.engine.purging import BEAT_SECONDS, Pace, Purger, purge_page
from coordinator.errors import StoreUnavailable
from coordinator.store.archive import ArchiveFailed
from coordinator.store.retention import Old, OldPage, Purged
from tests.simulation.virtual_loop import run_virtually
from tests.simulation.world import VirtualClock

STEP_SECONDS = 0.02
KEPT = timedelta(days=7)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Rows:
    """So many old transactions with ids from 1, and behind them what is young."""

    left: list[int]
    is_endless: bool = False
    is_away: bool = False
    mine: bool = True
    looked: int = 0
    archived: list[int] = field(default_factory=list)
    deleted_unarchived: list[int] = field(default_factory=list)

    async def turn(self) -> bool:
        return self.mine

    async def look(self, after: int, before: datetime, *, limit: int) -> OldPage:
        await asyncio.sleep(STEP_SECONDS / 2)
        if self.is_away:
            raise StoreUnavailable("away")
        self.looked += 1
        if self.is_endless:
            self.left = list(range(after + 1, after + limit + 1))
        ids = [number for number in self.left if number > after][:limit]
        return OldPage([Old(it, str(it)) for it in ids], limit, ids[-1] if len(ids) == limit else None)

    async def whole(self, old: Sequence[Old]) -> Sequence[Mapping[str, Any]]:
        return [{"id": it.id} for it in old]

    async def purge(self, old: Sequence[Old], before: datetime) -> Purged:
        await asyncio.sleep(STEP_SECONDS / 2)
        gone = {it.id for it in old}
        self.deleted_unarchived += sorted(gone.difference(self.archived))
        self.left = [it for it in self.left if it not in gone]
        return Purged(len(gone))

    async def give_back(self) -> int:
        return 0

    def keep(self, rows: Sequence[Mapping[str, Any]], now: datetime) -> None:
        self.archived += [row["id"] for row in rows]


def beats(rows: Rows, count: int, *, waiting: int = 0) -> Purger:
    async def run() -> Purger:
        purger = Purger(rows, VirtualClock(), kept=KEPT, keep=None, turn=rows.turn, waiting=lambda: waiting)
        for _ in range(count):
            await purger.beat()
            await asyncio.sleep(BEAT_SECONDS)
        return purger

    return run_virtually(run())


def test_all_that_is_old_goes_quicker_than_a_busy_service_ends_it() -> None:
    rows = Rows(list(range(1, 100_001)))
    beats(rows, 4)
    assert rows.left == []


def test_where_writes_wait_it_takes_a_twentieth_of_the_time() -> None:
    calm, busy = Rows([], is_endless=True), Rows([], is_endless=True)
    beats(calm, 3)
    beats(busy, 3, waiting=100)
    assert 5 < calm.looked / busy.looked < 12


def test_what_another_does_is_left_to_it() -> None:
    rows = Rows([1, 2, 3], mine=False)
    beats(rows, 3)
    assert rows.left == [1, 2, 3]
    assert rows.looked == 0


def test_a_store_that_is_away_is_waited_for_and_said() -> None:
    rows = Rows([1, 2, 3], is_away=True)
    assert beats(rows, 2).problem == "away"
    rows.is_away = False
    assert beats(rows, 1).problem == ""
    assert rows.left == []


async def test_nothing_is_deleted_that_was_not_archived() -> None:
    rows = Rows(list(range(1, 101)))
    page = await rows.look(0, NOW, limit=50)
    assert await purge_page(rows, page, NOW, rows.keep, NOW) == Purged(50)
    assert rows.archived == list(range(1, 51))
    assert rows.deleted_unarchived == []

    def refuse(_: Sequence[Mapping[str, Any]], now: datetime) -> None:
        raise ArchiveFailed("the disk is full")

    with pytest.raises(ArchiveFailed):
        await purge_page(rows, await rows.look(0, NOW, limit=50), NOW, refuse, NOW)
    assert len(rows.left) == 50


def test_steps_become_smaller_where_they_are_slow_and_larger_where_they_are_not() -> None:
    pace = Pace()
    for _ in range(10):
        assert pace.pause(1.0, 0) == 2.0
    assert pace.size == Pace.SIZE_MIN
    for _ in range(10):
        pace.pause(0.001, 0)
    assert pace.size == Pace.SIZE_MAX
