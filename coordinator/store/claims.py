"""Claiming what is due, so that no two coordinators hold one transaction (PROTOCOL §9). Synchronous."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import nsmallest
from typing import Any

from sqlalchemy import Connection, Row, select, update

from coordinator.backoff import LEASE_BEYOND_CALL
from coordinator.errors import Invalid
from coordinator.model import Branch, Transaction
from coordinator.store.base import Stored
from coordinator.store.queries import UNFINISHED_STATUSES, branches_of, is_due
from coordinator.store.rows import transaction_of
from coordinator.store.tables import TRANS_GLOBAL
from coordinator.store.wall_clock import WallClock, rounded_up
from coordinator.telemetry.log import log


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
            .where(TRANS_GLOBAL.c.status == status, is_due(claim.now, claim.trans_types, clock))
            .order_by(TRANS_GLOBAL.c.next_cron_time)
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
            .where(TRANS_GLOBAL.c.id.in_(of_same))
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
