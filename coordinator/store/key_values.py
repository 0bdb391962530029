"""Rows of `kv`, with optimistic locking (PROTOCOL §8, §14). Synchronous, over a connection."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from coordinator.model import EPOCH
from coordinator.store.base import KeyValue
from coordinator.store.rows import text_of
from coordinator.store.tables import KV
from coordinator.store.wall_clock import WallClock

_KV: Final = KV.c


def find_value(connection: Connection, category: str, key: str, clock: WallClock) -> KeyValue | None:
    """The row of exactly that category and key: databases that ignore case find too much."""
    rows = connection.execute(select(KV).where(_KV.cat == category, _KV.k == key))
    exact = [row for row in rows if (text_of(row.cat), text_of(row.k)) == (category, key)]
    return _key_value(exact[0], clock) if exact else None


def list_values(
    connection: Connection, category: str, limit: int, before_id: int | None, clock: WallClock
) -> Sequence[KeyValue]:
    """Newest first."""
    statement = select(KV).order_by(_KV.id.desc()).limit(limit)
    if category:
        statement = statement.where(_KV.cat == category)
    if before_id is not None:
        statement = statement.where(_KV.id < before_id)
    return [_key_value(row, clock) for row in connection.execute(statement)]


def put_value(
    connection: Connection, category: str, key: str, value: str, replaces: KeyValue | None, now: Any
) -> bool:
    """Insert, or update the row that was read; False when it is there already, or not as it was."""
    if replaces is not None:
        values = {"v": value, "version": replaces.version + 1, "update_time": now}
        return connection.execute(update(KV).where(_is_still(replaces)).values(values)).rowcount == 1
    new = {"cat": category, "k": key, "v": value, "version": 1, "create_time": now, "update_time": now}
    try:
        connection.execute(insert(KV).values(new))
    except IntegrityError:
        return False
    return True


def delete_value(connection: Connection, row: KeyValue) -> bool:
    """Delete the row that was read; False when it is not there, or not as it was."""
    return connection.execute(delete(KV).where(_is_still(row))).rowcount == 1


def _is_still(row: KeyValue) -> ColumnElement[bool]:
    # A row that was deleted and made anew begins with version 1 again, and on SQLite may have the old id.
    return and_(
        _KV.id == row.id,
        func.coalesce(_KV.version, 0) == row.version,
        func.coalesce(_KV.v, "") == row.value,
    )


def _key_value(row: Row[Any], clock: WallClock) -> KeyValue:
    return KeyValue(
        category=text_of(row.cat),
        key=text_of(row.k),
        value=text_of(row.v),
        version=row.version if isinstance(row.version, int) else 0,
        create_time=clock.time(row.create_time) or EPOCH,
        update_time=clock.time(row.update_time) or EPOCH,
        id=row.id,
    )
