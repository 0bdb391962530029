"""How many calls one endpoint may have at a time, and when there will be room. Pure: the time is handed in.

The window shrinks when calls time out or are refused, and grows again with answers; how long an answer takes
is no reason for either.
"""

from collections import deque
from typing import TYPE_CHECKING, Final

from coordinator.attempt import ENDPOINT_MAX
from coordinator.discovery.target import shown as without_login
from coordinator.hold import Hold
from coordinator.telemetry.shown import shown

if TYPE_CHECKING:
    from asyncio import Future

DEFERRED_SECONDS_MIN: Final = 1.0
_SHRINKS_TO: Final = 0.7  # of the window, at most once in the time that a call may take
_WINDOW_FLOOR: Final = 8  # calls; a smaller maximum is its own floor
_RATE_SECONDS: Final = 1.0  # over which the ends of calls are counted
_RATE_KEPT: Final = 0.7  # of the last count, at least: an endpoint that is idle for want of work is not slow
_RATE_FORGOTTEN_SECONDS: Final = 5.0  # of silence, after which a count begins anew
_HOPED_RATE: Final = 2.0  # times the last one: what is deferred comes rather early, to find out
_SOON_SECONDS: Final = 0.5
_TELLING_SHARE: Final = 8
_IN_NEED_SECONDS: Final = 2.0  # for which new transactions stand back behind deferred ones
# What was due and is held comes again so late, so that waiting costs next to nothing: whatever is at hand is
# claimed as soon as nobody holds it, whenever it is due.
_HELD_SECONDS_MIN: Final = 30.0
_HELD_SECONDS_MAX: Final = 600.0
_HELD_RATE: Final = 200.0  # rows a second that come again
_LET_GO_SECONDS: Final = 2.0  # after the end of a hold, when every coordinator knows of it


def name_of(endpoint: str) -> str:
    """As people see it, and tables have it: without a login."""
    return shown(without_login(endpoint))[:ENDPOINT_MAX]


class Endpoint:
    """The calls that run there, who waits for one of them to end, and how it has done lately.

    window_max: calls at a time. now: seconds on a clock that never goes back.
    """

    __slots__ = (
        *("running", "waiting", "hold", "window", "rate", "next_slot"),
        *("_held_slot", "_window_max", "_credit", "_shrunk_at", "_ends", "_counted_from"),
        *("_in_need_until", "_is_lost"),
    )

    def __init__(self, window_max: int, now: float) -> None:
        self.running = 0
        self.waiting: deque[Future[None]] = deque()
        self.hold: Hold | None = None  # of an operator: nothing is let in
        self.window = float(window_max)
        self.rate = 0.0  # calls that ended, a second; 0 before any was counted
        self.next_slot = 0.0  # when the next one that is deferred may come
        self._held_slot = 0.0
        self._window_max = window_max
        self._credit = 0  # answers since the window last grew
        self._shrunk_at = float("-inf")
        self._ends = 0
        self._counted_from = now
        self._in_need_until = 0.0
        self._is_lost = False  # the last call was

    def limit(self, free: int) -> int:
        """How many calls may run now. free: places left in the house; half of them are for the others."""
        if self.hold is not None:
            return 0
        half = free // 2
        window = int(self.window)
        return max(1, window if window < half else half)

    def room(self, free: int) -> int:
        """How many more may come, to a place or, where calls are answered, to one that comes soon."""
        limit = self.limit(free)
        soon = min(limit, int(self.rate * _SOON_SECONDS)) if not self._is_lost else 0
        return limit + soon - self.running - len(self.waiting)

    def is_worth_telling(self, free: int) -> bool:
        """Whether so much room has come that those who were deferred should hear of it: not at every call."""
        return self.room(free) >= max(1, self.limit(free) // _TELLING_SHARE)

    def is_in_need(self, now: float) -> bool:
        """Whether something that was due found no place lately, so that new ones must not come before it."""
        return now < self._in_need_until

    def ended(self, now: float, *, is_lost: bool, call_seconds: float) -> None:
        """A call has ended. is_lost: nothing came back. call_seconds: how long it might take."""
        self._count(now)
        self._is_lost = is_lost
        if is_lost:
            if now - self._shrunk_at >= call_seconds:
                floor = min(_WINDOW_FLOOR, self._window_max)
                self.window = max(float(floor), self.window * _SHRINKS_TO)
                self._shrunk_at, self._credit = now, 0
        elif self.window < self._window_max:
            self._credit += 1
            if self._credit >= self.window:
                self.window = min(float(self._window_max), self.window + 1)
                self._credit = 0

    def seconds_until_slot(self, now: float, longest: float, *, was_due: bool) -> float:
        """For how long to defer one more, 1 second to `longest`: each gets a slot, at the rate of ends."""
        if was_due:
            self._in_need_until = now + _IN_NEED_SECONDS
        slot = max(self.next_slot, now + DEFERRED_SECONDS_MIN)
        self.next_slot = min(slot + 1 / (_HOPED_RATE * (self.rate or self.window)), now + longest)
        return slot - now

    def seconds_until_let_go(self, now: float, until: float) -> float:
        """For how long to defer one more that was due while the endpoint is held. until: the hold's end."""
        slot = max(self._held_slot, now + _HELD_SECONDS_MIN)
        self._held_slot = min(slot + 1 / _HELD_RATE, now + _HELD_SECONDS_MAX)
        return max(DEFERRED_SECONDS_MIN, min(slot, until + _LET_GO_SECONDS) - now)

    def _count(self, now: float) -> None:
        # Those that end together now belong to the next count, all of them.
        elapsed = now - self._counted_from
        if elapsed >= _RATE_SECONDS:
            if elapsed <= _RATE_FORGOTTEN_SECONDS:
                self.rate = max(self._ends / elapsed, self.rate * _RATE_KEPT)
            self._ends, self._counted_from = 0, now
        self._ends += 1
