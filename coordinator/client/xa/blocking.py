"""XA on blocking connections, pymysql, psycopg and psycopg2, in the thread that owns them (PROTOCOL §7, §12).

Only the drivers' words are translated here, into those of aiomysql and asyncpg; what XA says to a database is
said by MySqlXa and PostgresXa, as for the async client.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from coordinator.client.barriers.blocking import BlockingBarrier, InCaller
from coordinator.client.errors import InvalidUse
from coordinator.client.portal import in_caller
from coordinator.client.xa.databases import XaDatabase
from coordinator.client.xa.on_mysql import MySqlXa

Connect: TypeAlias = Callable[[], Any]


class OwnedByCaller(Protocol):
    """A blocking connection seen from the loop. connection: the driver's own, for the business."""

    connection: Any

    def xa_database(self, table: str) -> XaDatabase:
        """See BringsXa."""
        ...


async def open_in_caller(connect: Connect) -> OwnedByCaller:
    """Connect in the waiting thread. Raises InvalidUse, with the connection closed, where it has no XA."""
    return await in_caller(lambda: _owned(connect()))


class _PyMySql:
    """What MySqlXa asks of aiomysql, of a pymysql connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def xa_database(self, table: str) -> XaDatabase:
        """See BringsXa."""
        return MySqlXa(self, InCaller(BlockingBarrier(self.connection, table)))

    @property
    def closed(self) -> bool:
        return not self.connection.open

    def cursor(self) -> "_PyMySqlCursor":
        return _PyMySqlCursor(self.connection.cursor())

    def escape(self, text: str) -> str:
        return str(self.connection.escape(text))

    def close(self) -> None:
        # Only the socket is closed, in whichever thread: the server rolls back.
        if self.connection.open:
            self.connection.close()

    async def query(self, sql: str) -> None:
        await in_caller(lambda: self.connection.query(sql))

    async def rollback(self) -> None:
        await in_caller(self.connection.rollback)

    async def autocommit(self, value: bool) -> None:
        await in_caller(lambda: self.connection.autocommit(value))

    async def ensure_closed(self) -> None:
        await in_caller(self.close)


class _PyMySqlCursor:
    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    async def __aenter__(self) -> "_PyMySqlCursor":
        return self

    async def __aexit__(self, *raised: object) -> None:
        await in_caller(self._cursor.close)

    async def execute(self, sql: str) -> None:
        await in_caller(lambda: self._cursor.execute(sql))

    async def fetchall(self) -> list[tuple[Any, ...]]:
        return list(await in_caller(self._cursor.fetchall))


class _Psycopg:
    """What PostgresXa asks of asyncpg, of a connection of psycopg or psycopg2."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def xa_database(self, table: str) -> XaDatabase:
        """See BringsXa."""
        from coordinator.client.xa.on_postgres import PostgresXa

        return PostgresXa(self, InCaller(BlockingBarrier(self.connection, table)))

    def is_closed(self) -> bool:
        return bool(self.connection.closed)

    async def execute(self, sql: str) -> str:
        return str(await in_caller(lambda: self._after(sql, lambda cursor: cursor.statusmessage)))

    async def fetchval(self, sql: str) -> Any:
        row = await in_caller(lambda: self._after(sql, lambda cursor: cursor.fetchone()))
        if not row:
            return None
        return next(iter(row.values())) if isinstance(row, dict) else row[0]

    async def close(self) -> None:
        await in_caller(self.connection.close)

    def _after(self, sql: str, look: Callable[[Any], Any]) -> Any:
        cursor = self.connection.cursor()
        try:
            cursor.execute(sql)
            return look(cursor)
        finally:
            cursor.close()


def _owned(connection: Any) -> OwnedByCaller:
    kind = type(connection)
    match kind.__module__.partition(".")[0]:
        case "pymysql":
            return _PyMySql(connection)
        case "psycopg" | "psycopg2":
            connection.rollback()  # of what connect has looked at
            connection.autocommit = True  # BEGIN and PREPARE TRANSACTION are said by us
            return _Psycopg(connection)
    if callable(close := getattr(connection, "close", None)):
        close()
    if kind.__module__ == "sqlite3":
        raise InvalidUse("SQLite has no XA: use a saga or TCC, or MySQL, MariaDB or PostgreSQL")
    raise InvalidUse(
        f"XA does not know {kind.__module__}.{kind.__qualname__}: connect must return a new connection of "
        "pymysql, psycopg or psycopg2"
    )
