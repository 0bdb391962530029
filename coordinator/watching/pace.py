"""How fast transactions end here, of late: samples of what is counted anyhow."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

SAMPLE_SECONDS: Final = 5.0
_SAMPLES_MAX: Final = 13  # a minute, and the one it began with


@dataclass(frozen=True, slots=True)
class Totals:
    """Since the start. handled: (upper end in seconds, how many took up to that), the last end infinite."""

    succeeded: int
    failed: int
    handled: Sequence[tuple[float, float]]


class Pace:
    """beat: every SAMPLE_SECONDS. read: the totals. monotonic: seconds."""

    def __init__(self, read: Callable[[], Totals], monotonic: Callable[[], float]) -> None:
        self._read = read
        self._monotonic = monotonic
        self._samples: deque[tuple[float, Totals]] = deque(maxlen=_SAMPLES_MAX)

    async def beat(self) -> None:
        """Take a sample."""
        self._samples.append((self._monotonic(), self._read()))

    def per_second(self) -> float:
        """Transactions that ended, over the last minute."""
        if len(self._samples) < 2:
            return 0.0
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return (_count(last) - _count(first)) / max(ended - began, 0.001)

    def median_seconds(self) -> float | None:
        """Half of them took no longer, as far as the buckets tell; None where none ended."""
        if len(self._samples) < 2:
            return None
        first, last = self._samples[0][1].handled, self._samples[-1][1].handled
        risen = [(end, after - before) for (end, after), (_, before) in zip(last, first, strict=True)]
        total = risen[-1][1] if risen else 0
        if not total:
            return None
        lower, below = 0.0, 0.0
        for end, upto in risen:
            if upto >= total / 2:
                share = (total / 2 - below) / (upto - below)
                return lower if end == float("inf") else lower + (end - lower) * share
            lower, below = end, upto
        return lower

    def rolled_back_share(self) -> float | None:
        """Which part of those that ended since the start was rolled back; None where none ended."""
        if not self._samples:
            return None
        latest = self._samples[-1][1]
        count = _count(latest)
        return latest.failed / count if count else None


def _count(totals: Totals) -> int:
    return totals.succeeded + totals.failed
