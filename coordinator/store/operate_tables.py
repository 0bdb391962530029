"""What operators ask of all tables together, each in at most five statements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, func, or_, select

from coordinator.attempt import Attempt, Stuck
from coordinator.model import EPOCH, Status, Transaction, TransType
from coordinator.results import keeps
from coordinator.store import queries
from coordinator.store.access_tables import Run
from coordinator.store.attempt_tables import AttemptTables
from coordinator.store.base import Stored
from coordinator.store.own_tables import DTM_AUDIT, DTM_STUCK
from coordinator.store.result_table import ResultTable
from coordinator.store.search import Page, Search, Searches
from coordinator.store.tables import TRANS_GLOBAL
from coordinator.store.wall_clock import WallClock

GROUPS_MAX: Final = 200  # of one inbox; the largest
OUTLOOK_MAX: Final = 20_000  # stuck transactions whose next calls are looked at
LIMITED_MAX: Final = 2_000  # of those, which may end at a time limit
AUDIT_WINDOW: Final = 20_000  # records that are looked at for words
AUDIT_TEXTS: Final = ("who", "action", "target", "reason", "outcome")
Cause = tuple[str, str, str]  # endpoint, op, fingerprint

_STUCK: Final = DTM_STUCK.c
_AUDIT: Final = DTM_AUDIT.c
_GLOBAL: Final = TRANS_GLOBAL.c
_TIME_LIMIT: Final = "timeout_to_fail"  # its key in the JSON of the options


@dataclass(frozen=True, slots=True)
class Shown:
    """A transaction with its branches, what went wrong, and kept results by branch_id."""

    stored: Stored
    attempts: Sequence[Attempt]
    results: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """What is stuck for one cause: how many, since when the first; one of them as an example."""

    endpoint: str
    op: str
    fingerprint: str
    count: int
    since: datetime
    example: Stuck


@dataclass(frozen=True, slots=True)
class Inbox:
    """The largest groups first. total: of all that is stuck."""

    groups: Sequence[Group]
    total: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """What comes of a group. next_call: of its earliest; limited: sagas in it that end at a time limit.

    Where very much is stuck, of a part of it: is_part.
    """

    next_call: datetime | None
    limited: Sequence[Transaction]
    is_part: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many are stuck at one endpoint, and since when the first."""

    endpoint: str
    count: int
    since: datetime


