"""What `all` lists, newest first (PROTOCOL §3): a page looks at so many rows, whatever the table holds.

A status of which there are few is found by its key; all else by windows of ids, for as long as a page may
take. So a page may be short, or empty, although there are more: it says where the next one begins.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, select

from coordinator.store.id_ranges import (
    IdRange,
    highest_up_to,
    ids_of_statuses,
    range_of_times,
    rows_between,
    rows_of_ids,
)
from coordinator.store.listed import Filter, Listed
from coordinator.store.queries import understood
from coordinator.store.tables import TRANS_GLOBAL
from coordinator.store.wall_clock import WallClock

WINDOW: Final = 5_000  # ids that one statement looks at
SECONDS: Final = 0.02  # after which no further window is begun

_GLOBAL: Final = TRANS_GLOBAL.c


def list_transactions(
    connection: Connection, wanted: Filter, clock: WallClock, monotonic: Callable[[], float] = time.monotonic
) -> Listed:
    """One page. By gid: an exact one; else by id, downwards. Rows that nobody understands are left out."""
    if wanted.gid:
        rows = connection.execute(select(TRANS_GLOBAL).where(_GLOBAL.gid == wanted.gid)).all()
        return Listed([it for it in understood(rows, clock) if it.gid == wanted.gid])
    asked = _conditions(wanted, clock)
    began = monotonic()
    ids = range_of_times(connection, wanted.create_time_start, wanted.create_time_end, clock)
    ids = ids.cut(wanted.before_id)
    if wanted.status:
        of_status = ids_of_statuses(connection, [wanted.status])
        if of_status is not None:
            left = [it for it in of_status if ids.lowest <= it < ids.below]
            return _page(rows_of_ids(connection, left, asked, wanted.limit + 1), wanted, clock, None)
    found: list[Any] = []
    window = WINDOW if asked else ids.below  # without a filter the first rows are those
    while True:
        part = IdRange(max(ids.lowest, ids.below - window), ids.below)
        found += rows_between(connection, part, asked, wanted.limit + 1 - len(found))
        if len(found) > wanted.limit or part.lowest <= ids.lowest:
            return _page(found, wanted, clock, None)
        next_id = highest_up_to(connection, part.lowest - 1)
        if next_id is None:
            return _page(found, wanted, clock, None)
        ids = IdRange(ids.lowest, next_id + 1)
        if monotonic() - began > SECONDS:
            return _page(found, wanted, clock, ids.below)


def _conditions(wanted: Filter, clock: WallClock) -> list[ColumnElement[bool]]:
    asked: list[ColumnElement[bool]] = []
    if wanted.status:
        asked.append(_GLOBAL.status == wanted.status)
    if wanted.trans_type:
        asked.append(_GLOBAL.trans_type == wanted.trans_type)
    if wanted.create_time_start is not None:
        asked.append(_GLOBAL.create_time >= clock.text(wanted.create_time_start))
    if wanted.create_time_end is not None:
        asked.append(_GLOBAL.create_time <= clock.text(wanted.create_time_end))
    return asked


def _page(rows: list[Any], wanted: Filter, clock: WallClock, before_id: int | None) -> Listed:
    page = rows[: wanted.limit]
    if len(rows) > wanted.limit:
        before_id = page[-1].id
    return Listed(list(understood(page, clock)), before_id)
