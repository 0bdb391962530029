"""The business database of a service, and the one way its rows are changed: behind the barrier."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Protocol

import aiomysql
import aiosqlite
from pymysql import err as mysql_errors

from branches.data_source import MySqlSource, SqliteSource
from branches.sql_watch import SqlWatch, unwatched
from coordinator.client import BranchContext, DtmError, barrier
from coordinator.client.service import mysql_password

CONNECT_SECONDS: Final = 5
MYSQL_CONNECTIONS_MAX: Final = 16
_MYSQL_MISSING: Final = (1146, 1049)  # no such table, no such database

Business = Callable[["Work"], Awaitable[None]]


class DatabaseProblem(DtmError):
    """The database did not do it; nothing is changed, and asking again may help."""


class DuplicateKey(Exception):
    """A row of that key is there already."""


class Work:
    """One open local transaction, as the business sees it."""

    def __init__(self, execute: Callable[[str, tuple[object, ...]], Awaitable[int]]) -> None:
        self._execute = execute

    async def execute(self, sql: str, *values: object) -> int:
        """Run one statement with `?` for each value; return how many rows it changed. Raises DuplicateKey."""
        return await self._execute(sql, values)


class Database(Protocol):
    """What a service needs of its database. All methods raise DatabaseProblem when it is away."""

    async def prepare(self) -> None:
        """Connect, and create the tables that are not there."""
        ...

    async def once(self, branch: BranchContext, business: Business, *, seconds: float) -> None:
        """Run the business once for this branch call, in one local transaction with its barrier.

        Whatever the business raises rolls both back and comes through. seconds: for all of it.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


def open_database(
    source: SqliteSource | MySqlSource, table: str, sql_folder: Path, watch: SqlWatch | None = None
) -> Database:
    """Return the database of a service, not connected yet. table: `user` or `user_score`.

    watch: told of what is asked.
    """
    watch = watch or unwatched(source)
    if isinstance(source, SqliteSource):
        return SqliteDatabase(source, table, sql_folder, watch)
    return MySqlDatabase(source, table, sql_folder, watch)


class SqliteDatabase:
    """One file, one connection, one transaction at a time: SQLite has one writer anyway."""

    def __init__(self, source: SqliteSource, table: str, sql_folder: Path, watch: SqlWatch) -> None:
        self._source = source
        self._watch = watch
        self._schema = [sql_folder / "barrier.sqlite.sql", sql_folder / f"{table}.sqlite.sql"]
        self._connection: aiosqlite.Connection | None = None
        self._turn = asyncio.Lock()

    async def prepare(self) -> None:
        """See Database."""
        async with self._turn:
            self._connection = await self._connected()

    async def once(self, branch: BranchContext, business: Business, *, seconds: float) -> None:
        """See Database."""
        async with _within(seconds, self._source), self._turn:
            connection = await self._connected()
            work = _sqlite_work(connection, self._watch)
            try:
                with self._watch.transaction():
                    await barrier(branch, connection).call(lambda _: business(work))
            except sqlite3.Error as error:
                raise DatabaseProblem(f"{self._source}: {error}", gid=branch.gid) from error

    async def close(self) -> None:
        """See Database."""
        async with self._turn:
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()

    async def _connected(self) -> aiosqlite.Connection:
        if self._connection is None:
            try:
                self._connection = await self._connect()
            except sqlite3.Error as error:
                raise DatabaseProblem(f"cannot open {self._source} and create its tables: {error}") from error
        return self._connection

    async def _connect(self) -> aiosqlite.Connection:
        if not self._source.path.parent.is_dir():
            raise DatabaseProblem(
                f"cannot open {self._source}: there is no folder {self._source.path.parent}"
            )
        async with AsyncExitStack() as on_error:
            connection = await aiosqlite.connect(self._source.path, timeout=CONNECT_SECONDS)
            on_error.push_async_callback(connection.close)
            # FULL: what is answered must survive a power cut, not only a crash of this process.
            await connection.execute("PRAGMA journal_mode=WAL")
            await connection.execute("PRAGMA synchronous=FULL")
            for file in self._schema:
                await connection.executescript(await read_schema(file))
            on_error.pop_all()
        return connection


