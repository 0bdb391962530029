"""The barrier's few words to a database, one class for each kind of connection (PROTOCOL §12).

Every class speaks of one connection that nobody else uses meanwhile, and of its own local transaction.
"""

import sqlite3
from typing import Any, Final, Protocol

import aiomysql
import aiosqlite
from pymysql import err as mysql_errors

from coordinator.client._barrier_rules import BarrierRow
from coordinator.client._errors import BarrierError, InvalidUse

MYSQL_TABLE: Final = "dtm_barrier.barrier"
SQLITE_TABLE: Final = "barrier"

_COLUMNS: Final = "trans_type, gid, branch_id, op, barrier_id, reason"
_MYSQL_MISSING: Final = (1146, 1049)  # no such table, no such database


class BarrierDatabase(Protocol):
    """What the barrier asks of a database. Bring your own for a driver that is not known here."""

    async def begin(self) -> None:
        """Begin the local transaction; one that is open already is joined."""
        ...

    async def insert_ignore(self, row: BarrierRow) -> bool:
        """Insert the row unless its key is there; return whether it was inserted.

        Waits while another transaction holds that key. Raises BarrierError when the table is missing.
        """
        ...

    async def commit(self) -> None:
        """Commit the local transaction."""
        ...

    async def rollback(self) -> None:
        """Roll the local transaction back; nothing to do on a lost connection, the server has done it."""
        ...


class CursorBarrier:
    """A connection of any async DB-API driver for MySQL: `cursor()`, `begin()`, `commit()`, `rollback()`.

    table: `dtm_barrier.barrier` unless said otherwise. All inserts go through INSERT IGNORE, whose
    affected-row count does not depend on the connection's flags.
    """

    def __init__(self, connection: Any, table: str = "") -> None:
        self._connection = connection
        self._table = checked_table(table or MYSQL_TABLE)
        self._statement = f"INSERT IGNORE INTO {self._table} ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s)"  # noqa: S608

    async def begin(self) -> None:
        """See BarrierDatabase."""
        await self._connection.begin()

    async def insert_ignore(self, row: BarrierRow) -> bool:
        """See BarrierDatabase."""
        async with self._connection.cursor() as cursor:
            await cursor.execute(self._statement, _values(row))
            return bool(cursor.rowcount)

    async def commit(self) -> None:
        """See BarrierDatabase."""
        await self._connection.commit()

    async def rollback(self) -> None:
        """See BarrierDatabase."""
        await self._connection.rollback()


class MySqlBarrier(CursorBarrier):
    """An aiomysql connection (MySQL, MariaDB, TiDB)."""

    _connection: aiomysql.Connection

    async def begin(self) -> None:
        """See BarrierDatabase."""
        # BEGIN inside a transaction would commit what the caller did before.
        if not self._connection.get_transaction_status():
            await self._connection.begin()

    async def insert_ignore(self, row: BarrierRow) -> bool:
        """See BarrierDatabase."""
        # Not by cursor.execute: for each duplicate it asks the server once more and emits a Python warning.
        async with self._connection.cursor() as cursor:
            statement = cursor.mogrify(self._statement, _values(row))
        try:
            return bool(await self._connection.query(statement))
        except (mysql_errors.ProgrammingError, mysql_errors.OperationalError) as error:
            if error.args and error.args[0] in _MYSQL_MISSING:
                raise _missing(self._table, "sql/barrier.mysql.sql", row.gid) from error
            raise

    async def rollback(self) -> None:
        """See BarrierDatabase."""
        # aiomysql closes a connection whose query was cancelled; the server rolls back by itself then.
        if not self._connection.closed:
            await self._connection.rollback()


class SqliteBarrier:
    """An aiosqlite connection. The barrier table lies in the same file, so that one commit holds both.

    table: `barrier` unless said otherwise.
    """

    def __init__(self, connection: aiosqlite.Connection, table: str = "") -> None:
        self._connection = connection
        self._table = checked_table(table or SQLITE_TABLE)
        self._statement = (
            f"INSERT INTO {self._table} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"  # noqa: S608
        )

    async def begin(self) -> None:
        """See BarrierDatabase."""
        # IMMEDIATE: one that reads first and writes later would fail at once when another wrote meanwhile.
        # Tried rather than asked for: in_transaction does not see what still waits in the connection's queue.
        try:
            await self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "within a transaction" not in str(error):
                raise

    async def insert_ignore(self, row: BarrierRow) -> bool:
        """See BarrierDatabase."""
        try:
            async with self._connection.execute(self._statement, _values(row)) as cursor:
                return bool(cursor.rowcount)
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                raise _missing(self._table, "sql/barrier.sqlite.sql", row.gid) from error
            raise

    async def commit(self) -> None:
        """See BarrierDatabase."""
        await self._connection.commit()

    async def rollback(self) -> None:
        """See BarrierDatabase."""
        await self._connection.rollback()


def barrier_database(connection: object, table: str = "") -> BarrierDatabase:
    """Return the adapter for a connection. A BarrierDatabase is returned as it is.

    Raises InvalidUse for a connection of an unknown driver.
    """
    if isinstance(connection, aiomysql.Connection):
        return MySqlBarrier(connection, table)
    if isinstance(connection, aiosqlite.Connection):
        return SqliteBarrier(connection, table)
    if all(hasattr(connection, name) for name in ("begin", "insert_ignore", "commit", "rollback")):
        return connection  # type: ignore[return-value] # just looked: it has what the Protocol asks for
    raise InvalidUse(
        f"the barrier does not know {type(connection).__module__}.{type(connection).__qualname__}: hand in "
        "an aiomysql or aiosqlite connection, or an object with the methods of BarrierDatabase"
    )


def checked_table(table: str) -> str:
    """Return the name if it can stand in SQL as it is: letters, digits, `_`, with one `.` at most."""
    parts = table.split(".")
    if len(parts) > 2 or not all(part.isidentifier() and part.isascii() for part in parts):
        raise InvalidUse(
            f"barrier table {table!r}: write `table` or `database.table`, letters, digits and _ only"
        )
    return table


def _values(row: BarrierRow) -> tuple[str, ...]:
    return (row.trans_type, row.gid, row.branch_id, row.op, row.barrier_id, row.reason)


def _missing(table: str, file: str, gid: str) -> BarrierError:
    return BarrierError(f"barrier table {table} is missing: create it with {file}", gid=gid)
