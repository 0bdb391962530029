"""Making the barrier's table in a business database: `dtm barrier-table --url …` (PROTOCOL §12, §14)."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from coordinator.client.errors import BarrierError, InvalidUse
from coordinator.client.extras import brought_by
from coordinator.discovery.logins import ServerUrl, mysql_password, parse_server_url, shown_url

_CONNECT_SECONDS: Final = 10
_MAKE_SECONDS: Final = 30  # for all of it: somebody may hold a lock
_SOURCES: Final = {
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgres": "postgres",
    "postgresql": "postgres",
    "sqlite": "sqlite",
}
_WRITE: Final = (
    "write mysql://user:password@host:3306/, postgresql://user:password@host:5432/database or "
    "sqlite:///path/to/file"
)


def barrier_schema(kind: str) -> str:
    """Return the SQL that makes the table. kind: mysql, postgres or sqlite."""
    package = Path(__file__).resolve().parents[2]
    # In a wheel the files lie inside the package, in a checkout beside it.
    folder = package / "sql" if (package / "sql").is_dir() else package.parent / "sql"
    return (folder / f"barrier.{kind}.sql").read_text(encoding="utf-8")


async def create_barrier_table(url: str) -> str:
    """Create the barrier's table (PROTOCOL §14) unless it is there; return where it is now, for people.

    url: `mysql://user:password@host:3306/`, `postgresql://user:password@host:5432/database` or
    `sqlite:///path/to/file`; user and password percent-encoded where they hold signs of a url. What
    SQLAlchemy writes behind a `+` is ignored.
    Raises InvalidUse for another url, BarrierError when the database does not take it.
    """
    kind, _, _ = url.partition("://")
    kind = _SOURCES.get(kind.lower().partition("+")[0], "")
    if kind == "sqlite":
        return await _in_sqlite(url)
    try:
        server = parse_server_url(url)
    except ValueError as error:
        raise InvalidUse(f"url {shown_url(url)!r} {error}: {_WRITE}") from error
    if not kind:
        raise InvalidUse(f"url {str(server)!r}: {_WRITE}")
    try:
        async with asyncio.timeout(_MAKE_SECONDS):
            await (_in_mysql(server) if kind == "mysql" else _in_postgres(server))
    except (OSError, TimeoutError) as error:
        raise _refused(str(server), error) from error
    return f"dtm_barrier.barrier in {server}"


async def _in_mysql(server: ServerUrl) -> None:
    with brought_by("mysql"):
        import aiomysql
        from pymysql.constants import CLIENT
        from pymysql.err import MySQLError

    try:
        connection = await aiomysql.connect(
            host=server.host or "localhost",
            port=server.port or 3306,
            user=server.user or "root",
            password=mysql_password(server.password),
            client_flag=CLIENT.MULTI_STATEMENTS,
            connect_timeout=_CONNECT_SECONDS,
            autocommit=True,
        )
        try:
            async with connection.cursor() as cursor:
                await cursor.execute("SET sql_notes = 0")  # a table that is there is no news
                await cursor.execute(barrier_schema("mysql"))
                while await cursor.nextset():
                    pass
        finally:
            await connection.ensure_closed()
    except MySQLError as error:
        raise _refused(str(server), error) from error


async def _in_postgres(server: ServerUrl) -> None:
    with brought_by("postgres"):
        import asyncpg

    try:
        connection = await asyncpg.connect(
            host=server.host or "localhost",
            port=server.port or 5432,
            user=server.user or "postgres",
            password=server.password or None,
            database=server.path.strip("/") or None,
            timeout=_CONNECT_SECONDS,
        )
        try:
            await connection.execute(barrier_schema("postgres"))
        finally:
            await connection.close(timeout=_CONNECT_SECONDS)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _refused(str(server), error) from error


async def _in_sqlite(url: str) -> str:
    path = unquote(url.partition("://")[2].removeprefix("/"))
    if not path:
        raise InvalidUse("url 'sqlite:///': name the file, sqlite:///path/to/file")
    # Not by aiosqlite: after a failed connect its thread may outlive the event loop, and complains of that.
    try:
        await asyncio.to_thread(_make_in_sqlite, path)
    except (OSError, sqlite3.Error) as error:
        raise _refused(url, error) from error
    return f"barrier in {path}"


def _make_in_sqlite(path: str) -> None:
    with contextlib.closing(sqlite3.connect(path, timeout=_CONNECT_SECONDS)) as connection:
        connection.executescript(barrier_schema("sqlite"))


def _refused(where: str, error: Exception) -> BarrierError:
    return BarrierError(
        f"cannot create the barrier table in {where}: {str(error) or 'it did not answer in time'}"
    )
