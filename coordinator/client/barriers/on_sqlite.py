"""The barrier in SQLite (PROTOCOL §12)."""

import sqlite3
from typing import TYPE_CHECKING, Final

from coordinator.client.barriers.databases import (
    COLUMNS,
    KEY_IS,
    checked_table,
    first_of,
    key_values,
    missing_table,
    row_values,
)
from coordinator.client.barriers.rules import BarrierRow

if TYPE_CHECKING:
    import aiosqlite

SQLITE_TABLE: Final = "barrier"
MARKS: Final = ("?",) * 4


class SqliteBarrier:
    """An aiosqlite connection (PROTOCOL §12). The barrier table lies in the same file: one commit holds both.

    table: `barrier` unless said otherwise.
    """

    def __init__(self, connection: "aiosqlite.Connection", table: str = "") -> None:
        self._connection = connection
        self._table = checked_table(table or SQLITE_TABLE)
        self._statement = (
            f"INSERT INTO {self._table} ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"  # noqa: S608
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
            async with self._connection.execute(self._statement, row_values(row)) as cursor:
                return bool(cursor.rowcount)
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                raise missing_table(self._table, "sql/barrier.sqlite.sql", row.gid) from error
            raise

    async def reason_of(self, row: BarrierRow) -> str:
        """See BarrierDatabase."""
        statement = f"SELECT reason FROM {self._table} WHERE {KEY_IS % MARKS}"  # noqa: S608
        async with self._connection.execute(statement, key_values(row)) as cursor:
            found = await cursor.fetchone()
        return first_of(found)

    async def commit(self) -> None:
        """See BarrierDatabase."""
        await self._connection.commit()

    async def rollback(self) -> None:
        """See BarrierDatabase."""
        await self._connection.rollback()
