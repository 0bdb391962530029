"""What is asked beside the hot path: finding, listing, the time. Synchronous, over a connection."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select

from coordinator.errors import Invalid, StoreUnavailable
from coordinator.model import UNFINISHED, Branch, Transaction
from coordinator.store.base import Stored
from coordinator.store.rows import branch_of, transaction_of
from coordinator.store.tables import TRANS_BRANCH_OP, TRANS_GLOBAL
from coordinator.store.wall_clock import WallClock
from coordinator.telemetry.log import log

_GLOBAL: Final = TRANS_GLOBAL.c
_BRANCH: Final = TRANS_BRANCH_OP.c
_UTC_COLUMN: Final = WallClock(UTC)
IDS_MAX: Final = 500  # in one statement
_BRANCHES_OF: Final = (
    select(TRANS_BRANCH_OP).where(_BRANCH.gid.in_(bindparam("gids", expanding=True))).order_by(_BRANCH.id)
)

# In a fixed order, so that statements are the same text every time.
UNFINISHED_STATUSES: Final = tuple(sorted(status.value for status in UNFINISHED))


def find(connection: Connection, gid: str, clock: WallClock) -> Stored | None:
    """The transaction of exactly that gid; raises Invalid when its rows cannot be understood."""
    row = connection.execute(select(TRANS_GLOBAL).where(_GLOBAL.gid == gid)).one_or_none()
    if row is None or row.gid != gid:
        return None
    return Stored(transaction_of(row, clock), tuple(branches_of(connection, [gid], clock).get(gid, ())))


def branches_of(
    connection: Connection, gids: Sequence[str], clock: WallClock, *, together: int = IDS_MAX
) -> Mapping[str, Sequence[Branch]]:
    """The branches of these transactions, first registered first; raises Invalid as branch_of does.

    together: of how many in one statement.
    """
    rows: list[Row[Any]] = []
    for some in pieces(gids, together):
        rows += connection.execute(_BRANCHES_OF, {"gids": some})
    found: dict[str, list[Branch]] = {}
    for row in rows:
        branch = branch_of(row, clock)
        found.setdefault(branch.gid, []).append(branch)
    return found


def understood(rows: Iterable[Row[Any]], clock: WallClock) -> Iterable[Transaction]:
    """The transactions of these rows; those that nobody understands are left out, and the log says so."""
    for row in rows:
        try:
            yield transaction_of(row, clock)
        except Invalid as error:
            log.warning("left out of the list: {}", error)


def pieces(values: Sequence[Any], together: int = IDS_MAX) -> Iterable[Sequence[Any]]:
    """The values in portions, by default the largest that one statement may hold."""
    return (values[start : start + together] for start in range(0, len(values), together))


def read_time(connection: Connection, statement: str) -> datetime:
    """The database's clock, aware. statement: asks it."""
    now = _UTC_COLUMN.time(connection.exec_driver_sql(statement).scalar_one())
    if now is None:
        raise StoreUnavailable("the database does not tell its time")
    return now


def show_life(connection: Connection) -> None:
    """Nothing, but it takes a database that answers."""
    connection.exec_driver_sql("SELECT 1")