class MySqlDatabase:
    """A pool of connections to a MySQL, MariaDB or TiDB server."""

    def __init__(self, source: MySqlSource, table: str, sql_folder: Path, watch: SqlWatch) -> None:
        self._source = source
        self._watch = watch
        self._tables = {
            "dtm_barrier.barrier": sql_folder / "barrier.mysql.sql",
            table: sql_folder / f"{table}.mysql.sql",
        }
        self._pool: aiomysql.Pool | None = None
        self._preparing = asyncio.Lock()

    async def prepare(self) -> None:
        """See Database."""
        async with _within(CONNECT_SECONDS, self._source):
            await self._prepared()

    async def once(self, branch: BranchContext, business: Business, *, seconds: float) -> None:
        """See Database."""
        async with _within(seconds, self._source), self._connection(branch.gid) as connection:
            work = _mysql_work(connection, self._watch)
            with self._watch.transaction():
                await barrier(branch, connection).call(lambda _: business(work))

    async def close(self) -> None:
        """See Database."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await _end_pool(pool)

    @asynccontextmanager
    async def _connection(self, gid: str) -> AsyncIterator[aiomysql.Connection]:
        """Lend a connection; the driver's errors become DatabaseProblem."""
        pool = await self._prepared()
        with self._problems(gid):
            async with pool.acquire() as connection:
                yield connection

    @contextmanager
    def _problems(self, gid: str = "") -> Iterator[None]:
        try:
            yield
        except (mysql_errors.Error, OSError) as error:
            raise DatabaseProblem(f"{self._source}: {_mysql_text(error)}", gid=gid) from error

    async def _prepared(self) -> aiomysql.Pool:
        """Return the pool, after the tables were looked for once."""
        async with self._preparing:
            if self._pool is None:
                with self._problems():
                    self._pool = await self._open_pool()
            return self._pool

    async def _open_pool(self) -> aiomysql.Pool:
        async with AsyncExitStack() as on_error:
            pool = await self._new_pool()
            on_error.push_async_callback(_end_pool, pool)
            async with pool.acquire() as connection:
                await self._create_missing(connection)
            on_error.pop_all()
        return pool

    async def _new_pool(self) -> aiomysql.Pool:
        source = self._source
        return await aiomysql.create_pool(
            host=source.host,
            port=source.port,
            unix_socket=source.socket or None,
            user=source.user,
            password=mysql_password(source.password),
            db=source.database,
            charset="utf8mb4",
            connect_timeout=CONNECT_SECONDS,
            minsize=0,
            maxsize=MYSQL_CONNECTIONS_MAX,
            # Rows are found by their primary key; gap locks would only make strangers wait for one another.
            init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        )

    async def _create_missing(self, connection: aiomysql.Connection) -> None:
        # Looked for before created: CREATE TABLE IF NOT EXISTS needs the right to create even for one that is
        # there.
        for table, file in self._tables.items():
            try:
                await connection.query(f"SELECT 1 FROM {table} LIMIT 0")  # noqa: S608 - our own names
            except (mysql_errors.ProgrammingError, mysql_errors.OperationalError) as error:
                if error.args[0] not in _MYSQL_MISSING:
                    raise
                await self._create(connection, table, file)

    async def _create(self, connection: aiomysql.Connection, table: str, file: Path) -> None:
        try:
            for statement in _statements(await read_schema(file)):
                await connection.query(statement)
        except mysql_errors.OperationalError as error:
            raise DatabaseProblem(
                f"{self._source}: table {table} is missing and cannot be created ({_mysql_text(error)}); "
                f"run {file.parent.name}/{file.name} as a user who may"
            ) from error


def _sqlite_work(connection: aiosqlite.Connection, watch: SqlWatch) -> Work:
    async def execute(sql: str, values: tuple[object, ...]) -> int:
        try:
            with watch.statement(sql):
                async with connection.execute(sql, values) as cursor:
                    return cursor.rowcount
        except sqlite3.IntegrityError as error:
            raise DuplicateKey(str(error)) from error

    return Work(execute)


def _mysql_work(connection: aiomysql.Connection, watch: SqlWatch) -> Work:
    async def execute(sql: str, values: tuple[object, ...]) -> int:
        async with connection.cursor() as cursor:
            try:
                with watch.statement(sql):
                    return int(await cursor.execute(sql.replace("?", "%s"), values))
            except mysql_errors.IntegrityError as error:
                raise DuplicateKey(_mysql_text(error)) from error

    return Work(execute)


@asynccontextmanager
async def _within(seconds: float, source: SqliteSource | MySqlSource) -> AsyncIterator[None]:
    """A deadline that ends in a sentence."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise DatabaseProblem(f"{source}: no answer within {seconds:.1f} s") from error


async def read_schema(file: Path) -> str:
    """Return the text of a schema file. Raises DatabaseProblem that says where it should be."""
    try:
        return await asyncio.to_thread(file.read_text, encoding="utf-8")
    except OSError as error:
        raise DatabaseProblem(
            f"schema file {file} cannot be read ({error.strerror}): "
            "set SqlFolder in the yaml to where the .sql files are"
        ) from error


def _statements(schema: str) -> list[str]:
    # Our own files: no `;` and no `--` inside of a string.
    without_comments = re.sub(r"--.*", "", schema)
    return [statement.strip() for statement in without_comments.split(";") if statement.strip()]


async def _end_pool(pool: aiomysql.Pool) -> None:
    pool.terminate()
    await pool.wait_closed()


def _mysql_text(error: BaseException) -> str:
    return str(error.args[-1]) if error.args else repr(error)
