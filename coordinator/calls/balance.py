"""Which of a service's endpoints to call next: round robin, the dead ones last (PROTOCOL §10)."""

from collections.abc import Callable, Sequence
from typing import Final

_TARGETS_MAX: Final = 10_000  # counters kept; the next one starts all of them anew


class Balancer:
    """Remembers whose turn it is, and who could not be connected to lately.

    dead_seconds: how long an endpoint counts as dead after a connection to it failed.
    monotonic: seconds from an arbitrary start.
    """

    def __init__(self, *, dead_seconds: float, monotonic: Callable[[], float]) -> None:
        self._dead_seconds = dead_seconds
        self._monotonic = monotonic
        self._turns: dict[str, int] = {}  # by target: two targets called in turn must not share a counter
        self._dead_until: dict[str, float] = {}

    def order(self, target: str, endpoints: Sequence[str]) -> Sequence[str]:
        """Return all endpoints in the order in which to try them; the dead ones as a last resort."""
        count = len(endpoints)
        if count == 1:
            return endpoints
        if len(self._turns) >= _TARGETS_MAX:
            self._turns.clear()
        first = self._turns.get(target, -1) + 1
        self._turns[target] = first
        ordered = [endpoints[(first + offset) % count] for offset in range(count)]
        if self._dead_until:
            ordered.sort(key=self.is_dead)  # stable: the living keep their turn
        return ordered

    def failed(self, endpoint: str) -> None:
        """Take note that no connection to the endpoint could be made."""
        now = self._monotonic()
        self._dead_until = {dead: until for dead, until in self._dead_until.items() if until > now}
        self._dead_until[endpoint] = now + self._dead_seconds

    def answered(self, endpoint: str) -> None:
        """Take note that the endpoint is alive."""
        if self._dead_until:
            self._dead_until.pop(endpoint, None)

    def is_dead(self, endpoint: str) -> bool:
        """True while the endpoint counts as dead."""
        return self._dead_until.get(endpoint, 0.0) > self._monotonic()
