"""The barrier in MySQL, MariaDB and TiDB (PROTOCOL §12)."""

from typing import TYPE_CHECKING, Any, Final

from coordinator.client.barriers.databases import (
    COLUMNS,
    KEY_IS,
    checked_table,
    first_of,
    key_values,
    lost_row,
    missing_table,
    row_values,
)
from coordinator.client.barriers.rules import BarrierRow

if TYPE_CHECKING:
    import aiomysql

MYSQL_TABLE: Final = "dtm_barrier.barrier"
MARKS: Final = ("%s",) * 4

_MYSQL_MISSING: Final = (1146, 1049)  # no such table, no such database


class CursorBarrier:
    """A connection of any async driver for MySQL that has DB-API's names (PROTOCOL §12).

    That is `cursor()`, `begin()`, `commit()`, `rollback()`.

    table: `dtm_barrier.barrier` unless said otherwise. All inserts go through INSERT IGNORE, whose
    affected-row count does not depend on the connection's flags.
    """

    def __init__(self, connection: Any, table: str = "") -> None:
        self._connection = connection
        self.joined = False  # see BarrierDatabase
        self._table = checked_table(table or MYSQL_TABLE)
        self._row: BarrierRow | None = None  # inserted last
        self._statement = f"INSERT IGNORE INTO {self._table} ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s)"  # noqa: S608

    async def begin(self) -> None:
        """See BarrierDatabase."""
        await self._connection.begin()

    async def insert_ignore(self, row: BarrierRow) -> bool:
        """See BarrierDatabase."""
        self._row = row
        async with self._connection.cursor() as cursor:
            await cursor.execute(self._statement, row_values(row))
            return bool(cursor.rowcount)

    async def reason_of(self, row: BarrierRow) -> str:
        """See BarrierDatabase."""
        # A locking read sees what was committed since this transaction began.
        statement = f"SELECT reason FROM {self._table} WHERE {KEY_IS % MARKS} LOCK IN SHARE MODE"  # noqa: S608
        async with self._connection.cursor() as cursor:
            await cursor.execute(statement, key_values(row))
            found = await cursor.fetchone()
        return first_of(found)

    async def commit(self) -> None:
        """See BarrierDatabase."""
        # A deadlock undoes the whole transaction, and the next statement begins another one.
        if self._row is not None and not await self.reason_of(self._row):
            await self.rollback()
            raise lost_row(self._row)
        await self._connection.commit()

    async def rollback(self) -> None:
        """See BarrierDatabase."""
        await self._connection.rollback()


class MySqlBarrier(CursorBarrier):
    """An aiomysql connection to MySQL, MariaDB or TiDB (PROTOCOL §12)."""

    _connection: "aiomysql.Connection"

    async def begin(self) -> None:
        """See BarrierDatabase."""
        # BEGIN inside a transaction would commit what the caller did before.
        self.joined = bool(self._connection.get_transaction_status())
        if not self.joined:
            await self._connection.begin()

    async def insert_ignore(self, row: BarrierRow) -> bool:
        """See BarrierDatabase."""
        from pymysql import err as mysql_errors  # aiomysql's own

        self._row = row
        # Not by cursor.execute: for each duplicate it asks the server once more and emits a Python warning.
        async with self._connection.cursor() as cursor:
            statement = cursor.mogrify(self._statement, row_values(row))
        try:
            return bool(await self._connection.query(statement))
        except (mysql_errors.ProgrammingError, mysql_errors.OperationalError) as error:
            if error.args and error.args[0] in _MYSQL_MISSING:
                raise missing_table(self._table, "sql/barrier.mysql.sql", row.gid) from error
            raise

    async def rollback(self) -> None:
        """See BarrierDatabase."""
        # aiomysql closes a connection whose query was cancelled; the server rolls back by itself then.
        if not self._connection.closed:
            await self._connection.rollback()
