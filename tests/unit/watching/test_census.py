"""What the store knows of unfinished transactions, believed for a while."""

from datetime import UTC, datetime, timedelta

import pytest

from coordinator.errors import StoreUnavailable
from coordinator.model import Status
from coordinator.store.base import Backlog
from coordinator.watching.census import BELIEVED_SECONDS, Census

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class StoppedClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds - 1000)

    def monotonic(self) -> float:
        return self.seconds


class Store:
    def __init__(self) -> None:
        self.is_away = False

    async def backlog(self, *, now: datetime) -> Backlog:
        if self.is_away:
            raise StoreUnavailable("away")
        return Backlog(
            {Status.SUBMITTED: 3, Status.ABORTING: 1},
            due=2,
            oldest_due=NOW - timedelta(seconds=20),
            oldest_created=NOW - timedelta(seconds=400),
        )


async def test_figures_of_the_last_answer_whose_ages_grow() -> None:
    clock = StoppedClock()
    census = Census(Store(), clock)
    assert census.by_status() is census.due() is census.oldest_seconds() is census.lag_seconds() is None
    await census.ask()
    assert census.by_status() == {"submitted": 3, "aborting": 1}
    assert census.due() == 2
    clock.seconds += 5
    assert (census.oldest_seconds(), census.lag_seconds()) == (405, 25)


async def test_without_anything_unfinished_the_ages_are_zero() -> None:
    class Empty:
        async def backlog(self, *, now: datetime) -> Backlog:
            return Backlog({})

    census = Census(Empty(), StoppedClock())
    await census.ask()
    assert (census.due(), census.oldest_seconds(), census.lag_seconds()) == (0, 0, 0)


async def test_a_store_that_is_away_leaves_the_last_answer_until_it_is_too_old() -> None:
    clock, store = StoppedClock(), Store()
    census = Census(store, clock)
    await census.ask()
    store.is_away = True
    clock.seconds += BELIEVED_SECONDS
    await census.ask()
    assert census.due() == 2
    clock.seconds += 1
    assert census.due() is None
    store.is_away = False
    await census.ask()
    assert census.due() == pytest.approx(2)
