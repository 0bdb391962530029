"""Who may be driven and called now: the house, its doors, and those who are deferred (PROTOCOL §9)."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.engine.admission import Admission, Bounds, Outcome
from coordinator.engine.entry import Entry
from coordinator.hold import Hold

CALL_SECONDS = 3.0


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def admission(clock: Hand | None = None, **bounds: float) -> Admission:
    return Admission(Bounds(**bounds), monotonic=clock or Hand(), random=Random(1))  # type: ignore[arg-type]


def entered(house: Admission, payload_bytes: int = 0) -> Entry:
    entry = house.enter(payload_bytes)
    assert entry is not None
    return entry


def test_a_house_takes_as_many_transactions_as_it_has_places() -> None:
    house = admission(transactions_max=2)
    first, _ = entered(house), entered(house)
    assert "2 of 2 transactions" in house.problem
    assert house.enter(0) is None
    first.leave()
    first.leave()
    assert (house.inside, house.problem) == (1, "")
    entered(house)
    assert house.enter(0) is None, "a place that is given back twice is one place"


def test_a_house_is_bounded_in_bytes_too() -> None:
    house = admission(bytes_max=10_000_000)
    first = [entered(house, 2_400_000) for _ in range(4)]
    assert house.enter(2_400_000) is None
    entered(house, 100_000)
    first[0].leave()
    entered(house, 2_400_000)


def test_what_is_larger_than_the_house_gets_in_when_there_is_some_room() -> None:
    house = admission(bytes_max=1_000_000)
    entered(house, 300_000)
    entered(house, 50_000_000)
    assert house.bytes_inside < 1_000_000


def test_who_finds_the_house_full_is_told_when_there_is_room() -> None:
    house, told = admission(transactions_max=1), []
    house.room_came = lambda: told.append(house.inside)
    entry = entered(house)
    house.enter(0)
    entry.leave()
    assert told == [0]
    entered(house).leave()
    assert told == [0], "nobody was refused meanwhile"


def test_an_endpoint_takes_as_many_calls_as_its_window() -> None:
    house = admission(window_max=2)
    assert [house.take("a") for _ in range(3)] == [True, True, False]
    assert house.take("b"), "another endpoint has its own places"
    assert house.by_endpoint() == {"a": 2, "b": 1}
    house.leave("a", Outcome.ANSWERED)
    assert house.take("a")


def test_what_calls_nobody_needs_no_place() -> None:
    house = admission(window_max=1)
    assert all(house.take("") for _ in range(3))
    house.leave("", Outcome.ANSWERED)
    assert house.by_endpoint() == {}


@pytest.mark.parametrize("hanging", [1, 2, 5, 20])
def test_endpoints_that_hang_leave_something_free(hanging: int) -> None:
    """Each settles at N / (k + 2), however many want more."""
    house = admission(transactions_max=4096, window_max=4096)
    inside = dict.fromkeys(map(str, range(hanging)), 0)
    for _ in range(5000):
        for endpoint in inside:
            if house.take(endpoint):
                entered(house)
                inside[endpoint] += 1
    share = 4096 / (hanging + 2)
    assert all(abs(calls - share) <= 0.1 * share + 2 for calls in inside.values()), inside
    assert 4096 - house.inside >= share
    assert house.take("healthy")


def test_the_last_place_of_a_full_house_is_one_call_everywhere() -> None:
    house = admission(transactions_max=1)
    entered(house)
    assert house.take("a")
    assert not house.take("a")
    assert house.take("b")


def test_a_window_shrinks_once_in_the_time_of_a_call_and_not_below_its_floor() -> None:
    clock = Hand()
    house = admission(clock, window_max=100)

    def room() -> int:
        taken = 0
        while house.take("a"):
            taken += 1
        for _ in range(taken):
            house.leave("a", Outcome.UNUSED)
        return taken

    for expected in (70, 49, 34):
        clock.seconds += CALL_SECONDS
        for _ in range(30):
            house.take("a")
        for _ in range(30):
            house.leave("a", Outcome.LOST, call_seconds=CALL_SECONDS)
        assert room() == expected
    for _ in range(50):
        clock.seconds += CALL_SECONDS
        house.take("a")
        house.leave("a", Outcome.LOST, call_seconds=CALL_SECONDS)
    assert room() == 8
    for _ in range(8):
        house.take("a")
        house.leave("a", Outcome.ANSWERED)
    assert room() == 9, "it grows by one for a window of answers"


def test_how_long_an_answer_takes_changes_nothing() -> None:
    clock = Hand()
    house = admission(clock, window_max=4)
    for _ in range(20):
        house.take("a")
        clock.seconds += 100
        house.leave("a", Outcome.ANSWERED, call_seconds=CALL_SECONDS)
    assert [house.take("a") for _ in range(5)] == [True] * 4 + [False]


async def test_places_go_to_those_who_wait_first_come_first_served() -> None:
    house = admission(window_max=1)
    house.take("a")
    turns = [asyncio.get_running_loop().create_future() for _ in range(2)]
    assert house.wait("a", turns[0])
    assert not house.wait("a", turns[1]), "the queue is as short as the window"
    assert not house.take("a")
    house.leave("a", Outcome.ANSWERED)
    assert turns[0].done()
    assert house.by_endpoint() == {"a": 1}
    assert house.give_up("a", turns[0]), "it came at the last moment, and is taken"
    house.leave("a", Outcome.UNUSED)
    assert house.by_endpoint() == {}


async def test_who_gives_up_holds_nobody_up() -> None:
    house = admission(window_max=2)
    for _ in range(2):
        house.take("a")
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    assert house.wait("a", first)
    assert house.wait("a", second)
    assert not house.give_up("a", first)
    house.leave("a", Outcome.ANSWERED)
    assert second.done()
    assert not house.give_up("b", loop.create_future())


def test_what_is_deferred_is_spread_at_the_rate_of_answers() -> None:
    clock = Hand()
    house = admission(clock, window_max=256, deferred_seconds_max=10)
    for second in range(3):
        for _ in range(100):
            house.take("a")
        clock.seconds = second + 1.0
        for _ in range(100):
            house.leave("a", Outcome.ANSWERED)
    seconds = [house.defer("a") for _ in range(1000)]
    assert seconds == sorted(seconds)
    assert 1 <= seconds[0] < 1.1
    assert 4 < seconds[-1] < 8, "hoping that it does twice as well as it did"
    later = [house.defer("a") for _ in range(5000)]
    assert all(1 <= it <= 10 for it in later)
    assert max(later) - min(later[-1000:]) > 4, "not all of them at once"


@pytest.mark.parametrize(("outcome", "soon"), [(Outcome.ANSWERED, True), (Outcome.LOST, False)])
def test_places_that_come_soon_are_counted_where_calls_are_answered(outcome: Outcome, soon: bool) -> None:
    """What is let in for a place that does not come is claimed and let go for nothing."""
    clock = Hand()
    house = admission(clock, window_max=8)
    for second in range(2):
        for _ in range(8):
            house.take("a")
        clock.seconds = second + 1.0
        for _ in range(8):
            house.leave("a", outcome, call_seconds=CALL_SECONDS)
    for _ in range(8):
        house.take("a")
    assert house.has_room("a") is soon


def test_what_was_deferred_comes_before_what_is_new() -> None:
    clock = Hand()
    house = admission(clock, window_max=2)
    assert house.is_calm
    assert house.is_for_new("a")
    house.take("a")
    house.defer("a", was_due=True)
    assert not house.is_calm
    assert not house.is_for_new("a")
    assert house.is_for_new("b")
    assert house.has_room("a")
    clock.seconds += 3
    assert house.is_for_new("a")
    house.look_again()
    assert house.is_calm, "whose endpoint has room again need not ask"


def test_a_place_that_comes_free_is_told_to_those_who_were_deferred() -> None:
    told: list[bool] = []
    house = admission(window_max=1)
    house.room_came = lambda: told.append(True)
    house.take("a")
    house.leave("a", Outcome.ANSWERED)
    assert told == []
    house.take("a")
    house.defer("a")
    house.leave("a", Outcome.ANSWERED)
    assert told == [True]
    assert house.has_deferred


START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def held(endpoint: str, seconds: float) -> Hold:
    return Hold(endpoint, "moved to another rack", "anna", START, START + timedelta(seconds=seconds))


async def test_a_held_endpoint_lets_nothing_in() -> None:
    house = admission()
    hold = held("a", 60)
    house.hold(hold, 60)
    assert not house.take("a")
    assert not house.has_room("a")
    assert not house.is_for_new("a")
    assert not house.wait("a", asyncio.get_running_loop().create_future())
    assert (house.held("a"), house.held("b")) == (hold, None)
    house.release("a")
    assert house.take("a")


def test_calls_that_run_end_as_ever_while_their_endpoint_is_held() -> None:
    house = admission()
    house.take("a")
    house.hold(held("a", 60), 60)
    house.leave("a", Outcome.ANSWERED)
    assert house.by_endpoint() == {}
    assert not house.take("a")


def test_what_waits_for_a_held_endpoint_comes_again_seldom_and_not_after_its_end() -> None:
    """200 a second, half a minute at least, ten at most: a million that wait are 1,700 writes a second."""
    clock = Hand()
    house = admission(clock)
    house.hold(held("a", 3600), 3600)
    seconds = [house.defer("a", was_due=True) for _ in range(200_000)]
    assert seconds[0] == 30
    assert seconds[200] == pytest.approx(31)
    assert seconds[-1] == pytest.approx(600, abs=0.1)
    clock.seconds = 3590
    assert house.defer("a", was_due=True) == 12, "when every coordinator knows that it is over"
    clock.seconds = 3601
    assert house.defer("a", was_due=True) == 1


def test_what_was_just_submitted_is_soon_at_hand() -> None:
    house = admission()
    house.hold(held("a", 3600), 3600)
    assert house.defer("a") == 1


def test_a_release_is_told_to_those_who_were_deferred() -> None:
    told: list[bool] = []
    clock = Hand()
    clock.seconds = 100
    house = admission(clock)
    house.room_came = lambda: told.append(True)
    house.hold(held("a", 60), 60)
    house.defer("a", was_due=True)
    house.look_again()
    assert (told, house.is_calm, house.has_deferred) == ([], False, False), "nobody need look before"
    house.release("a")
    assert (told, house.is_calm) == ([True], True)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Outcome)), st.floats(0, 5)), max_size=200)
)
def test_all_places_come_back(moves: list[tuple[str, Outcome, float]]) -> None:
    clock = Hand()
    house = admission(clock, transactions_max=20, window_max=10)
    inside: list[tuple[str, Entry]] = []
    for endpoint, outcome, seconds in moves:
        clock.seconds += seconds
        entry = house.enter(1000)
        if entry is not None and house.take(endpoint):
            inside.append((endpoint, entry))
        elif entry is not None:
            entry.leave()
            assert 1 <= house.defer(endpoint) <= 10
        if len(inside) > 12:
            left, gone = inside.pop(0)
            house.leave(left, outcome, call_seconds=CALL_SECONDS)
            gone.leave()
        assert house.inside == len(inside) <= 20
        assert sum(house.by_endpoint().values()) == len(inside)
    for endpoint, entry in inside:
        house.leave(endpoint, Outcome.ANSWERED)
        entry.leave()
    assert (house.inside, house.bytes_inside, house.by_endpoint()) == (0, 0, {})
    assert all(house.take(endpoint) for endpoint in "abc")
