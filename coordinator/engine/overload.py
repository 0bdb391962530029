"""How many requests are worked on at once while the process itself is behind (promise 5).

What shows that it is behind is its event loop: its turns are long while each finds more work than it can do,
and whoever asks waits many of them. Then only so many are let in at once as keep turns short, and the others
are told so at once. A burst is none of it: it must last; nor are branches that take their time, for the loop
is idle meanwhile. No await; the clock and the loop's `call_soon` are handed in.
"""

from collections.abc import Callable
from math import inf
from typing import Final

AT_ONCE_LEAST: Final = 64  # are always let in
WINDOW_SECONDS: Final = 0.1
WINDOWS_LATE: Final = 5  # one after the other, until any is refused
WINDOWS_CALM: Final = 10  # without a refusal, until there is no bound any more
_LATE_SECONDS: Final = (0.001, 0.05)  # of the mean turn: at the least, at the most
_LATE_OF: Final = 8  # transactions' work: with 128 of them under way a turn has 6 to 8, with 64 it has 3
_SHORT, _NOT_LONG = 1 / 8, 2 / 5  # of a late turn: nearly idle; as with AT_ONCE_LEAST under way
_LESS, _MORE, _LITTLE_MORE = 0.8, 1.1, 1.02


class Throttle:
    """One per coordinator process. soon: calls back in the next turn of the loop. monotonic: seconds."""

    def __init__(self, soon: Callable[[Callable[[], None]], object], monotonic: Callable[[], float]) -> None:
        self._soon = soon
        self._monotonic = monotonic
        self._since = self._seen = monotonic()
        self._asked: float | None = None  # when the turn that is being measured began
        self._turns, self._spent = 0, 0.0  # of this window: turns that were measured, and their seconds
        self._late = 0  # windows, one after the other
        self._calm = 0  # likewise
        self._has_refused = False
        self.at_once: float = inf  # how many are let in
        self.open = 0  # let in and not answered

    def watch(self, rate: float) -> None:
        """Measure the turn that runs, and move the bound; for each who asks. rate: see `late_seconds`."""
        now = self._monotonic()
        if now - self._since >= WINDOW_SECONDS:
            self._turn(now, rate)
        if self._asked is None:
            self._asked = now
            self._soon(self._measured)

    def enter(self) -> None:
        """One more is let in; `leave` when it is answered."""
        self.open += 1

    def refuse(self) -> None:
        """One more was not let in, as those who are open are too many."""
        self._has_refused = True

    def leave(self) -> None:
        """One that was let in has its answer."""
        self.open -= 1

    def _measured(self) -> None:
        assert self._asked is not None
        self._seen = self._monotonic()
        self._see(self._seen - self._asked)
        self._asked = None

    def _see(self, turn: float) -> None:
        self._turns += 1
        self._spent += turn

    def _turn(self, now: float, rate: float) -> None:
        """Begin a new window; what the last one showed moves the bound."""
        windows = int((now - self._since) / WINDOW_SECONDS)
        if self._asked is not None:  # a turn that lasts still: what is left of it is the new window's
            self._see(now - self._asked)
            self._asked = now
        elif now - self._seen >= WINDOW_SECONDS:  # nobody asked for a while
            self._turns = 0
        turn = self._spent / self._turns if self._turns else 0.0
        self._late = (
            self._late + 1 if turn > late_seconds(rate) else 0
        )  # one, however long: a stall is no crowd
        self._calm = windows - 1 if self._has_refused else self._calm + windows
        self._move(turn / late_seconds(rate))
        self._since, self._turns, self._spent, self._has_refused = now, 0, 0.0, False

    def _move(self, lateness: float) -> None:
        """lateness: of the mean turn, 1.0 is late."""
        if self.at_once == inf:
            if self._late >= WINDOWS_LATE:
                self.at_once, self._calm = AT_ONCE_LEAST, 0
        elif self._calm >= WINDOWS_CALM:
            self.at_once = inf
        elif self._late:
            self.at_once = max(self.at_once * _LESS, AT_ONCE_LEAST)
        elif self._has_refused and lateness < _NOT_LONG:
            more = _MORE if lateness < _SHORT else _LITTLE_MORE
            self.at_once = min(self.at_once, max(self.open, AT_ONCE_LEAST)) * more


def late_seconds(rate: float) -> float:
    """Turns of the loop that are longer are long. rate: of transactions that end, a second."""
    least, most = _LATE_SECONDS
    return min(max(_LATE_OF / max(rate, 1.0), least), most)
