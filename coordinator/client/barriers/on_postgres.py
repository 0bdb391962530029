"""The barrier in PostgreSQL, on an asyncpg connection (PROTOCOL §12)."""

import asyncio
from typing import Any, Final

from coordinator.client.barriers.databases import (
    COLUMNS,
    KEY_IS,
    checked_table,
    key_values,
    missing_table,
    row_values,
    undone_by_server,
)
from coordinator.client.barriers.rules import BarrierRow

POSTGRES_TABLE: Final = "dtm_barrier.barrier"
POSTGRES_FILE: Final = "sql/barrier.postgres.sql"
MARKS: Final = ("$1", "$2", "$3", "$4")
MISSING_STATES: Final = ("42P01", "3F000")  # no such table, no such schema


class PostgresBarrier:
    """A connection of asyncpg, or one that its pool lends.

    table: `dtm_barrier.barrier`, a schema in the same database, unless said otherwise.
    """

    def __init__(self, connection: Any, table: str = "") -> None:
        self._connection = connection
        self._table = checked_table(table or POSTGRES_TABLE)
        self._statement = (
            f"INSERT INTO {self._table} ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6) "  # noqa: S608
            "ON CONFLICT DO NOTHING"
        )
        self._transaction: Any = None
        self._may_begin_yet = False
        self.joined = False  # see BarrierDatabase

    async def begin(self) -> None:
        """See BarrierDatabase."""
        self.joined = bool(self._connection.is_in_transaction())
        if not self.joined:
            transaction = self._connection.transaction()
            self._may_begin_yet = False
            try:
                await transaction.start()
            except asyncio.CancelledError:
                self._may_begin_yet = True
                raise
            self._transaction = transaction

    async def insert_ignore(self, row: BarrierRow) -> bool:
        """See BarrierDatabase."""
        import asyncpg

        try:
            status = await self._connection.execute(self._statement, *row_values(row))
        except asyncpg.PostgresError as error:
            if error.sqlstate in MISSING_STATES:
                raise missing_table(self._table, POSTGRES_FILE, row.gid) from error
            raise
        return bool(status == "INSERT 0 1")

    async def reason_of(self, row: BarrierRow) -> str:
        """See BarrierDatabase."""
        statement = f"SELECT reason FROM {self._table} WHERE {KEY_IS % MARKS}"  # noqa: S608
        return str(await self._connection.fetchval(statement, *key_values(row)) or "")

    async def commit(self) -> None:
        """See BarrierDatabase."""
        import asyncpg

        # After a failed statement COMMIT rolls back, and says so only in its tag, which asyncpg drops.
        try:
            await self._connection.execute("SELECT 1")
        except asyncpg.InFailedSQLTransactionError as error:
            await self.rollback()
            raise undone_by_server() from error
        # One that was begun by the caller's own BEGIN is ended the same way.
        if self._transaction is not None:
            await self._transaction.commit()
        else:
            await self._connection.execute("COMMIT")

    async def rollback(self) -> None:
        """See BarrierDatabase."""
        import asyncpg

        if self._connection.is_closed():
            return
        if self._transaction is not None:
            try:
                await self._transaction.rollback()
                return
            except asyncpg.InterfaceError:
                pass  # its COMMIT failed or was cancelled, after which asyncpg's object ends nothing
        # ROLLBACK waits until the server has said what became of a BEGIN that was cancelled.
        if self._may_begin_yet or self._connection.is_in_transaction():
            await self._connection.execute("ROLLBACK")
