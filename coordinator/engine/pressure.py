"""Whether a new transaction is taken in, decided before its request is read (promise 5).

Not while the house is full; nor while new writes would wait long for their commit, or the process is behind
with those it works on, as what is accepted already would be late with them; nor, where any is near, from an
address that had more than its share. Who is refused is told when to come again: once what was refused lately
can have been done, at the rate at which transactions end. No await; house, store, throttle and clock are
handed in.
"""

from collections.abc import Callable
from math import ceil, inf
from typing import Final, Protocol

from coordinator.engine.admission import Bounds
from coordinator.engine.overload import Throttle
from coordinator.errors import Busy

WINDOW_SECONDS: Final = 1.0
COMMIT_SECONDS_MAX: Final = 1.0  # that a new write may have to wait
RETRY_SECONDS_MAX: Final = 30
SHARE_LEAST: Final = 10  # of one address in two windows, however many others ask
ADDRESSES_MAX: Final = 4096  # told apart in a window; whoever comes later counts as one
_CROWDED: Final = 7 / 8  # of the house's places, or bytes
_OVERWORKED: Final = 9 / 8  # of those that are worked on at once: beyond one, who had less than others
_CROWDED_STORE: Final = COMMIT_SECONDS_MAX / 2

_HINT: Final = "ask again later, or add a coordinator"


class House(Protocol):
    """What is asked of coordinator.engine.admission.Admission."""

    @property
    def inside(self) -> int:
        """Transactions."""
        ...

    @property
    def bytes_inside(self) -> int:
        """Bytes of them."""
        ...

    @property
    def fill(self) -> str:
        """Both, for people."""
        ...

    @property
    def left(self) -> int:
        """How many have left since the start."""
        ...


class _Window:
    """What was asked in some time: how many of each address were taken in, and how many were refused."""

    def __init__(self) -> None:
        self.taken: dict[str, int] = {}
        self.total = 0
        self.refused = 0

    def of(self, address: str) -> int:
        return self.taken.get(self._name(address), 0)

    def note(self, address: str, count: int) -> None:
        name = self._name(address)
        self.taken[name] = self.taken.get(name, 0) + count
        self.total += count

    def _name(self, address: str) -> str:
        return address if address in self.taken or len(self.taken) < ADDRESSES_MAX else ""


class Pressure:
    """One per coordinator process. bounds: of the house. monotonic: seconds from an arbitrary start.

    commit_seconds: how long a new write has to wait for its turn.
    """

    def __init__(
        self,
        house: House,
        bounds: Bounds,
        commit_seconds: Callable[[], float],
        throttle: Throttle,
        monotonic: Callable[[], float],
    ) -> None:
        self._house = house
        self._bounds = bounds
        self._commit_seconds = commit_seconds
        self._throttle = throttle
        self._monotonic = monotonic
        self._since = monotonic()
        self._left = house.left
        self._now, self._before = _Window(), _Window()
        self._coming = 0  # expected, and not asked for yet
        self.rate = 0.0  # transactions that ended in a second, lately

    @property
    def is_near_full(self) -> bool:
        """Whether some may be refused soon; cheap, and looks at counts alone."""
        is_bound = self._throttle.at_once < inf
        return is_bound or self._house.inside >= self._bounds.transactions_max * _CROWDED

    def is_full(self, *, is_driven: bool) -> bool:
        """Whether `ask` would most likely refuse, whoever asks; cheap, and looks at counts alone."""
        is_house_full = is_driven and self._house.inside >= self._bounds.transactions_max
        return is_house_full or self._working() >= _OVERWORKED

    def expect(self) -> None:
        """A request has come that will be asked for when it is read: it counts as if it were taken in."""
        self._coming += 1

    def arrived(self) -> None:
        """One that was expected, or another, is about to be asked for."""
        self._coming = max(self._coming - 1, 0)

    def ask(self, address: str, is_driven: bool) -> None:
        """Take in a request from there that begins a transaction; `answered` once it is.

        is_driven: whether it needs a place in the house at once; one that is only prepared does not.
        Raises Busy, which says in how many seconds to ask again.
        """
        self._turn()
        why = self._why_not(address, is_driven=is_driven)
        self._now.note(address, 0 if why else 1)
        if why:
            self._now.refused += 1
            raise Busy(why, _HINT, seconds=self._retry_seconds())
        self._throttle.enter()

    def answered(self) -> None:
        """What was taken in has its answer."""
        self._throttle.leave()

    def _why_not(self, address: str, *, is_driven: bool) -> str:
        fullness, waited = self._fullness() if is_driven else 0.0, self._commit_seconds()
        if fullness >= 1:
            return f"the coordinator is full: it drives {self._house.fill}"
        if waited > COMMIT_SECONDS_MAX:
            return f"the store is behind: a write waits {waited:.1f} s for its turn"
        self._throttle.watch(self.rate)
        working = self._working()
        if working >= _OVERWORKED:
            self._throttle.refuse()
            return f"the coordinator is behind: it works on {self._throttle.open} requests at once"
        is_crowded = fullness >= _CROWDED or working >= 1 or waited > _CROWDED_STORE
        if is_crowded and self._has_more_than_its_share(address):
            if working >= 1:
                self._throttle.refuse()
            return "the coordinator is nearly full, and this address has more than its share"
        return ""

    def _working(self) -> float:
        """Share of those worked on at once that is taken, or about to be; 0.0 while there is no bound."""
        return (self._throttle.open + self._coming) / self._throttle.at_once

    def _fullness(self) -> float:
        house, bounds = self._house, self._bounds
        return max(house.inside / bounds.transactions_max, house.bytes_inside / bounds.bytes_max)

    def _has_more_than_its_share(self, address: str) -> bool:
        now, before = self._now, self._before
        addresses = max(len(now.taken), len(before.taken), 1)
        share = max((now.total + before.total) / addresses, SHARE_LEAST)
        return now.of(address) + before.of(address) > share

    def _retry_seconds(self) -> int:
        refused = self._now.refused + self._before.refused
        # Of this window as well, since the one before may have been idle.
        running = max(self._monotonic() - self._since, WINDOW_SECONDS / 10)
        rate = max(self.rate, (self._house.left - self._left) / running, 1.0)
        return min(max(ceil(refused / rate), 1), RETRY_SECONDS_MAX)

    def _turn(self) -> None:
        """Begin a new window where this one is over."""
        now = self._monotonic()
        passed = now - self._since
        if passed < WINDOW_SECONDS:
            return
        self.rate = (self._house.left - self._left) / passed
        self._coming = 0  # some were never asked for
        self._before = self._now if passed < 2 * WINDOW_SECONDS else _Window()
        self._now, self._since, self._left = _Window(), now, self._house.left
