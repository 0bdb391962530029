"""How many are worked on at once while the process is behind, on a loop and clients that are played."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import pytest

from coordinator.engine.overload import AT_ONCE_LEAST, WINDOW_SECONDS, WINDOWS_CALM, WINDOWS_LATE, Throttle

LATE, SHORT = 0.03, 0.001  # seconds of a turn
RATE = 1000.0


class Loop:
    """Turns of an event loop, each as long as is said."""

    def __init__(self) -> None:
        self.now = 0.0
        self._soon: list[Callable[[], None]] = []
        self.throttle = Throttle(self._soon.append, lambda: self.now)

    def ask(self, rate: float = RATE) -> bool:
        """Whether one more is let in."""
        self.throttle.watch(rate)
        if self.throttle.open >= self.throttle.at_once:
            self.throttle.refuse()
            return False
        self.throttle.enter()
        return True

    def turn(self, seconds: float) -> None:
        """Everything that waits for the next turn happens when this one is over."""
        due, self._soon[:] = list(self._soon), []
        self.now += seconds
        for each in due:
            each()

    def turns(self, seconds: float, of: float, asked: int = 1) -> int:
        """Turns for so long, in each of which so many ask, and stay; returns how many are let in."""
        let_in, until = 0, self.now + seconds
        while self.now < until:
            let_in += sum(self.ask() for _ in range(asked))
            self.turn(of)
        return let_in


def test_while_turns_are_short_everybody_is_let_in() -> None:
    loop = Loop()
    assert loop.turns(3.0, SHORT) == loop.throttle.open > 20 * AT_ONCE_LEAST


def test_a_burst_is_let_in() -> None:
    loop = Loop()
    assert loop.turns((WINDOWS_LATE - 1) * WINDOW_SECONDS, LATE, asked=100) >= 1000
    loop.turns(2 * WINDOW_SECONDS, SHORT)
    assert loop.throttle.at_once == inf


def test_long_turns_that_last_bound_those_worked_on_and_short_ones_let_more_in() -> None:
    loop = Loop()
    loop.turns((WINDOWS_LATE + 4) * WINDOW_SECONDS, LATE, asked=20)
    assert loop.throttle.at_once == AT_ONCE_LEAST
    assert not loop.ask()
    assert loop.turns(WINDOW_SECONDS, LATE) == 0
    for _ in range(loop.throttle.open):
        loop.throttle.leave()
    assert loop.turns(WINDOW_SECONDS, LATE, asked=100) == AT_ONCE_LEAST
    loop.turns(5 * WINDOW_SECONDS, SHORT)
    assert AT_ONCE_LEAST < loop.throttle.at_once < inf
    loop.turns(20 * WINDOW_SECONDS, LATE)
    assert loop.throttle.at_once == AT_ONCE_LEAST


def test_a_turn_longer_than_a_window_is_long() -> None:
    loop = Loop()
    loop.turns((WINDOWS_LATE + 1) * 3 * WINDOW_SECONDS, 3 * WINDOW_SECONDS)
    assert loop.throttle.at_once == AT_ONCE_LEAST


def test_a_stall_is_no_crowd() -> None:
    loop = Loop()
    for _ in range(5):
        loop.turns(1.0, SHORT)
        loop.ask()
        loop.turn(20 * WINDOW_SECONDS)  # as a garbage collector, or a machine that was stopped, has it
    assert loop.throttle.at_once == inf


def bounded() -> Loop:
    """One whose turns were long, and where nobody is open any more."""
    loop = Loop()
    loop.turns((WINDOWS_LATE + 4) * WINDOW_SECONDS, LATE)
    for _ in range(loop.throttle.open):
        loop.throttle.leave()
    assert loop.throttle.at_once == AT_ONCE_LEAST
    return loop


def test_the_bound_ends_when_nobody_was_refused_for_a_while() -> None:
    loop = bounded()
    for _ in range(round((WINDOWS_CALM + 2) * WINDOW_SECONDS / SHORT)):
        assert loop.ask()
        loop.turn(SHORT)
        loop.throttle.leave()
    assert loop.throttle.at_once == inf


@pytest.mark.parametrize("refused", [False, True])
def test_the_bound_ends_when_nobody_asked_for_a_while(refused: bool) -> None:
    loop = bounded()
    if refused:
        loop.throttle.refuse()
    loop.now += (WINDOWS_CALM + 2) * WINDOW_SECONDS
    assert loop.turns(WINDOW_SECONDS, SHORT) > AT_ONCE_LEAST


@pytest.mark.parametrize("turn", [SHORT, 0.0025], ids=["idle", "as with 64 at work"])
def test_who_waits_for_slow_branches_keeps_nobody_out_for_long(turn: float) -> None:
    loop = bounded()
    for _ in range(300):
        loop.throttle.enter()  # and they stay
    assert loop.turns(15.0, turn) > AT_ONCE_LEAST
    assert loop.throttle.at_once <= 2 * loop.throttle.open


STEPS = 20  # turns that a saga needs


@dataclass
class Clients:
    """Each asks again once it has its answer, and at its times where the loop is quicker."""

    count: int
    every: float  # seconds, of one client
    capacity: float  # sagas a second
    refusal: float  # seconds that one costs
    took: list[float] = field(default_factory=list)
    refused: int = 0

    def run(self, seconds: float, counted_from: float) -> None:
        """Let them ask for so long; what was answered before counts not."""
        loop, step = Loop(), 1 / self.capacity / STEPS
        turns = [number / self.count * self.every for number in range(self.count)]
        at_work: list[tuple[float, int, int]] = []  # asked when, steps to go, by whom
        rate = self.capacity
        while loop.now < seconds:
            spent, going_on = 0.0, []
            for asked, left, client in at_work:
                spent += step
                if left > 1:
                    going_on.append((asked, left - 1, client))
                    continue
                loop.throttle.leave()
                ended = loop.now + spent
                if ended > counted_from:
                    self.took.append(ended - asked)
                turns[client] = max(asked + self.every, ended)
            busy = {client for _, _, client in going_on}
            for client, due in enumerate(turns):
                if due > loop.now or client in busy:
                    continue
                if loop.ask(rate):
                    going_on.append((due, STEPS, client))
                    turns[client] = inf
                else:
                    spent += self.refusal
                    self.refused += loop.now > counted_from
                    turns[client] = max(due + self.every, loop.now + spent)
            at_work = going_on
            loop.turn(max(spent, 0.0002))


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


@pytest.mark.parametrize("capacity", [1000, 2000, 5000])
def test_with_ten_times_the_clients_those_let_in_wait_at_most_twice_as_long(capacity: int) -> None:
    full = Clients(64, every=0.0, capacity=capacity, refusal=0.0)
    full.run(3.0, counted_from=1.0)
    crowd = Clients(640, every=640 / (3 * capacity), capacity=capacity, refusal=1 / capacity / 10)
    crowd.run(6.0, counted_from=2.0)
    assert full.refused == 0
    assert p99(crowd.took) <= 2.2 * p99(full.took)
    assert crowd.refused > 0
    assert len(crowd.took) / 4 >= 0.6 * capacity  # the refusals cost what is left
