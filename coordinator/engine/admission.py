"""Who may be driven and called now: one house for all, a door to each endpoint (PROTOCOL §9, promise 5).

The house bounds what is driven here, in transactions and in bytes of payload. An endpoint gets its window of
calls at a time, and never more than half of the places that the house has free: k services that hang settle
at N / (k + 2) places each, so that something is free for the others whatever those do.

A call that is not let in is no result. Its transaction is deferred: due again when its endpoint can have
room. No await; the clock is handed in.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

from coordinator.engine.endpoint import DEFERRED_SECONDS_MIN, Endpoint, name_of
from coordinator.engine.entry import Entry
from coordinator.hold import Hold

_ENDPOINTS_MAX: Final = 4096  # remembered; beyond that those without calls are forgotten
_COMING_SECONDS: Final = 2.0  # columns hold whole seconds, and a look takes its time
_LARGEST_SHARE: Final = 4  # a larger transaction counts as a quarter of the house: it must get in, too
_TRANSACTION_BYTES: Final = 1024  # about, beside its payloads


class Outcome(Enum):
    """What became of a call that was let in."""

    ANSWERED = "answered"  # whatever the answer said
    LOST = "lost"  # timed out, or no connection
    UNUSED = "unused"  # it was not made


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be under way here."""

    transactions_max: int = 4096
    bytes_max: int = 64 << 20  # of their payloads
    window_max: int = 256  # calls at a time to one endpoint
    deferred_seconds_max: float = 10.0


@dataclass(frozen=True, slots=True)
class Door:
    """How it is at one endpoint now: calls that run, calls in its short queue, and the most that may run."""

    running: int
    waiting: int
    window: int


