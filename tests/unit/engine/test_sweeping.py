"""What was kept of what went wrong is forgotten: quicker than a busy service adds, and never all the time."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from coordinator.engine.sweeping import BEAT_SECONDS, Sweeper
from coordinator.errors import StoreUnavailable
from tests.simulation.virtual_loop import run_virtually
from tests.simulation.world import VirtualClock

PAGE_SECONDS = 0.02


@dataclass
class Table:
    """So many transactions, of which a page is deleted in so many seconds."""

    left: int
    pages: int = 0
    is_away: bool = False

    async def page(self, limit: int) -> str:
        await asyncio.sleep(PAGE_SECONDS)
        if self.is_away:
            raise StoreUnavailable("away")
        self.pages += 1
        self.left -= min(limit, self.left)
        return f"after {self.pages}" if self.left else ""


class Tables:
    def __init__(self, attempts: int, stuck: int = 0) -> None:
        self.attempts = Table(attempts)
        self.stuck = Table(stuck)

    async def sweep_attempts(self, after: str, *, now: datetime, kept: timedelta, limit: int) -> str:
        assert bool(after) == bool(self.attempts.pages)
        return await self.attempts.page(limit)

    async def sweep_stuck(self, after: str, *, limit: int) -> str:
        return await self.stuck.page(limit)


def beats(tables: Tables, count: int) -> float:
    """Seconds of so many beats that were spent in the store."""

    async def run() -> float:
        clock = VirtualClock()
        sweeper = Sweeper(tables, clock, kept=timedelta(days=7))
        busy = 0.0
        for _ in range(count):
            began = clock.monotonic()
            await sweeper.beat()
            busy += clock.monotonic() - began
            await asyncio.sleep(BEAT_SECONDS)
        return busy

    return run_virtually(run())


def test_what_a_busy_service_adds_is_forgotten_as_quickly() -> None:
    tables = Tables(attempts=1000 * 60)
    busy = beats(tables, 6)
    assert tables.attempts.left == 0
    assert busy < 6 * BEAT_SECONDS / 10


def test_two_tables_that_never_end_take_a_tenth_of_the_time_and_both_go_on() -> None:
    tables = Tables(attempts=10**9, stuck=10**9)
    busy = beats(tables, 10)
    assert busy < 1.1 * 10 * BEAT_SECONDS / 10
    assert tables.attempts.pages == tables.stuck.pages > 200


def test_while_the_store_is_away_it_is_asked_once_a_beat() -> None:
    tables = Tables(attempts=10**9)
    tables.stuck.is_away = True
    assert beats(tables, 3) < 4 * PAGE_SECONDS
    assert tables.attempts.pages == 0
