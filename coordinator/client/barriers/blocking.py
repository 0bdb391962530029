"""The barrier on blocking connections: sqlite3, pymysql, psycopg, psycopg2 (PROTOCOL §12)."""

import sqlite3
from typing import Any, Final

from coordinator.client.barriers.databases import (
    COLUMNS,
    KEY_IS,
    BarrierDatabase,
    checked_table,
    first_of,
    key_values,
    libraries_of,
    lost_row,
    missing_table,
    row_values,
    undone_by_server,
)
from coordinator.client.barriers.rules import BarrierRow
from coordinator.client.errors import InvalidUse
from coordinator.client.portal import at_once, in_caller

_IN_TRANSACTION: Final = 1  # pymysql's server_status
_IDLE: Final = 0  # transaction_status of psycopg
_FAILED_BEFORE: Final = 3  # transaction_status INERROR of psycopg: COMMIT would roll back and say nothing
_TABLES: Final = {
    "sqlite": "barrier",
    "mysql": "dtm_barrier.barrier",
    "postgres": "dtm_barrier.barrier",
}
_KINDS: Final = {"sqlite3": "sqlite", "pymysql": "mysql", "psycopg": "postgres", "psycopg2": "postgres"}
_MISSING: Final = (1146, 1049, "42P01", "3F000")


class BlockingBarrier:
    """Statements on a DB-API connection; every method returns without having waited in the loop."""

    def __init__(self, connection: Any, table: str = "") -> None:
        module = next((one for one in libraries_of(connection) if one in _KINDS), "")
        if not module:
            kind = type(connection)
            raise InvalidUse(
                f"the barrier does not know {kind.__module__}.{kind.__qualname__}: hand in a connection of "
                f"{', '.join(sorted(_KINDS))}, or a Session or Connection of SQLAlchemy; for Redis see "
                "RedisBarrier"
            )
        self._connection = connection
        self._module = module
        self._kind = _KINDS[module]
        self._table = checked_table(table or _TABLES[self._kind])
        self._row: BarrierRow | None = None  # inserted last
        self.joined = False  # see BarrierDatabase
        self._mark = "?" if self._kind == "sqlite" else "%s"

    async def begin(self) -> None:
        """See BarrierDatabase."""
        match self._kind:
            case "sqlite":
                if not self._connection.in_transaction:
                    self._connection.execute("BEGIN IMMEDIATE")
            case "mysql":
                self.joined = bool(self._connection.server_status & _IN_TRANSACTION)
                if not self.joined:
                    self._connection.begin()
            case "postgres":
                if self._connection.autocommit:
                    raise InvalidUse(
                        f"the barrier needs a transaction: open {self._module} without autocommit"
                    )
                self.joined = self._connection.info.transaction_status != _IDLE

    async def insert_ignore(self, row: BarrierRow) -> bool:
        """See BarrierDatabase."""
        self._row = row
        marks = ", ".join([self._mark] * 6)
        insert, conflict = (
            ("INSERT IGNORE", "") if self._kind == "mysql" else ("INSERT", " ON CONFLICT DO NOTHING")
        )
        statement = f"{insert} INTO {self._table} ({COLUMNS}) VALUES ({marks}){conflict}"
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, row_values(row))
            return bool(cursor.rowcount)
        except Exception as error:
            if _is_missing(error):
                raise missing_table(self._table, f"sql/barrier.{self._kind}.sql", row.gid) from error
            raise
        finally:
            cursor.close()

    async def reason_of(self, row: BarrierRow) -> str:
        """See BarrierDatabase."""
        lock = " LOCK IN SHARE MODE" if self._kind == "mysql" else ""
        statement = f"SELECT reason FROM {self._table} WHERE {KEY_IS % ((self._mark,) * 4)}{lock}"  # noqa: S608
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, key_values(row))
            found = cursor.fetchone()
        finally:
            cursor.close()
        return first_of(found)

    async def commit(self) -> None:
        """See BarrierDatabase."""
        if self._kind == "postgres" and self._connection.info.transaction_status == _FAILED_BEFORE:
            self._connection.rollback()
            raise undone_by_server()
        if self._kind == "mysql" and self._row is not None and not await self.reason_of(self._row):
            self._connection.rollback()
            raise lost_row(self._row)
        self._connection.commit()

    async def rollback(self) -> None:
        """See BarrierDatabase."""
        is_lost = not getattr(self._connection, "open", True) or getattr(self._connection, "closed", False)
        if not is_lost:  # pymysql says `open`, psycopg `closed`; the server rolls back a lost one by itself
            self._connection.rollback()


class InCaller:
    """A blocking database whose every statement runs in the thread that owns the connection."""

    def __init__(self, database: BarrierDatabase) -> None:
        self._database = database

    @property
    def joined(self) -> bool:
        """See BarrierDatabase."""
        return getattr(self._database, "joined", True)

    async def begin(self) -> None:
        """See BarrierDatabase."""
        await in_caller(lambda: at_once(self._database.begin()))

    async def insert_ignore(self, row: BarrierRow) -> bool:
        """See BarrierDatabase."""
        return await in_caller(lambda: at_once(self._database.insert_ignore(row)))

    async def reason_of(self, row: BarrierRow) -> str:
        """See BarrierDatabase."""
        return await in_caller(lambda: at_once(self._database.reason_of(row)))

    async def commit(self) -> None:
        """See BarrierDatabase."""
        await in_caller(lambda: at_once(self._database.commit()))

    async def rollback(self) -> None:
        """See BarrierDatabase."""
        await in_caller(lambda: at_once(self._database.rollback()))


def _is_missing(error: Exception) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return "no such table" in str(error)
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state in _MISSING or (bool(error.args) and error.args[0] in _MISSING)
