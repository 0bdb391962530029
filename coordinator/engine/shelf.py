"""What recovery deferred and can claim at once; each row is compared again when it is claimed. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from coordinator.light import light
from coordinator.store.base import Due
from coordinator.store.wall_clock import rounded_up

_ROWS_MAX: Final = 30_000  # of some 300 bytes; the one that was deferred longest ago goes


@light
@dataclass(frozen=True, slots=True)
class Known:
    """A row as it was left, and all that must be known to claim it."""

    due: Due
    endpoint: str  # of its next call
    payload_bytes: int
    lease_seconds: int
    fails_at: datetime | None = None  # when its time limit makes something else of that call

    def left_until(self, until: datetime) -> "Known":
        """The same after it was deferred once more."""
        due = self.due
        return self.of(Due(due.id, due.gid, due.status, "", until))

    def of(self, due: Due) -> "Known":
        """The same of the row as it is now."""
        return Known(due, self.endpoint, self.payload_bytes, self.lease_seconds, self.fails_at)

    def is_over(self, now: datetime) -> bool:
        """Whether nobody knows any more what its next step is."""
        return self.fails_at is not None and now >= self.fails_at

    def not_after(self, until: datetime) -> datetime:
        """In whole seconds, and not later than its time limit."""
        return rounded_up(until if self.fails_at is None else min(until, self.fails_at))


class Shelf:
    """Bounded: what is forgotten is found again in the store when its time comes."""

    def __init__(self) -> None:
        self._rows: dict[int, Known] = {}  # by row id, least recently deferred first
        self._by_endpoint: dict[str, dict[int, None]] = {}  # row ids, in the same order
        self._expected: dict[str, Known] = {}  # by gid: stored a moment ago, under an id not known yet

    def put(self, known: Known) -> None:
        """Remember a row that was deferred, or deferred once more."""
        self.forget(known.due)
        self._rows[known.due.id] = known
        self._by_endpoint.setdefault(known.endpoint, {})[known.due.id] = None
        if len(self._rows) > _ROWS_MAX:
            self.forget(next(iter(self._rows.values())).due)

    def expect(self, known: Known) -> None:
        """Remember a row that was just stored to be driven later; its id is 0 until it is found."""
        self._expected[known.due.gid] = known
        if len(self._expected) > _ROWS_MAX:
            del self._expected[next(iter(self._expected))]

    def known(self, due: Due) -> Known | None:
        """What is known of the row, if it is still as it was left."""
        known = self._rows.get(due.id) or self._expected.pop(due.gid, None)
        return known.of(due) if known is not None and _but_id(known.due) == _but_id(due) else None

    def forget(self, due: Due) -> None:
        """Whatever was known of this row."""
        known = self._rows.pop(due.id, None)
        if known is not None:
            of_endpoint = self._by_endpoint[known.endpoint]
            del of_endpoint[due.id]
            if not of_endpoint:
                del self._by_endpoint[known.endpoint]

    def count(self, endpoint: str) -> int:
        """How many rows of this endpoint are remembered."""
        return len(self._by_endpoint.get(endpoint, ()))

    def endpoints(self) -> list[str]:
        """For which something is remembered."""
        return list(self._by_endpoint)

    def take(self, endpoint: str) -> Known | None:
        """The row of this endpoint that was deferred longest ago, which is forgotten here."""
        rows = self._by_endpoint.get(endpoint)
        if not rows:
            return None
        known = self._rows[next(iter(rows))]
        self.forget(known.due)
        return known


def _but_id(due: Due) -> tuple[object, ...]:
    return due.gid, due.status, due.owner, due.next_cron_time