class Admission:
    """One per coordinator. Whoever enters leaves, whoever is let in to an endpoint leaves it.

    monotonic: seconds from an arbitrary start. room_came: called when a place came free at an endpoint for
    which something was deferred, or in a house that was full.
    """

    def __init__(self, bounds: Bounds, *, monotonic: Callable[[], float], random: Random) -> None:
        self._bounds = bounds
        self._monotonic = monotonic
        self._random = random
        self._inside = 0
        self.left = 0  # since the start
        self._bytes = 0
        self._was_full = False
        self._endpoints: dict[str, Endpoint] = {}
        self._holds: dict[str, tuple[Hold, float]] = {}  # by name; and when they end, monotonic
        self._crowded: set[str] = set()  # endpoints that refused somebody since they last had room
        self._deferred_until = 0.0
        self.room_came: Callable[[], None] = _nobody

    # --- the house ---

    @property
    def inside(self) -> int:
        """How many transactions are driven, or on their way to it."""
        return self._inside

    @property
    def bytes_inside(self) -> int:
        """Bytes of what is driven, about."""
        return self._bytes

    @property
    def fill(self) -> str:
        """How full the house is, for people."""
        bounds = self._bounds
        return (
            f"{self._inside} of {bounds.transactions_max} transactions,"
            f" {self._bytes} of {bounds.bytes_max} bytes"
        )

    @property
    def problem(self) -> str:
        """Why nothing can be taken in just now; empty when something can."""
        is_full = self._inside >= self._bounds.transactions_max or self._bytes >= self._bounds.bytes_max
        return f"full: {self.fill}; raise ConcurrencyMax or BytesInFlightMax" if is_full else ""

    def enter(self, payload_bytes: int) -> Entry | None:
        """Take a transaction in; None when the house is too full for it."""
        size = _TRANSACTION_BYTES + self._weight(payload_bytes)
        too_many = self._inside >= self._bounds.transactions_max
        if too_many or (self._inside and self._bytes + size > self._bounds.bytes_max):
            self._was_full = True
            return None
        self._inside += 1
        self._bytes += size
        return Entry(size, self._left, self._more)

    def _weight(self, payload_bytes: int) -> int:
        return min(payload_bytes, self._bounds.bytes_max // _LARGEST_SHARE)

    def _more(self, payload_bytes: int) -> int | None:
        weight = self._weight(payload_bytes)
        if self._inside > 1 and self._bytes + weight > self._bounds.bytes_max:
            self._was_full = True
            return None
        self._bytes += weight
        return weight

    def _left(self, size: int) -> None:
        self._inside -= 1
        self.left += 1
        self._bytes -= size
        if self._was_full:
            self._was_full = False
            self.room_came()

    # --- its doors ---

    def take(self, endpoint: str) -> bool:
        """Let one call in, if there is a place and nobody waits for it. "": no endpoint, nothing to bound."""
        if not endpoint:
            return True
        here = self._at(endpoint)
        if here.waiting or here.running >= here.limit(self._free):
            self._crowded.add(endpoint)
            return False
        here.running += 1
        return True

    def wait(self, endpoint: str, turn: "asyncio.Future[None]") -> bool:
        """Stand in the endpoint's short queue: `turn` gets its result when a place is there, and taken.

        Returns False when the queue is full. Whoever gives up calls `give_up`.
        """
        here = self._at(endpoint)
        if len(here.waiting) >= here.limit(self._free):
            return False
        here.waiting.append(turn)
        return True

    def give_up(self, endpoint: str, turn: "asyncio.Future[None]") -> bool:
        """Leave the queue; True when the place came all the same, and is taken."""
        if turn.done() and not turn.cancelled():
            return True
        turn.cancel()
        here = self._at(endpoint)
        if turn in here.waiting:
            here.waiting.remove(turn)
        return False

    def leave(self, endpoint: str, outcome: Outcome, *, call_seconds: float = 0.0) -> None:
        """End a call. call_seconds: how long it might take."""
        if not endpoint:
            return
        here = self._endpoints[endpoint]
        here.running -= 1
        if outcome is not Outcome.UNUSED:
            is_lost = outcome is Outcome.LOST
            here.ended(self._monotonic(), is_lost=is_lost, call_seconds=call_seconds)
        self._let_in_waiting(endpoint, here)

    def has_room(self, endpoint: str, *, expected: int = 0) -> bool:
        """Whether a transaction whose next call goes there should be driven now.

        expected: how many others are on their way there already.
        """
        if self._at(endpoint).room(self._free) > expected:
            return True
        self._crowded.add(endpoint)
        return False

    def is_for_new(self, endpoint: str) -> bool:
        """Whether one that was just submitted may go there: not before those that were deferred."""
        here = self._endpoints.get(endpoint)
        if here is None:
            return self.held(endpoint) is None
        return not here.is_in_need(self._monotonic()) and here.room(self._free) > 0

    @property
    def is_calm(self) -> bool:
        """True when no endpoint refused anybody lately: no need to ask for each one."""
        return not self._crowded and not self._holds

    def look_again(self) -> None:
        """Ask at the endpoints that refused somebody, and have no calls whose end would tell."""
        now = self._monotonic()
        for endpoint in [*self._crowded]:
            here = self._at(endpoint)
            if here.hold is None and not here.is_in_need(now) and here.room(self._free) > 0:
                self._crowded.discard(endpoint)

    def hold(self, hold: Hold, seconds: float) -> None:
        """Let nothing in at its endpoint until it is released; that will be in so many seconds."""
        self._holds[hold.endpoint] = hold, self._monotonic() + seconds
        for endpoint, here in self._named(hold.endpoint):
            here.hold = hold
            self._crowded.add(endpoint)

    def release(self, name: str) -> None:
        """Let calls in there again, those that wait for it first."""
        self._holds.pop(name, None)
        for endpoint, here in self._named(name):
            here.hold = None
            self._let_in_waiting(endpoint, here)

    def held(self, endpoint: str) -> Hold | None:
        """By whose word nothing is let in there; None: by nobody's."""
        found = self._holds.get(name_of(endpoint)) if self._holds else None
        return None if found is None else found[0]

    def doors(self) -> Mapping[str, Door]:
        """How it is at each endpoint that is remembered, by name."""
        return {
            name_of(endpoint): Door(here.running, len(here.waiting), here.limit(self._free))
            for endpoint, here in self._endpoints.items()
        }

    def _named(self, name: str) -> list[tuple[str, Endpoint]]:
        return [(endpoint, here) for endpoint, here in self._endpoints.items() if name_of(endpoint) == name]

    def by_endpoint(self) -> Mapping[str, int]:
        """How many calls run at each endpoint that has any."""
        return {name: here.running for name, here in self._endpoints.items() if here.running}

    # --- those that are not let in ---

    def defer(self, endpoint: str, *, was_due: bool = False, times: int = 1) -> float:
        """Return for how many seconds to defer a transaction that finds no place there.

        As many as are deferred, at the rate at which the endpoint answers; from 1 second to the most that is
        allowed, spread. was_due: new ones must not come before it. times: for many that are at hand, and need
        no time of their own; the most is so many times as long. Where the endpoint is held, one that was due
        waits longer: for half a minute, and the more there are the longer.
        """
        now, longest = self._monotonic(), self._bounds.deferred_seconds_max * times
        here = self._at(endpoint)
        self._crowded.add(endpoint)
        if was_due and here.hold is not None:
            return here.seconds_until_let_go(now, self._holds[here.hold.endpoint][1])
        seconds = here.seconds_until_slot(now, longest, was_due=was_due)
        if seconds >= longest or times > 1:
            seconds = longest * (0.5 + self._random.random() / 2)
        seconds = max(DEFERRED_SECONDS_MIN, seconds)
        self._deferred_until = max(self._deferred_until, now + seconds)
        return seconds

    @property
    def has_deferred(self) -> bool:
        """Whether something that was deferred here is still to come, or came just now."""
        return self._deferred_until + _COMING_SECONDS > self._monotonic()

    @property
    def _free(self) -> int:
        return self._bounds.transactions_max - self._inside

    def _let_in_waiting(self, endpoint: str, here: Endpoint) -> None:
        limit = here.limit(self._free)
        while here.waiting and here.running < limit:
            turn = here.waiting.popleft()
            if not turn.done():  # one that was just cancelled has not yet left the queue
                here.running += 1
                turn.set_result(None)
        if endpoint in self._crowded and here.is_worth_telling(self._free):
            self._crowded.discard(endpoint)
            self.room_came()

    def _at(self, endpoint: str) -> Endpoint:
        here = self._endpoints.get(endpoint)
        if here is None:
            if len(self._endpoints) >= _ENDPOINTS_MAX:
                self._forget_idle()
            here = self._endpoints[endpoint] = Endpoint(self._bounds.window_max, self._monotonic())
            here.hold = self.held(endpoint)
        return here

    def _forget_idle(self) -> None:
        busy = {name: here for name, here in self._endpoints.items() if here.running}
        self._endpoints = busy
        self._crowded &= busy.keys()


def _nobody() -> None:
    """Nobody is told."""
