"""What was deferred here and can be claimed at once; each row is compared again when it is claimed. Pure.

There may be tens of thousands, so a row is kept in values that the garbage collector does not look at: what
many rows share is one object, and the rest are texts, numbers and times.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

from coordinator.light import light
from coordinator.store.base import Due
from coordinator.store.wall_clock import rounded_up

_ROWS_MAX: Final = 60_000  # of some 350 bytes; the one that was deferred longest ago goes
_FORGOTTEN_TOGETHER: Final = 256  # to find the first of a dict is dear once many before it are gone
_SIZE_STEP: Final = 1024  # bytes
_KINDS_MAX: Final = 1_000  # that are shared by rows to come
# Each of so many rows of one endpoint is deferred for as much longer: to defer them again is work that helps
# nobody, and what is at hand here needs no time that comes to be claimed.
_PATIENT_FROM: Final = 2_000
_PATIENCE_MAX: Final = 6


@dataclass(frozen=True, slots=True)
class Kind:
    """What rows that were submitted alike have in common."""

    status: str
    endpoint: str  # of its next call
    payload_bytes: int  # see rounded_size
    lease_seconds: int
    fails_at: datetime | None = None  # when its time limit makes something else of that call


def rounded_size(size: int) -> int:
    """Bytes, up to whole KiB, so that rows with payloads of any length are of few kinds."""
    return -(-size // _SIZE_STEP) * _SIZE_STEP


@light
@dataclass(frozen=True, slots=True)
class Known:
    """A row as it was left, and all that must be known to claim it. Its id is 0 until it was found."""

    due: Due
    kind: Kind

    def is_over(self, now: datetime) -> bool:
        """Whether nobody knows any more what its next step is."""
        fails_at = self.kind.fails_at
        return fails_at is not None and now >= fails_at

    def not_after(self, until: datetime) -> datetime:
        """In whole seconds, and not later than its time limit."""
        fails_at = self.kind.fails_at
        return rounded_up(until if fails_at is None else min(until, fails_at))


@dataclass(slots=True)
class _Place:
    """The rows of one endpoint, least recently deferred first."""

    ids: OrderedDict[str, int] = field(default_factory=OrderedDict)  # by gid; the first is taken at once
    unfound: dict[str, None] = field(default_factory=dict)  # gids: stored a moment ago, under an unknown id


class Shelf:
    """Bounded: what is forgotten is found again in the store when its time comes."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}  # by gid, least recently deferred first
        self._times: dict[str, datetime | None] = {}  # next_cron_time, by gid
        self._places: dict[str, _Place] = {}  # by endpoint
        self._shared: dict[Kind, Kind] = {}

    def put(self, due: Due, kind: Kind) -> None:
        """Remember a row that was deferred, or deferred once more. due: as it was left; nobody drives it."""
        kind = self._keep(due, kind)
        place = self._places.setdefault(kind.endpoint, _Place())
        if due.id:
            place.ids[due.gid] = due.id
        else:
            place.unfound[due.gid] = None

    def rest(self, due: Due, kind: Kind) -> None:
        """Remember a row that backs off: it is known when its time has come, and not taken before."""
        self._keep(due, kind)

    def _keep(self, due: Due, kind: Kind) -> Kind:
        gid = due.gid
        self.forget(gid)
        if len(self._kinds) >= _ROWS_MAX:
            for oldest in [*islice(self._kinds, _FORGOTTEN_TOGETHER)]:
                self.forget(oldest)
        if len(self._shared) >= _KINDS_MAX:
            self._shared.clear()
        kind = self._shared.setdefault(kind, kind)
        self._kinds[gid] = kind
        self._times[gid] = due.next_cron_time
        return kind

    def identify(self, gids: Sequence[str], found: Mapping[str, Due]) -> None:
        """Keep these under the ids that were found, by gid; forget those that are not as they were left."""
        for gid in gids:
            known = self.known(found[gid]) if gid in found else None
            if known is None:
                self.forget(gid)
            else:
                self.put(known.due, known.kind)

    def known(self, due: Due) -> Known | None:
        """What is known of the row that was found, if it is still as it was left."""
        kind = self._kinds.get(due.gid)
        if kind is None or due.owner or due.status != kind.status:
            return None
        return Known(due, kind) if due.next_cron_time == self._times[due.gid] else None

    def forget(self, gid: str) -> None:
        """Whatever was known of this row."""
        kind = self._kinds.pop(gid, None)
        if kind is None:
            return
        del self._times[gid]
        place = self._places.get(kind.endpoint)
        if place is None:
            return
        if place.ids.pop(gid, None) is None:
            place.unfound.pop(gid, None)
        if not (place.ids or place.unfound):
            del self._places[kind.endpoint]

    @property
    def nobody_waits(self) -> bool:
        """Whether no row waits for a place."""
        return not self._places

    def count(self, endpoint: str) -> int:
        """How many rows wait for a place at this endpoint."""
        place = self._places.get(endpoint)
        return len(place.ids) + len(place.unfound) if place else 0

    def patience(self, endpoint: str) -> int:
        """How many times as long as others one more row of this endpoint may be deferred."""
        return min(1 + self.count(endpoint) // _PATIENT_FROM, _PATIENCE_MAX)

    def endpoints(self) -> list[str]:
        """For whose places something waits."""
        return list(self._places)

    def take(self, endpoint: str) -> Known | None:
        """The row of this endpoint that was deferred longest ago and was found, which is forgotten here."""
        place = self._places.get(endpoint)
        if place is None or not place.ids:
            return None
        gid, row_id = next(iter(place.ids.items()))
        kind = self._kinds[gid]
        known = Known(Due(row_id, gid, kind.status, "", self._times[gid]), kind)
        self.forget(gid)
        return known

    def unfound(self, endpoint: str, limit: int) -> Sequence[str]:
        """Gids of rows of this endpoint whose ids are wanted, where all others were taken."""
        place = self._places.get(endpoint)
        return () if place is None or place.ids else tuple(islice(place.unfound, limit))