class OperateTables:
    """Raises StoreUnavailable."""

    def __init__(
        self, read: Run, attempts: AttemptTables, results: ResultTable, wall_clock: WallClock
    ) -> None:
        """wall_clock: of the transactions' own times."""
        self._read = read
        self._attempts = attempts
        self._results = results
        self._searches = Searches(wall_clock, attempts)
        self._wall_clock = wall_clock
        self._clock = WallClock(UTC, offsets=wall_clock.offsets)

    async def search(self, wanted: Search, *, after: str, limit: int, now: datetime) -> Page:
        """See coordinator.store.search. Raises Invalid."""
        return await self._read(lambda it: self._searches.page(it, wanted, after, limit, now))

    async def show(self, gid: str) -> Shown | None:
        """The transaction of exactly that gid. Raises Invalid where its rows cannot be understood."""

        def shown(connection: Connection) -> Shown | None:
            stored = queries.find(connection, gid, self._wall_clock)
            if stored is None:
                return None
            attempts = self._attempts.attempts_of(connection, gid)
            keeps_any = any(keeps(branch.url) for branch in stored.branches)
            results = self._results.of(connection, gid) if keeps_any else {}
            return Shown(stored, attempts, results)

        return await self._read(shown)

    async def inbox(self, endpoint: str = "") -> Inbox:
        """What is stuck, by its cause; with an endpoint, what is stuck there."""
        return await self._read(lambda connection: self._inbox(connection, endpoint))

    async def waiting(self) -> Sequence[Waiting]:
        """What is stuck, by endpoint; at most GROUPS_MAX, the largest first."""
        return await self._read(self._waiting)

    def _waiting(self, connection: Connection) -> Sequence[Waiting]:
        if not self._attempts.are_there:
            return ()
        many, since = func.count().label("many"), func.min(_STUCK.since).label("since")
        largest = select(_STUCK.endpoint, many, since).group_by(_STUCK.endpoint)
        rows = connection.execute(largest.order_by(many.desc(), _STUCK.endpoint).limit(GROUPS_MAX))
        return [Waiting(row.endpoint, row.many, self._clock.time(row.since) or EPOCH) for row in rows]

    def _inbox(self, connection: Connection, endpoint: str) -> Inbox:
        if not self._attempts.are_there:
            return Inbox((), 0)
        many = func.count().label("many")
        since, example = func.min(_STUCK.since).label("since"), func.min(_STUCK.gid).label("example")
        cause = (_STUCK.endpoint, _STUCK.op, _STUCK.fingerprint)
        there = [_STUCK.endpoint == endpoint] if endpoint else []
        largest = select(*cause, many, since, example).where(*there).group_by(*cause)
        largest = largest.order_by(many.desc(), *cause).limit(GROUPS_MAX)
        rows = connection.execute(largest).all()
        total = sum(row.many for row in rows)
        if len(rows) == GROUPS_MAX:
            counted = select(func.count()).select_from(DTM_STUCK).where(*there)
            total = connection.execute(counted).scalar() or 0
        examples = self._attempts.stuck_of(connection, [row.example for row in rows]) if rows else {}
        groups = [
            Group(
                row.endpoint, row.op, row.fingerprint, row.many, self._clock.time(row.since) or it.since, it
            )
            for row in rows
            if (it := examples.get(row.example)) is not None
        ]
        return Inbox(groups, total)

    async def outlooks(self) -> Mapping[Cause, Outlook]:
        """What comes of each group of the inbox, by endpoint, op and fingerprint."""
        return await self._read(self._outlooks)

    def _outlooks(self, connection: Connection) -> Mapping[Cause, Outlook]:
        if not self._attempts.are_there:
            return {}
        some = select(_STUCK.gid, _STUCK.endpoint, _STUCK.op, _STUCK.fingerprint)
        some = some.order_by(_STUCK.gid).limit(OUTLOOK_MAX + 1)
        part = some.subquery()
        cause = (part.c.endpoint, part.c.op, part.c.fingerprint)
        earliest = select(*cause, func.count().label("many"), func.min(_GLOBAL.next_cron_time).label("next"))
        earliest = earliest.join(TRANS_GLOBAL, _GLOBAL.gid == part.c.gid).group_by(*cause)
        rows = connection.execute(earliest).all()
        is_part = sum(row.many for row in rows) > OUTLOOK_MAX
        forward = select(TRANS_GLOBAL, _STUCK.endpoint, _STUCK.op, _STUCK.fingerprint)
        forward = forward.join(DTM_STUCK, _GLOBAL.gid == _STUCK.gid).where(
            _STUCK.trans_type == TransType.SAGA.value,
            _STUCK.status == Status.SUBMITTED.value,
            _GLOBAL.options.contains(_TIME_LIMIT),  # of most there is none, and none is read for nothing
        )
        limited: dict[Cause, list[Transaction]] = {}
        for row in connection.execute(forward.limit(LIMITED_MAX)).all():
            for transaction in queries.understood([row], self._wall_clock):
                if transaction.options.timeout_to_fail:
                    limited.setdefault((row.endpoint, row.op, row.fingerprint), []).append(transaction)
        found: dict[Cause, Outlook] = {}
        for row in rows:
            key = (row.endpoint, row.op, row.fingerprint)
            found[key] = Outlook(self._wall_clock.time(row.next), limited.get(key, ()), is_part)
        return found

    async def audit(
        self, *, limit: int, before_id: int | None, words: Sequence[str] = ()
    ) -> Sequence[Mapping[str, Any]]:
        """At most `limit` records of who did what, the newest first, by column; times are aware.

        words: each stands in one of AUDIT_TEXTS; with before_id only the AUDIT_WINDOW ids before it are
        looked at, since no key leads to words.
        """

        def found(connection: Connection) -> Sequence[Mapping[str, Any]]:
            newest = select(DTM_AUDIT).order_by(_AUDIT.id.desc()).limit(limit)
            if before_id is not None:
                newest = newest.where(_AUDIT.id < before_id)
                if words:
                    newest = newest.where(_AUDIT.id >= before_id - AUDIT_WINDOW)
            for word in words:
                texts = (_AUDIT[it].icontains(word, autoescape=True) for it in AUDIT_TEXTS)
                newest = newest.where(or_(*texts))
            rows = connection.execute(newest)
            # Names of columns are no plain texts, which only those who write JSON notice.
            return [
                {**{str(name): value for name, value in row._mapping.items()}, "at": self._clock.time(row.at)}
                for row in rows
            ]

        return await self._read(found)
