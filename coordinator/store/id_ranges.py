"""Which ids rows of a time have, and which rows of some ids are wanted: bounded, by the primary key alone.

Ids grow with time, but for what several coordinators' clocks and commits are apart. So a time is found among
ids by cutting them into parts, and what is between the ids is compared with the time itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, func, literal, select, union_all

from coordinator.store.queries import pieces
from coordinator.store.tables import TRANS_GLOBAL
from coordinator.store.wall_clock import WallClock

APART: Final = timedelta(minutes=10)  # by which a row may be older than one of a smaller id
KEYS_MAX: Final = 2_000  # rows of one status that are looked at by their key

_PARTS: Final = 8  # that a range is cut into by one statement
_NEAR: Final = 1_000  # ids that are not halved any more
_GLOBAL: Final = TRANS_GLOBAL.c


@dataclass(frozen=True, slots=True)
class IdRange:
    """From lowest on, and below `below`. Empty where there are no rows."""

    lowest: int
    below: int

    def cut(self, before_id: int | None) -> "IdRange":
        """The same, and below that id."""
        return self if before_id is None else IdRange(self.lowest, min(self.below, before_id))


def range_of_times(
    connection: Connection, start: datetime | None, end: datetime | None, clock: WallClock
) -> IdRange:
    """The ids that rows created from `start` to `end` can have; None is no bound."""
    lowest, highest = connection.execute(select(func.min(_GLOBAL.id), func.max(_GLOBAL.id))).one()
    if lowest is None:
        return IdRange(0, 0)
    first, behind = int(lowest), int(highest) + 1
    if start is not None:
        first = _first_since(connection, start - APART, IdRange(first, behind), clock)
    if end is not None:
        behind = _first_since(connection, end + APART, IdRange(first, behind), clock) + _NEAR
    return IdRange(first, min(behind, int(highest) + 1))


def _first_since(connection: Connection, time: datetime, ids: IdRange, clock: WallClock) -> int:
    """An id at or before the first row that was created at that time or later, near it."""
    low, high = ids.lowest, ids.below
    while high - low > _NEAR:
        step = max((high - low) // _PARTS, 1)
        probes = [low + number * step for number in range(1, _PARTS)]
        parts = [_first_row_from(probe) for probe in probes]
        found = {row.probe: row for row in connection.execute(union_all(*parts))}
        below, above = low, high
        for probe in probes:
            row = found.get(probe)
            created = clock.time(row.create_time) if row is not None else None
            if row is None or row.id >= high or (created is not None and created >= time):
                above = probe
                break
            below = row.id
        if (low, high) == (below, above):
            break
        low, high = below, above
    return low


def _first_row_from(probe: int) -> Select[Any]:
    first = select(_GLOBAL.id, _GLOBAL.create_time).where(_GLOBAL.id >= probe).order_by(_GLOBAL.id).limit(1)
    row = first.subquery()
    return select(literal(probe).label("probe"), row.c.id, row.c.create_time)


def ids_of_statuses(connection: Connection, statuses: Sequence[str]) -> list[int] | None:
    """The ids of all rows of these statuses, the newest first, by their key; None where they are too many."""
    ids = select(_GLOBAL.id).where(_GLOBAL.status.in_(sorted(set(statuses)))).limit(KEYS_MAX + 1)
    if (connection.execute(select(func.count()).select_from(ids.subquery())).scalar() or 0) > KEYS_MAX:
        return None  # without having sent them
    return sorted(connection.execute(ids).scalars(), reverse=True)


def rows_of_ids(
    connection: Connection, ids: Sequence[int], wanted: Sequence[ColumnElement[bool]], limit: int
) -> list[Row[Any]]:
    """Those of these rows that are wanted, the newest first. ids: the newest first."""
    rows: list[Row[Any]] = []
    for some in pieces(ids):
        page = select(TRANS_GLOBAL).where(_GLOBAL.id.in_(some), *wanted).order_by(_GLOBAL.id.desc())
        rows += connection.execute(page.limit(limit - len(rows)))
        if len(rows) >= limit:
            break
    return rows


def rows_between(
    connection: Connection, ids: IdRange, wanted: Sequence[ColumnElement[bool]], limit: int
) -> list[Row[Any]]:
    """Those of the rows of these ids that are wanted, the newest first."""
    page = select(TRANS_GLOBAL).where(_GLOBAL.id >= ids.lowest, _GLOBAL.id < ids.below, *wanted)
    return list(connection.execute(page.order_by(_GLOBAL.id.desc()).limit(limit)))


def highest_up_to(connection: Connection, id_max: int) -> int | None:
    """The highest id that there is, up to that one; ids have gaps."""
    found = connection.execute(select(func.max(_GLOBAL.id)).where(_GLOBAL.id <= id_max)).scalar()
    return None if found is None else int(found)
