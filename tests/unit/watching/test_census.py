"""What the store knows of unfinished transactions, believed for a while."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from coordinator.errors import StoreUnavailable
from coordinator.model import Status
from coordinator.store.base import Backlog
from coordinator.store.shared_table import Told
from coordinator.watching.census import BELIEVED_SECONDS, INTERVAL_SECONDS, Census

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


class Board:
    """What several coordinators tell each other."""

    def __init__(self, clock: StoppedClock) -> None:
        self.clock = clock
        self.holder = ""
        self.until = 0.0
        self.value: tuple[Mapping[str, Any], float] | None = None

    async def take(self, name: str, holder: str, *, seconds: float) -> bool:
        if self.holder not in ("", holder) and self.clock.seconds < self.until:
            return False
        self.holder, self.until = holder, self.clock.seconds + seconds
        return True

    async def tell(self, name: str, holder: str, value: Mapping[str, Any]) -> None:
        self.value = orjson.loads(orjson.dumps(value)), self.clock.seconds

    async def told(self, name: str) -> Told | None:
        if self.value is None:
            return None
        return Told(self.value[0], timedelta(seconds=self.clock.seconds - self.value[1]))


class Counting(Store):
    def __init__(self, clock: StoppedClock, takes: float = 0.0) -> None:
        super().__init__()
        self.clock, self.takes, self.asked = clock, takes, 0

    async def backlog(self, *, now: datetime) -> Backlog:
        self.asked += 1
        self.clock.seconds += self.takes
        return await super().backlog(now=now)


async def test_one_coordinator_counts_for_all() -> None:
    clock = StoppedClock()
    store, board = Counting(clock), Board(clock)
    fleet = [Census(store, clock, board, name) for name in ("a", "b", "c")]
    for _ in range(10):
        for census in fleet:
            await census.ask()
        clock.seconds += INTERVAL_SECONDS
    assert store.asked == 10
    assert [(it.due(), it.by_status()) for it in fleet] == [(2, {"submitted": 3, "aborting": 1})] * 3
    assert len({it.oldest_seconds() for it in fleet}) == 1


async def test_another_goes_on_when_the_one_that_counts_has_died() -> None:
    clock = StoppedClock()
    store, board = Counting(clock), Board(clock)
    await Census(store, clock, board, "dead").ask()
    census = Census(store, clock, board, "alive")
    for _ in range(4):
        clock.seconds += INTERVAL_SECONDS
        await census.ask()
        assert census.due() == 2
    assert store.asked >= 2


async def test_counting_takes_a_hundredth_of_the_time_at_most() -> None:
    clock = StoppedClock()
    store = Counting(clock, takes=1.0)
    census = Census(store, clock)
    began = clock.seconds
    while clock.seconds < began + 2000:
        await census.ask()
        assert census.due() == 2
        clock.seconds += INTERVAL_SECONDS
    assert store.asked <= 21


async def test_what_is_no_census_is_passed_over() -> None:
    clock = StoppedClock()
    board = Board(clock)
    board.value, board.holder, board.until = (
        ({"by_status": {"odd": 1}}, clock.seconds),
        "b",
        clock.seconds + 60,
    )
    census = Census(Store(), clock, board, "a")
    await census.ask()
    assert census.due() is None


async def test_a_count_that_takes_long_is_taken_by_one_of_many_all_the_same() -> None:
    clock = StoppedClock()
    store, board = Counting(clock, takes=1.0), Board(clock)
    fleet = [Census(store, clock, board, name) for name in ("a", "b", "c")]
    began = clock.seconds
    while clock.seconds < began + 1000:
        for census in fleet:
            await census.ask()
            assert census.due() == 2
        clock.seconds += INTERVAL_SECONDS
    assert store.asked <= 12
