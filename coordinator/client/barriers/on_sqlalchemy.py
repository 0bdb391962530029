"""The barrier on SQLAlchemy's AsyncSession and AsyncConnection (PROTOCOL §12)."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session

from coordinator.client.barriers.databases import (
    COLUMNS,
    KEY_IS,
    BarrierDatabase,
    checked_table,
    libraries_of,
    lost_row,
    missing_table,
    row_values,
    undone_by_server,
)
from coordinator.client.barriers.on_mysql import MYSQL_TABLE, MySqlBarrier
from coordinator.client.barriers.on_postgres import MISSING_STATES, POSTGRES_TABLE
from coordinator.client.barriers.on_sqlite import SQLITE_TABLE
from coordinator.client.barriers.rules import BarrierRow
from coordinator.client.errors import InvalidUse

_NAMES: Final = ("trans_type", "gid", "branch_id", "op", "barrier_id", "reason")
_MARKS: Final = (":gid", ":branch_id", ":op", ":barrier_id")
_TABLES: Final = {
    "mysql": MYSQL_TABLE,
    "mariadb": MYSQL_TABLE,
    "postgresql": POSTGRES_TABLE,
    "sqlite": SQLITE_TABLE,
}
_MYSQL: Final = ("mysql", "mariadb")
_MYSQL_MISSING: Final = (1146, 1049)
_FAILED_BEFORE: Final = "25P02"  # in_failed_sql_transaction


class Owner(Protocol):
    """Whose transaction it is."""

    async def commit(self) -> None:
        """Commit it."""
        ...

    async def rollback(self) -> None:
        """Roll it back."""
        ...


class SqlAlchemyBarrier:
    """A session or connection; its own transaction is joined, committed and rolled back.

    The business works with the same session; what it has added is flushed by the commit.
    """

    def __init__(
        self,
        session: Owner,
        connected: Callable[[], Awaitable[Any]],
        table: str,
        *,
        is_open: Callable[[], bool],
    ) -> None:
        """session: whose transaction it is, is_open: whether one is. connected: returns its connection."""
        self._is_open = is_open
        self.joined = False  # see BarrierDatabase
        self._session = session
        self._connection = connected
        self._table = table
        self._row: BarrierRow | None = None  # inserted last

    async def begin(self) -> None:
        """See BarrierDatabase."""
        self.joined = self._is_open()  # asking a session for its connection begins one
        connection = await self._connection()
        if _commits_each_statement(connection):
            raise InvalidUse(
                "the barrier needs a transaction, and this connection commits each statement by itself: "
                "open the engine or connection without isolation_level='AUTOCOMMIT'"
            )
        if not connection.in_transaction():
            _ = await connection.begin()

    async def insert_ignore(self, row: BarrierRow) -> bool:
        """See BarrierDatabase."""
        self._row = row
        connection = await self._connection()
        dialect = connection.dialect.name
        table = checked_table(self._table or self._table_of(dialect))
        driver = (await connection.get_raw_connection()).driver_connection
        if "aiomysql" in libraries_of(driver):
            # The same connection, in the same transaction, without a Python warning for each duplicate.
            return await MySqlBarrier(driver, table).insert_ignore(row)
        values = ", ".join(f":{name}" for name in _NAMES)
        insert, conflict = (
            ("INSERT IGNORE", "") if dialect in _MYSQL else ("INSERT", " ON CONFLICT DO NOTHING")
        )
        statement = text(f"{insert} INTO {table} ({COLUMNS}) VALUES ({values}){conflict}")
        try:
            result = await connection.execute(statement, dict(zip(_NAMES, row_values(row), strict=True)))
        except DBAPIError as error:
            if _is_missing(error):
                name = "postgres" if dialect == "postgresql" else dialect.replace("mariadb", "mysql")
                raise missing_table(table, f"sql/barrier.{name}.sql", row.gid) from error
            raise
        return bool(result.rowcount)

    async def reason_of(self, row: BarrierRow) -> str:
        """See BarrierDatabase."""
        connection = await self._connection()
        dialect = connection.dialect.name
        table = checked_table(self._table or self._table_of(dialect))
        lock = " LOCK IN SHARE MODE" if dialect in _MYSQL else ""
        statement = text(f"SELECT reason FROM {table} WHERE {KEY_IS % _MARKS}{lock}")  # noqa: S608
        key = {"gid": row.gid, "branch_id": row.branch_id, "op": row.op, "barrier_id": row.barrier_id}
        return str(await connection.scalar(statement, key) or "")

    async def commit(self) -> None:
        """See BarrierDatabase."""
        connection = await self._connection()
        if connection.dialect.name == "postgresql":  # whose COMMIT rolls back after a failed statement
            try:
                await connection.execute(text("SELECT 1"))
            except DBAPIError as error:
                await self.rollback()
                if _state_of(error) == _FAILED_BEFORE:
                    raise undone_by_server() from error
                raise
        if (
            connection.dialect.name in _MYSQL
            and self._row is not None
            and not await self.reason_of(self._row)
        ):
            await self.rollback()
            raise lost_row(self._row)
        await self._session.commit()

    async def rollback(self) -> None:
        """See BarrierDatabase."""
        await self._session.rollback()

    def _table_of(self, dialect: str) -> str:
        if dialect not in _TABLES:
            raise InvalidUse(
                f"the barrier does not know the database {dialect}: {', '.join(sorted(_TABLES))}"
            )
        return _TABLES[dialect]


def sqlalchemy_barrier(connection: object, table: str) -> BarrierDatabase:
    """Return the adapter. Raises InvalidUse for what is not async."""
    if isinstance(connection, async_scoped_session):
        connection = connection()
    if isinstance(connection, AsyncSession):
        return SqlAlchemyBarrier(connection, connection.connection, table, is_open=connection.in_transaction)
    if isinstance(connection, AsyncConnection):
        own = connection

        async def itself() -> AsyncConnection:
            return own

        return SqlAlchemyBarrier(own, itself, table, is_open=own.in_transaction)
    raise InvalidUse(
        "the barrier takes an AsyncSession or AsyncConnection of SQLAlchemy, not a "
        f"{type(connection).__qualname__}"
    )


def _commits_each_statement(connection: Any) -> bool:
    # Of the connection, or of its engine, which SQLAlchemy shows nowhere else.
    chosen = connection.sync_connection.get_execution_options().get("isolation_level")
    level = chosen or getattr(connection.dialect, "_on_connect_isolation_level", None)
    return str(level or "").upper() == "AUTOCOMMIT"


def _is_missing(error: DBAPIError) -> bool:
    original = error.orig
    arguments = getattr(original, "args", ()) or ("",)
    return (
        _state_of(error) in MISSING_STATES
        or arguments[0] in _MYSQL_MISSING
        or "no such table" in str(original)
    )


def _state_of(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
