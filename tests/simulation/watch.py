"""Watches one coordinator's bounds while it runs, by what it does and not by what its admission says."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from coordinator.engine.admission import Admission, Bounds
from coordinator.model import TransType
from tests.simulation.rows import Rows
from tests.simulation.seen import Seen

_BYTES_BESIDE_PAYLOADS = 1024
_WITH_ALL_BRANCHES = (TransType.SAGA, TransType.MSG)  # of the others some may be registered later


class Watch:
    """What is wrong goes into `Seen.problems`. driven: the gids that are driven there now."""

    def __init__(
        self, name: str, bounds: Bounds, rows: Rows, seen: Seen, driven: Callable[[], Sequence[str]]
    ) -> None:
        self._name = name
        self._bounds = bounds
        self._rows = rows
        self._seen = seen
        self._driven = driven
        self._calls: Counter[str] = Counter()  # by endpoint

    @contextmanager
    def calling(self, endpoint: str) -> Iterator[None]:
        """Around a call that is made."""
        self._calls[endpoint] += 1
        running, window = self._calls[endpoint], self._bounds.window_max
        if running > window:
            self._problem(f"{running} calls to {endpoint}, of {window} at a time")
        if running == window:
            self._seen.marks["window full"] += 1
        self.look_at_house()
        try:
            yield
        finally:
            self._calls[endpoint] -= 1

    def look_at_house(self) -> None:
        """Compare what is driven now with what may be."""
        driven, bounds = self._driven(), self._bounds
        if len(driven) > bounds.transactions_max:
            self._problem(f"{len(driven)} transactions driven, of {bounds.transactions_max}")
        taken = sum(self._size(gid) for gid in driven)
        if len(driven) > 1 and taken > bounds.bytes_max:
            self._problem(f"{taken} bytes driven, of {bounds.bytes_max}")
        if len(driven) == bounds.transactions_max:
            self._seen.marks["house full"] += 1

    def is_over(self, admission: Admission) -> None:
        """Nothing is driven any more: all places must have come back."""
        left = (admission.inside, admission.bytes_inside, dict(admission.by_endpoint()))
        if left != (0, 0, {}):
            self._problem(f"places that did not come back: {left}")

    def _size(self, gid: str) -> int:
        row = self._rows.transactions[gid]
        payloads = sum(len(it.payload) for it in self._rows.branches[gid])
        if row.trans_type not in _WITH_ALL_BRANCHES:
            payloads = 0
        return _BYTES_BESIDE_PAYLOADS + min(payloads, self._bounds.bytes_max // 4)

    def _problem(self, text: str) -> None:
        self._seen.problems.append(f"{self._name}: {text}")
