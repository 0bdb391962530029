"""The rows of a barrier, oldest first, and taking them away: for `dtm purge-barrier` (PROTOCOL §12, §14)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from coordinator.client.barriers.databases import checked_table
from coordinator.client.barriers.on_postgres import POSTGRES_TABLE
from coordinator.client.barriers.on_sqlite import SQLITE_TABLE
from coordinator.client.errors import BarrierError, InvalidUse
from coordinator.client.extras import brought_by
from coordinator.discovery.logins import mysql_password, parse_server_url, shown_url

if TYPE_CHECKING:
    from sqlalchemy import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

_STEP_SECONDS: Final = 30  # somebody may hold a lock
_WRITE: Final = (
    "write mysql://user:password@host:3306/, postgresql://user:password@host:5432/database or "
    "sqlite:///path/to/file"
)
_AGES: Final = {  # seconds since the row was inserted, by the database's own clock
    "mysql": "TIMESTAMPDIFF(SECOND, create_time, NOW())",
    "postgresql": "EXTRACT(EPOCH FROM now() - create_time)",
    "sqlite": "(julianday('now') - julianday(create_time)) * 86400",
}
_DRIVERS: Final = {
    "mysql": "mysql+aiomysql",
    "mariadb": "mysql+aiomysql",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
}


@dataclass(frozen=True, slots=True)
class OldRow:
    """A row of the barrier. age: since it was inserted; one without a time is as young as can be."""

    id: int
    gid: str
    age: timedelta


class OldBarrierRows:
    """The barrier's table in one business database. Raises BarrierError when that does not answer."""

    def __init__(self, engine: "AsyncEngine", table: str, where: str) -> None:
        self._engine = engine
        self._table = table
        self._age = _AGES[engine.dialect.name]
        self.where = where  # for people, without the password

    async def look(self, after: int, *, limit: int) -> Sequence[OldRow]:
        """So many rows behind this id, in its order."""
        statement = (
            f"SELECT id, gid, {self._age} FROM {self._table} "  # noqa: S608 - checked names and own words
            "WHERE id > :after ORDER BY id LIMIT :most"
        )
        found = await self._run(statement, {"after": after, "most": limit})
        return [OldRow(row[0], str(row[1]), timedelta(seconds=float(row[2] or 0))) for row in found.all()]

    async def delete(self, ids: Sequence[int]) -> int:
        """Delete these rows in one commit; returns how many were there."""
        statement = f"DELETE FROM {self._table} WHERE id IN :ids"  # noqa: S608 - a checked name
        done = await self._run(statement, {"ids": list(ids)})
        return int(done.rowcount)

    async def _run(self, statement: str, values: dict[str, Any]) -> Any:
        from sqlalchemy import bindparam, text
        from sqlalchemy.exc import SQLAlchemyError

        clause = text(statement)
        if "ids" in values:
            clause = clause.bindparams(bindparam("ids", expanding=True))
        try:
            async with asyncio.timeout(_STEP_SECONDS), self._engine.begin() as connection:
                return await connection.execute(clause, values)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            reason = str(getattr(error, "orig", None) or error) or "it did not answer in time"
            raise BarrierError(f"cannot purge {self._table} in {self.where}: {reason}") from error


@asynccontextmanager
async def old_barrier_rows(url: str, table: str = "") -> AsyncIterator[OldBarrierRows]:
    """Lend the rows of that business database (PROTOCOL §14).

    url: as create_barrier_table has it. table: where it is not the usual name.
    Raises InvalidUse for another url or name, BarrierError for a file that is not there.
    """
    with brought_by("server", "sqlalchemy"):
        from sqlalchemy.ext.asyncio import create_async_engine
    driver = _DRIVERS.get(url.partition("://")[0].lower().partition("+")[0])
    if driver is None or "://" not in url:
        raise InvalidUse(f"url {shown_url(url)!r}: {_WRITE}")
    name = checked_table(table or (SQLITE_TABLE if driver.startswith("sqlite") else POSTGRES_TABLE))
    address, where = _sqlite_file(url) if driver.startswith("sqlite") else _server(url, driver)
    options = {} if driver.startswith("sqlite") else {"isolation_level": "READ COMMITTED"}
    engine = create_async_engine(address, **options)
    try:
        yield OldBarrierRows(engine, name, where)
    finally:
        await engine.dispose()


def _sqlite_file(url: str) -> "tuple[URL, str]":
    from sqlalchemy import URL

    path = unquote(url.partition("://")[2].removeprefix("/"))
    if not Path(path).is_file():
        raise BarrierError(f"there is no SQLite file {path!r}: write sqlite:///path/to/file")
    return URL.create("sqlite+aiosqlite", database=path), path


def _server(url: str, driver: str) -> "tuple[URL, str]":
    from sqlalchemy import URL

    try:
        server = parse_server_url(url)
    except ValueError as error:
        raise InvalidUse(f"url {shown_url(url)!r} {error}: {_WRITE}") from error
    is_mysql = driver.startswith("mysql")
    address = URL.create(
        driver,
        username=server.user or ("root" if is_mysql else "postgres"),
        password=(mysql_password(server.password) if is_mysql else server.password) or None,
        host=server.host or "localhost",
        port=server.port or (3306 if is_mysql else 5432),
        database=None if is_mysql else server.path.strip("/") or None,
        query={"charset": "utf8mb4"} if is_mysql else {},
    )
    return address, str(server)
