"""Who is taken in while there is too much: decided by the house, the store, and what others ask."""

from dataclasses import dataclass

import pytest

from coordinator.engine.admission import Bounds
from coordinator.engine.overload import AT_ONCE_LEAST, Throttle
from coordinator.engine.pressure import ADDRESSES_MAX, RETRY_SECONDS_MAX, Pressure
from coordinator.errors import Busy

BOUNDS = Bounds(transactions_max=800, bytes_max=1000)
CALM, NEARLY_FULL, FULL = 100, 750, 800


@dataclass
class World:
    """A house, a store and a clock, moved by hand."""

    inside: int = CALM
    bytes_inside: int = 0
    left: int = 0
    commit_seconds: float = 0.0
    is_behind: bool = False
    now: float = 0.0

    @property
    def fill(self) -> str:
        return f"{self.inside} transactions"

    def pressure(self) -> Pressure:
        return Pressure(self, BOUNDS, lambda: self.commit_seconds, self.throttle(), lambda: self.now)

    def throttle(self) -> Throttle:
        throttle = Throttle(lambda call: call(), lambda: self.now)  # every turn is short
        if self.is_behind:
            throttle.at_once = AT_ONCE_LEAST
        return throttle


def taken_in(pressure: Pressure, address: str, times: int) -> int:
    """How many of so many requests are."""
    return times - len([1 for _ in range(times) if refusal(pressure, address)])


def refusal(pressure: Pressure, address: str = "a", *, is_driven: bool = True) -> Busy | None:
    try:
        pressure.ask(address, is_driven)
    except Busy as error:
        return error
    return None


def test_a_calm_coordinator_takes_in_whoever_comes() -> None:
    pressure = World().pressure()
    assert (taken_in(pressure, "a", 500), taken_in(pressure, "b", 1)) == (500, 1)


@pytest.mark.parametrize("full", [World(inside=FULL), World(bytes_inside=1000)])
def test_a_full_house_refuses_what_is_driven_and_takes_what_is_only_prepared(full: World) -> None:
    pressure = full.pressure()
    refused = refusal(pressure)
    assert refused is not None
    assert "the coordinator is full" in refused.message
    assert refusal(pressure, is_driven=False) is None


def test_while_commits_are_waited_for_long_nothing_new_comes_in() -> None:
    world = World(commit_seconds=1.2)
    refused = refusal(world.pressure(), is_driven=False)
    assert refused is not None
    assert "a write waits 1.2 s for its turn" in refused.message
    world.commit_seconds = 0.9
    assert refusal(world.pressure()) is None


def test_while_the_process_is_behind_it_works_on_so_many_and_on_some_more_of_who_had_less() -> None:
    pressure = World(is_behind=True).pressure()
    assert taken_in(pressure, "little", AT_ONCE_LEAST - 50) == AT_ONCE_LEAST - 50
    assert taken_in(pressure, "much", 200) == 50
    refused = refusal(pressure, "much")
    assert refused is not None
    assert "more than its share" in refused.message
    assert taken_in(pressure, "new", 20) == AT_ONCE_LEAST // 8
    refused = refusal(pressure, "new", is_driven=False)
    assert refused is not None
    assert f"it works on {AT_ONCE_LEAST * 9 // 8} requests at once" in refused.message
    pressure.answered()
    assert taken_in(pressure, "new", 2) == 1


def test_clients_who_are_few_are_not_refused_because_the_process_is_behind() -> None:
    pressure = World(is_behind=True).pressure()
    for _ in range(3):
        assert taken_in(pressure, "much", 40) == 40
        assert [taken_in(pressure, f"one-{number}", 1) for number in range(24)] == [1] * 24
        for _ in range(AT_ONCE_LEAST):
            pressure.answered()


def test_what_is_full_is_known_without_asking() -> None:
    full, behind = World(inside=FULL).pressure(), World(is_behind=True).pressure()
    assert (full.is_full(is_driven=True), full.is_full(is_driven=False)) == (True, False)
    assert not behind.is_full(is_driven=True)
    assert (behind.is_near_full, full.is_near_full, World().pressure().is_near_full) == (True, True, False)
    while refusal(behind) is None:
        pass
    assert behind.is_full(is_driven=True)
    assert behind.is_full(is_driven=False)


def test_what_has_come_and_was_not_read_yet_counts() -> None:
    world = World(is_behind=True)
    pressure = world.pressure()
    for _ in range(AT_ONCE_LEAST * 9 // 8):
        assert not pressure.is_full(is_driven=True)
        pressure.expect()
    assert pressure.is_full(is_driven=True)
    pressure.arrived()
    assert refusal(pressure) is None
    assert pressure.is_full(is_driven=True)
    world.now = 1.1  # those of a connection that was lost never come
    pressure.arrived()
    assert refusal(pressure) is None
    assert not pressure.is_full(is_driven=True)


def test_a_full_house_says_nothing_of_who_is_worked_on() -> None:
    world = World(inside=FULL, is_behind=True)
    pressure = world.pressure()
    for _ in range(100):
        world.now += 0.05
        assert refusal(pressure) is not None
    world.inside = CALM
    assert taken_in(pressure, "a", 200) == 200  # the bound has gone meanwhile


@pytest.mark.parametrize("crowded", [World(inside=NEARLY_FULL), World(commit_seconds=0.7)])
def test_who_asks_much_leaves_room_to_who_asks_little(crowded: World) -> None:
    inside, waits = crowded.inside, crowded.commit_seconds
    crowded.inside, crowded.commit_seconds = CALM, 0.0
    pressure = crowded.pressure()
    assert taken_in(pressure, "much", 300) == 300
    assert taken_in(pressure, "little", 5) == 5
    crowded.inside, crowded.commit_seconds = inside, waits
    assert taken_in(pressure, "much", 50) == 0
    assert taken_in(pressure, "little", 5) == 5
    assert taken_in(pressure, "new", 5) == 5
    crowded.now = 2.5  # what was long ago counts no more
    assert taken_in(pressure, "much", 5) == 5


def test_who_is_alone_has_everything() -> None:
    pressure = World(inside=NEARLY_FULL).pressure()
    assert taken_in(pressure, "alone", 1000) == 1000


def test_a_small_share_is_everybodys() -> None:
    pressure = World(inside=NEARLY_FULL).pressure()
    assert [taken_in(pressure, f"address-{number}", 5) for number in range(100)] == [5] * 100


@pytest.mark.parametrize(
    ("ended", "refused", "seconds"),
    [(2000, 100, 1), (100, 450, 5), (0, 10, 10), (0, 10_000, RETRY_SECONDS_MAX)],
)
def test_the_refused_are_told_to_come_when_they_can_have_been_done(
    ended: int, refused: int, seconds: int
) -> None:
    world = World(inside=FULL)
    pressure = world.pressure()
    world.now, world.left = 1.0, ended
    last = None
    for _ in range(refused):
        last = refusal(pressure)
    assert last is not None
    assert last.seconds == seconds


def test_the_refused_after_an_idle_time_are_told_by_the_rate_of_just_now() -> None:
    world = World(inside=FULL)
    pressure = world.pressure()
    world.now = 60.0
    refusal(pressure)
    world.now, world.left = 60.5, 1000
    last = None
    for _ in range(600):
        last = refusal(pressure)
    assert last is not None
    assert last.seconds == 1


def test_addresses_are_told_apart_up_to_a_bound() -> None:
    pressure = World().pressure()
    for number in range(2 * ADDRESSES_MAX):
        pressure.ask(str(number), True)
    assert len(pressure._now.taken) <= ADDRESSES_MAX + 1
