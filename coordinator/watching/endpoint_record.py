"""How calls to each endpoint went in the last minutes: counted in windows of fixed size, in memory.

A call costs a look and three additions; what is shown is worked out when somebody asks.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from coordinator.model import Result

WINDOW_SECONDS: Final = 30
WINDOWS: Final = 10
LATELY_SECONDS: Final = WINDOW_SECONDS * WINDOWS
ENDPOINTS_MAX: Final = 1024  # remembered; beyond that the quarter goes that was called longest ago
_FORGOTTEN_SHARE: Final = 4
_RESULTS: Final = {result: index for index, result in enumerate(Result)}
_SHORTEST: Final = 0.0005  # seconds; below, all are alike
_RATIO: Final = 1.25  # of a bound to the one below: by so much a quantile may be off
_BOUNDS: Final = tuple(_SHORTEST * _RATIO**power for power in range(64))  # up to 13 minutes


@dataclass(frozen=True, slots=True)
class Lately:
    """What the calls of the last minutes gave, and how long they took, in seconds. by_result: calls."""

    by_result: Mapping[Result, int]
    median: float
    p99: float

    @property
    def calls(self) -> int:
        """All of them."""
        return sum(self.by_result.values())

    @property
    def success_rate(self) -> float | None:
        """Successes of all calls; None without any."""
        return self.by_result[Result.SUCCESS] / self.calls if self.calls else None


class _Window:
    """number: of the half minute that it counts. counts: by result. took: by the bounds of seconds."""

    __slots__ = ("counts", "number", "took")

    def __init__(self) -> None:
        self.number = -1
        self.begin(-1)

    def begin(self, number: int) -> None:
        self.number = number
        self.counts = [0] * len(_RESULTS)
        self.took = [0] * (len(_BOUNDS) + 1)


class EndpointRecord:
    """One per coordinator. monotonic: seconds from an arbitrary start."""

    def __init__(self, monotonic: Callable[[], float] = perf_counter) -> None:
        self._monotonic = monotonic
        self._windows: dict[str, tuple[_Window, ...]] = {}  # by endpoint

    def took(self, endpoint: str, result: Result, seconds: float, now: float) -> None:
        """A call there has ended, at `now` by the same clock."""
        number = int(now) // WINDOW_SECONDS
        windows = self._windows.get(endpoint)
        if windows is None:
            windows = self._first(endpoint)
        window = windows[number % WINDOWS]
        if window.number != number:
            window.begin(number)
        window.counts[_RESULTS[result]] += 1
        window.took[bisect_right(_BOUNDS, seconds)] += 1

    def lately(self, endpoint: str) -> Lately | None:
        """The last five minutes of this endpoint, up to half a minute less; None where there was no call."""
        counts, took = [0] * len(_RESULTS), [0] * (len(_BOUNDS) + 1)
        for window in self._latest(endpoint):
            counts = [before + it for before, it in zip(counts, window.counts, strict=True)]
            took = [before + it for before, it in zip(took, window.took, strict=True)]
        if not any(counts):
            return None
        by_result = {result: counts[index] for result, index in _RESULTS.items()}
        return Lately(by_result, _quantile(took, 0.5), _quantile(took, 0.99))

    def endpoints(self) -> Sequence[str]:
        """Those that are remembered."""
        return list(self._windows)

    def _latest(self, endpoint: str) -> Iterator[_Window]:
        number = int(self._monotonic()) // WINDOW_SECONDS
        for window in self._windows.get(endpoint, ()):
            if number - WINDOWS < window.number <= number:
                yield window

    def _first(self, endpoint: str) -> tuple[_Window, ...]:
        if len(self._windows) >= ENDPOINTS_MAX:
            latest = {
                name: max(window.number for window in windows) for name, windows in self._windows.items()
            }
            for name in sorted(latest, key=latest.__getitem__)[: ENDPOINTS_MAX // _FORGOTTEN_SHARE]:
                del self._windows[name]
        windows = self._windows[endpoint] = tuple(_Window() for _ in range(WINDOWS))
        return windows


def _quantile(took: Sequence[int], share: float) -> float:
    """The upper bound, in seconds, of where that share of the calls ends."""
    wanted, seen = share * sum(took), 0
    for index, count in enumerate(took):
        seen += count
        if seen >= wanted and count:
            return _BOUNDS[min(index, len(_BOUNDS) - 1)]
    return 0.0
