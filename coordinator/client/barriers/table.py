"""Making the barrier's table in a business database: `dtm barrier-table --url …` (PROTOCOL §12, §14)."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from coordinator.client.errors import BarrierError, InvalidUse

_CONNECT_SECONDS: Final = 10
_SOURCES: Final = {
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgres": "postgres",
    "postgresql": "postgres",
    "sqlite": "sqlite",
}


def barrier_schema(kind: str) -> str:
    """Return the SQL that makes the table. kind: mysql, postgres or sqlite."""
    package = Path(__file__).resolve().parents[2]
    # In a wheel the files lie inside the package, in a checkout beside it.
    folder = package / "sql" if (package / "sql").is_dir() else package.parent / "sql"
    return (folder / f"barrier.{kind}.sql").read_text(encoding="utf-8")


async def create_barrier_table(url: str) -> str:
    """Create the barrier's table (PROTOCOL §14) unless it is there; return where it is now, for people.

    url: `mysql://user:password@host:3306/`, `postgresql://user:password@host:5432/database` or
    `sqlite:///path/to/file`; what SQLAlchemy writes behind a `+` is ignored. Raises InvalidUse for another
    url, BarrierError when the database does not take it.
    """
    parts = urlsplit(url)
    kind = _SOURCES.get(parts.scheme.partition("+")[0])
    try:
        match kind:
            case "mysql":
                return await _in_mysql(parts)
            case "postgres":
                return await _in_postgres(parts)
            case "sqlite":
                return await _in_sqlite(parts)
    except (OSError, sqlite3.Error, TimeoutError) as error:
        raise BarrierError(f"cannot create the barrier table in {_shown(parts)}: {error}") from error
    raise InvalidUse(
        f"url {_shown(parts)!r}: write mysql://user:password@host:3306/, "
        "postgresql://user:password@host:5432/database or sqlite:///path/to/file"
    )


async def _in_mysql(parts: SplitResult) -> str:
    import aiomysql
    from pymysql.constants import CLIENT
    from pymysql.err import MySQLError

    try:
        connection = await aiomysql.connect(
            host=parts.hostname or "localhost",
            port=parts.port or 3306,
            user=unquote(parts.username or "root"),
            password=unquote(parts.password or ""),
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
        raise BarrierError(f"cannot create the barrier table in {_shown(parts)}: {error}") from error
    return f"dtm_barrier.barrier in {_shown(parts)}"


async def _in_postgres(parts: SplitResult) -> str:
    try:
        import asyncpg
    except ModuleNotFoundError as error:
        raise InvalidUse("PostgreSQL needs asyncpg: pip install 'dtm-coordinator[postgres]'") from error

    try:
        connection = await asyncpg.connect(
            host=parts.hostname or "localhost",
            port=parts.port or 5432,
            user=unquote(parts.username or "postgres"),
            password=unquote(parts.password or "") or None,
            database=parts.path.lstrip("/") or None,
            timeout=_CONNECT_SECONDS,
        )
        try:
            await connection.execute(barrier_schema("postgres"))
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise BarrierError(f"cannot create the barrier table in {_shown(parts)}: {error}") from error
    return f"dtm_barrier.barrier in {_shown(parts)}"


async def _in_sqlite(parts: SplitResult) -> str:
    path = unquote(parts.path.removeprefix("/"))
    if not path:
        raise InvalidUse("url 'sqlite:///': name the file, sqlite:///path/to/file")
    # Not by aiosqlite: after a failed connect its thread may outlive the event loop, and complains of that.
    await asyncio.to_thread(_make_in_sqlite, path)
    return f"barrier in {path}"


def _make_in_sqlite(path: str) -> None:
    with contextlib.closing(sqlite3.connect(path, timeout=_CONNECT_SECONDS)) as connection:
        connection.executescript(barrier_schema("sqlite"))


def _shown(parts: SplitResult) -> str:
    """The url without its password."""
    host = parts.hostname or ""
    where = f"{parts.username}@{host}" if parts.username else host
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{where}{port}{parts.path}"
