"""What is due and who drives it: claims, so that no two coordinators hold one transaction (PROTOCOL §9).

Synchronous, over a connection, like `queries`.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import nsmallest
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, not_, or_, select, text, update

from coordinator.backoff import LEASE_BEYOND_CALL
from coordinator.errors import Invalid
from coordinator.model import Branch, Status, Transaction, TransType
from coordinator.owner import SEPARATOR
from coordinator.store.base import Backlog, Stored
from coordinator.store.queries import UNFINISHED_STATUSES, branches_of, pieces
from coordinator.store.rows import transaction_of
from coordinator.store.tables import TRANS_GLOBAL
from coordinator.store.wall_clock import WallClock, rounded_up
from coordinator.telemetry.log import log

_GLOBAL: Final = TRANS_GLOBAL.c
_DRIVEN: Final = _GLOBAL.owner.contains(SEPARATOR)  # owner.is_a_drivers


@dataclass(frozen=True, slots=True)
class Claim:
    """Who claims what. lease_least: seconds."""

    now: datetime
    limit: int
    trans_types: Collection[str]
    owner: str
    lease_least: float


def claim_due(connection: Connection, claim: Claim, clock: WallClock, *, skip_locked: bool) -> list[Stored]:
    """Write the owner and a lease into the oldest due rows, and return them with their branches.

    skip_locked: the database can pass over rows that another is claiming; else this waits for that commit.
    """
    transactions: list[Transaction] = []
    leases: defaultdict[datetime, list[int]] = defaultdict(list)  # ids by the end of their lease
    for row in _due_rows(connection, claim, clock, skip_locked=skip_locked):
        transaction = _understood(row, claim, clock)
        if transaction is None:
            leases[_lease_end(claim, claim.lease_least)].append(row.id)
        else:
            transactions.append(transaction)
            leases[transaction.next_cron_time].append(row.id)
    _write_leases(connection, leases, claim, clock)
    return _with_branches(connection, transactions, clock)


def _understood(row: Row[Any], claim: Claim, clock: WallClock) -> Transaction | None:
    """The transaction as claimed; None for a row that nobody can drive.

    Such a row must not keep the others from being driven. It gets a lease all the same, so that it neither
    takes the place of another nor fills the log at every look.
    """
    try:
        transaction = transaction_of(row, clock)
    except Invalid as error:
        log.error("not driven: {}", error)
        return None
    if transaction.trans_type not in claim.trans_types:  # MySQL compares without regard to case
        log.error("not driven: gid {} has the trans_type '{}'", row.gid, row.trans_type)
        return None
    return _leased(transaction, claim)


def _due_rows(connection: Connection, claim: Claim, clock: WallClock, *, skip_locked: bool) -> list[Row[Any]]:
    # Status by status: only so the key (status, next_cron_time) gives the rows in order, and no more rows are
    # locked than are read. Sorting all three together would lock everything that is due.
    rows: list[Row[Any]] = []
    for status in UNFINISHED_STATUSES:
        statement = (
            select(TRANS_GLOBAL)
            .where(_GLOBAL.status == status, _is_due(claim.now, claim.trans_types, clock))
            .order_by(_GLOBAL.next_cron_time)
            .limit(claim.limit)
            .with_for_update(skip_locked=skip_locked)
        )
        rows += connection.execute(statement)
    return nsmallest(claim.limit, rows, key=lambda row: row.next_cron_time)


def _leased(transaction: Transaction, claim: Claim) -> Transaction:
    lease = max(claim.lease_least, transaction.options.request_timeout + LEASE_BEYOND_CALL)
    return replace(
        transaction,
        owner=claim.owner,
        next_cron_time=_lease_end(claim, max(lease, transaction.next_cron_interval)),
        update_time=claim.now.replace(microsecond=0),
    )


def _lease_end(claim: Claim, seconds: float) -> datetime:
    return rounded_up(claim.now + timedelta(seconds=seconds))


def _write_leases(
    connection: Connection, leases: Mapping[datetime, Sequence[int]], claim: Claim, clock: WallClock
) -> None:
    for until, of_same in leases.items():
        connection.execute(
            update(TRANS_GLOBAL)
            .where(_GLOBAL.id.in_(of_same))
            .values(
                owner=claim.owner,
                next_cron_time=clock.text_rounded_up(until),
                update_time=clock.text(claim.now),
            )
        )


def _with_branches(
    connection: Connection, transactions: Sequence[Transaction], clock: WallClock
) -> list[Stored]:
    try:
        branches = branches_of(connection, [transaction.gid for transaction in transactions], clock)
        return [Stored(it, tuple(branches.get(it.gid, ()))) for it in transactions]
    except Invalid:
        return [stored for it in transactions if (stored := _alone(connection, it, clock)) is not None]


def _alone(connection: Connection, transaction: Transaction, clock: WallClock) -> Stored | None:
    # One row that nobody understands must not keep the others from being driven.
    branches: Sequence[Branch]
    try:
        branches = branches_of(connection, [transaction.gid], clock).get(transaction.gid, ())
    except Invalid as error:
        log.error("not driven: {}", error)
        return None
    return Stored(transaction, tuple(branches))


def _is_due(now: datetime, trans_types: Collection[str], clock: WallClock) -> ColumnElement[bool]:
    """The condition beside the status: time has come, and it is of a kind that is driven."""
    return and_(
        _GLOBAL.next_cron_time <= clock.text(now),
        _GLOBAL.trans_type.in_(sorted(trans_types)),
        # A prepared saga waits for its client.
        or_(_GLOBAL.status != Status.PREPARED.value, _GLOBAL.trans_type != TransType.SAGA.value),
    )


def take_back(
    connection: Connection, now: datetime, owner_prefix: str, except_prefix: str, clock: WallClock
) -> int:
    """Make due, and owned by nobody, what owners of this prefix hold; returns how many."""
    # By the key on owner. Databases that ignore case find too much: compared again here.
    statement = select(_GLOBAL.id, _GLOBAL.owner).where(
        _GLOBAL.owner.startswith(owner_prefix, autoescape=True) if owner_prefix else _GLOBAL.owner != "",
        _GLOBAL.status.in_(UNFINISHED_STATUSES),
        _DRIVEN,
    )
    held = [
        row.id
        for row in connection.execute(statement.with_for_update())
        if row.owner.startswith(owner_prefix) and not (except_prefix and row.owner.startswith(except_prefix))
    ]
    return _make_due(connection, held, now, clock, owner="")


def reset_cron_time(
    connection: Connection, now: datetime, later_than: datetime, limit: int, clock: WallClock
) -> tuple[int, bool]:
    """Make due at most `limit` rows that wait longer; returns how many, and if there are more."""
    statement = (
        select(_GLOBAL.id)
        .where(
            _GLOBAL.status.in_(UNFINISHED_STATUSES),
            _GLOBAL.next_cron_time > clock.text(later_than),
            not_(_DRIVEN),
        )
        .order_by(_GLOBAL.id)
        .limit(limit + 1)
        .with_for_update()  # so that none is taken up between being found and being made due
    )
    ids = list(connection.execute(statement).scalars())
    return _make_due(connection, ids[:limit], now, clock), len(ids) > limit


def _make_due(
    connection: Connection, ids: Sequence[int], now: datetime, clock: WallClock, **values: str
) -> int:
    now_text = clock.text(now)
    count = 0
    for some in pieces(ids):
        statement = (
            update(TRANS_GLOBAL)
            .where(_GLOBAL.id.in_(some), _GLOBAL.status.in_(UNFINISHED_STATUSES))
            .values(next_cron_time=now_text, update_time=now_text, **values)
        )
        count += connection.execute(statement).rowcount
    return count


def count_backlog(connection: Connection, now: datetime, clock: WallClock) -> Backlog:
    """Count the unfinished, by the key (status, next_cron_time); finished ones are never looked at."""
    driven = or_(_GLOBAL.status != Status.PREPARED.value, _GLOBAL.trans_type != TransType.SAGA.value)
    rows = connection.execute(
        select(
            _GLOBAL.status,
            driven.label("driven"),
            func.count().label("number"),
            func.sum(case((_GLOBAL.next_cron_time <= clock.text(now), 1), else_=0)).label("due"),
            func.min(_GLOBAL.next_cron_time).label("first_due"),
            func.min(_GLOBAL.create_time).label("first_created"),
        )
        .where(_GLOBAL.status.in_(UNFINISHED_STATUSES))
        .group_by(_GLOBAL.status, text("driven"))
    ).all()
    by_status = dict.fromkeys((Status(name) for name in UNFINISHED_STATUSES), 0)
    for row in rows:
        by_status[Status(row.status)] += row.number
    of_drivers = [row for row in rows if row.driven]
    due = [time for row in of_drivers if (time := clock.time(row.first_due)) is not None and time <= now]
    created = [time for row in of_drivers if (time := clock.time(row.first_created)) is not None]
    return Backlog(
        by_status,
        sum(int(row.due) for row in of_drivers),
        oldest_due=min(due, default=None),
        oldest_created=min(created, default=None),
    )
