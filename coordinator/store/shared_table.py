"""Rows of `dtm_shared`: which coordinator does a piece of upkeep for all, and what is known of the tables.

Times are by the database's clock, in UTC.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import Connection, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from coordinator.model import EPOCH
from coordinator.store.access_tables import AskTime, Run
from coordinator.store.own_tables import DTM_SHARED
from coordinator.store.wall_clock import WallClock

VERSION: Final = 1  # of the tables that this program declares, see coordinator.store.migrating
PURGE: Final = "purge"  # who deletes what ended long ago
CENSUS: Final = "census"  # who counts what is unfinished, and what came of it
_TABLES: Final = "tables"  # who made the tables, and what was added to them since

_SHARED: Final = DTM_SHARED.c


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody wrote for all. age: since then."""

    value: Mapping[str, Any]
    age: timedelta


@dataclass(frozen=True, slots=True)
class TablesKnown:
    """What is known of the protocol's tables.

    made: whether a coordinator of ours made them; else they were there before. version: of what `dtm migrate`
    has added.
    """

    made: bool = False
    version: int = 0


class SharedTable:
    """Where the table is missing everybody may do everything, and nobody is told. Raises StoreUnavailable."""

    def __init__(
        self, transact: Run, read: Run, ask_time: AskTime, *, offsets: bool, missing: Collection[str] = ()
    ) -> None:
        """ask_time: the database's clock. offsets: see WallClock. missing: tables that are not there."""
        self._transact = transact
        self._read = read
        self._ask_time = ask_time
        self._clock = WallClock(UTC, offsets=offsets)
        self._is_there = DTM_SHARED.name not in missing

    async def take(self, name: str, holder: str, *, seconds: float) -> bool:
        """Have this piece of upkeep for so long, unless another has it; who has it may take it again."""
        if not self._is_there:
            return True

        def taken(connection: Connection) -> bool:
            now = self._ask_time(connection)
            until = self._clock.text(now + timedelta(seconds=seconds))
            free = or_(_SHARED.holder == holder, _SHARED.held_until <= self._clock.text(now))
            lease = update(DTM_SHARED).where(_SHARED.name == name, free)
            if connection.execute(lease.values(holder=holder, held_until=until)).rowcount:
                return True
            if connection.execute(select(_SHARED.name).where(_SHARED.name == name)).first():
                return False
            first = {"held_until": until, "value": "{}", "changed": self._clock.text(EPOCH)}
            return _inserted(connection, name=name, holder=holder, **first)

        return await self._transact(taken)

    async def leave(self, name: str, holder: str) -> None:
        """Let another have it at once."""

        def left(connection: Connection) -> None:
            mine = update(DTM_SHARED).where(_SHARED.name == name, _SHARED.holder == holder)
            connection.execute(mine.values(holder="", held_until=self._clock.text(EPOCH)))

        if self._is_there:
            await self._transact(left)

    async def tell(self, name: str, holder: str, value: Mapping[str, Any]) -> None:
        """Write the value for all, if this holder has the row still."""

        def told(connection: Connection) -> None:
            text, now = orjson.dumps(value).decode(), self._clock.text(self._ask_time(connection))
            mine = update(DTM_SHARED).where(_SHARED.name == name, _SHARED.holder == holder)
            connection.execute(mine.values(value=text, changed=now))

        if self._is_there:
            await self._transact(told)

    async def told(self, name: str) -> Told | None:
        """What was told last; None where nobody has."""
        if not self._is_there:
            return None

        def found(connection: Connection) -> Told | None:
            row = connection.execute(select(DTM_SHARED).where(_SHARED.name == name)).one_or_none()
            changed = self._clock.time(row.changed) if row is not None else None
            if row is None or changed is None or changed <= EPOCH:
                return None
            return Told(_value_of(row.value), self._ask_time(connection) - changed)

        return await self._read(found)

    async def tables(self) -> TablesKnown:
        """What is known of the tables."""
        if not self._is_there:
            return TablesKnown()
        return await self._read(read_tables)

    async def note_tables(self, **values: bool | int) -> None:
        """Note these fields of TablesKnown."""
        await self._transact(
            lambda connection: write_tables(connection, self._ask_time, self._clock, **values)
        )


def read_tables(connection: Connection) -> TablesKnown:
    """What is known of the tables; the table itself is there."""
    row = connection.execute(select(_SHARED.value).where(_SHARED.name == _TABLES)).one_or_none()
    value = _value_of(row.value) if row is not None else {}
    version = value.get("version", 0)
    return TablesKnown(value.get("made") is True, version if type(version) is int else 0)


def write_tables(
    connection: Connection,
    ask_time: Callable[[Connection], datetime],
    clock: WallClock,
    **values: bool | int,
) -> None:
    """Note these fields of TablesKnown. clock: writes UTC."""
    known = read_tables(connection)
    value = orjson.dumps({"made": known.made, "version": known.version, **values}).decode()
    now = clock.text(ask_time(connection))
    row = update(DTM_SHARED).where(_SHARED.name == _TABLES)
    if not connection.execute(row.values(value=value, changed=now)).rowcount:
        _inserted(connection, name=_TABLES, holder="", held_until=now, value=value, changed=now)


def _inserted(connection: Connection, **values: str) -> bool:
    """False where another was faster."""
    try:
        with connection.begin_nested():
            connection.execute(insert(DTM_SHARED).values(values))
    except IntegrityError:
        return False
    return True


def _value_of(text: str) -> Mapping[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
