"""What is asked beside the hot path: finding, listing, making due again. Synchronous, over a connection."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, func, not_, or_, select, update

from coordinator.errors import Invalid
from coordinator.model import UNFINISHED, Branch, Status, Transaction, TransType
from coordinator.owner import SEPARATOR
from coordinator.store.base import Filter, Stored
from coordinator.store.rows import branch_of, transaction_of
from coordinator.store.tables import TRANS_BRANCH_OP, TRANS_GLOBAL
from coordinator.store.wall_clock import WallClock
from coordinator.telemetry.log import log

_GLOBAL: Final = TRANS_GLOBAL.c
_BRANCH: Final = TRANS_BRANCH_OP.c
_DRIVEN: Final = _GLOBAL.owner.contains(SEPARATOR)  # owner.is_a_drivers
_IDS_MAX: Final = 500  # in one statement

# In a fixed order, so that statements are the same text every time.
UNFINISHED_STATUSES: Final = tuple(sorted(status.value for status in UNFINISHED))


def find(connection: Connection, gid: str, clock: WallClock) -> Stored | None:
    """The transaction of exactly that gid; raises Invalid when its rows cannot be understood."""
    row = connection.execute(select(TRANS_GLOBAL).where(_GLOBAL.gid == gid)).one_or_none()
    if row is None or row.gid != gid:
        return None
    return Stored(transaction_of(row, clock), tuple(branches_of(connection, [gid], clock).get(gid, ())))


def branches_of(connection: Connection, gids: Sequence[str], clock: WallClock) -> dict[str, Sequence[Branch]]:
    """The branches of these transactions, first registered first; raises Invalid as branch_of does."""
    rows: list[Row[Any]] = []
    for some in _pieces(gids):
        rows += connection.execute(select(TRANS_BRANCH_OP).where(_BRANCH.gid.in_(some)).order_by(_BRANCH.id))
    rows.sort(key=lambda row: row.gid)  # stable: the order of ids stays
    return {
        gid: [branch_of(row, clock) for row in of_one]
        for gid, of_one in groupby(rows, lambda row: str(row.gid))
    }


def list_transactions(connection: Connection, wanted: Filter, clock: WallClock) -> list[Transaction]:
    """Newest first. By gid: an exact one; else by id, downwards."""
    if wanted.gid:
        rows = connection.execute(select(TRANS_GLOBAL).where(_GLOBAL.gid == wanted.gid)).all()
        return [transaction for transaction in _understood(rows, clock) if transaction.gid == wanted.gid]
    statement = select(TRANS_GLOBAL).order_by(_GLOBAL.id.desc()).limit(wanted.limit)
    if wanted.status:
        statement = statement.where(_GLOBAL.status == wanted.status)
    if wanted.trans_type:
        statement = statement.where(_GLOBAL.trans_type == wanted.trans_type)
    if wanted.create_time_start is not None:
        statement = statement.where(_GLOBAL.create_time >= clock.text(wanted.create_time_start))
    if wanted.create_time_end is not None:
        statement = statement.where(_GLOBAL.create_time <= clock.text(wanted.create_time_end))
    if wanted.before_id is not None:
        statement = statement.where(_GLOBAL.id < wanted.before_id)
    return list(_understood(connection.execute(statement).all(), clock))


def _understood(rows: Iterable[Row[Any]], clock: WallClock) -> Iterable[Transaction]:
    for row in rows:
        try:
            yield transaction_of(row, clock)
        except Invalid as error:
            log.warning("left out of the list: {}", error)


def is_due(now: datetime, trans_types: Collection[str], clock: WallClock) -> ColumnElement[bool]:
    """The condition beside the status: time has come, and it is of a kind that is driven."""
    return and_(
        _GLOBAL.next_cron_time <= clock.text(now),
        _GLOBAL.trans_type.in_(sorted(trans_types)),
        # A prepared saga waits for its client.
        or_(_GLOBAL.status != Status.PREPARED.value, _GLOBAL.trans_type != TransType.SAGA.value),
    )


def due_backlog(connection: Connection, now: datetime, trans_types: Collection[str], clock: WallClock) -> int:
    """How many are due."""
    statement = (
        select(func.count())
        .select_from(TRANS_GLOBAL)
        .where(_GLOBAL.status.in_(UNFINISHED_STATUSES), is_due(now, trans_types, clock))
    )
    return connection.execute(statement).scalar_one()


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
    text = clock.text(now)
    count = 0
    for some in _pieces(ids):
        statement = (
            update(TRANS_GLOBAL)
            .where(_GLOBAL.id.in_(some), _GLOBAL.status.in_(UNFINISHED_STATUSES))
            .values(next_cron_time=text, update_time=text, **values)
        )
        count += connection.execute(statement).rowcount
    return count


def _pieces(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[start : start + _IDS_MAX] for start in range(0, len(values), _IDS_MAX))
