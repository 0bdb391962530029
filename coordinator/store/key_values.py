"""Rows of `kv`, with optimistic locking by version (PROTOCOL §8, §14). Synchronous, over a connection."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from coordinator.model import EPOCH
from coordinator.store.base import KeyValue
from coordinator.store.tables import KV
from coordinator.store.wall_clock import WallClock

_KV: Final = KV.c


def find_value(connection: Connection, category: str, key: str, clock: WallClock) -> KeyValue | None:
    """The row of exactly that category and key: databases that ignore case find too much."""
    rows = connection.execute(select(KV).where(_KV.cat == category, _KV.k == key))
    exact = [row for row in rows if (row.cat, row.k) == (category, key)]
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


def put_value(connection: Connection, category: str, key: str, value: str, version: int, now: Any) -> bool:
    """Insert (version 0) or update the row of this version; False when it is not there, or there already."""
    if version:
        statement = update(KV).where(_KV.cat == category, _KV.k == key, _KV.version == version)
        values = {"v": value, "version": version + 1, "update_time": now}
        return connection.execute(statement.values(values)).rowcount == 1
    new = {"cat": category, "k": key, "v": value, "version": 1, "create_time": now, "update_time": now}
    try:
        connection.execute(insert(KV).values(new))
    except IntegrityError:
        return False
    return True


def delete_value(connection: Connection, category: str, key: str, version: int) -> bool:
    """Delete the row of this version; False when there is none."""
    statement = delete(KV).where(_KV.cat == category, _KV.k == key, _KV.version == version)
    return connection.execute(statement).rowcount == 1


def _key_value(row: Row[Any], clock: WallClock) -> KeyValue:
    return KeyValue(
        category=row.cat,
        key=row.k,
        value=row.v or "",
        version=row.version or 0,
        create_time=clock.time(row.create_time) or EPOCH,
        update_time=clock.time(row.update_time) or EPOCH,
        id=row.id,
    )
