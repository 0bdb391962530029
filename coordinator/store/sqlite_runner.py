"""How statements reach a SQLite file: one thread that writes, a few that read.

A batch is one hop to the writer's thread. The file is locked against a second process by an exclusive
transaction on an empty file beside it, `<path>.lock`: the operating system lets go of it when the process
ends, however it ends.
"""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from coordinator.errors import StartError
from coordinator.store.statements import Cursor

T = TypeVar("T")

MEMORY: Final = ":memory:"
_READERS: Final = 2
_BUSY_SECONDS: Final = 5.0  # for the lock of a tool that looks into the file, as `sqlite3 dtm.db`


def make_private(path: str) -> None:
    """Make the file, for its owner's eyes alone, unless it is there. Raises OSError.

    One that is there is not even opened: to close it would end the locks that this process has on it.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


class FileLock:
    """Keeps a second process, or a second store of this one, from the same file. Raises StartError."""

    def __init__(self, path: str) -> None:
        try:
            make_private(path)  # SQLite gives its companions, -wal and -shm, the same mode
            make_private(f"{path}.lock")
            self._connection = sqlite3.connect(
                f"{path}.lock", timeout=0, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("BEGIN EXCLUSIVE")
        except (sqlite3.OperationalError, OSError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise StartError(
                    f"another process has the SQLite file {path} open",
                    "stop it, or give this coordinator a file of its own with Store.Path",
                ) from error
            raise StartError(
                f"cannot open the SQLite file {path}: {getattr(error, 'strerror', None) or error}",
                "its folder must exist and be writable; see Store.Path",
            ) from error

    def release(self) -> None:
        """Let others have the file."""
        self._connection.close()


class SqliteRunner:
    """For SQLite. path: a file, made when absent, or `:memory:`, which has one connection for everything."""

    def __init__(self, path: str) -> None:
        self._lock = None if path == MEMORY else FileLock(path)
        url = URL.create("sqlite", database=None if path == MEMORY else path)
        self._writer_engine = _engine(url, "BEGIN IMMEDIATE", StaticPool)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._driver: sqlite3.Connection | None = None  # the writer's connection, once it is open
        self._reader_engine: Engine | None = None
        self._readers = self._writer
        if path != MEMORY:
            self._reader_engine = _engine(url, "BEGIN", QueuePool, pool_size=_READERS, max_overflow=0)
            self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="sqlite-reader")

    async def write(self, function: Callable[[Cursor], T], *, seconds: float) -> T:
        """See Runner."""
        return await self._in_thread(self._writer, partial(self._run_and_commit, function), seconds)

    def _run_and_commit(self, function: Callable[[Cursor], T]) -> T:
        driver = self._driver
        if driver is None:
            with self._writer_engine.connect() as connection:  # stays open: its pool keeps one connection
                driver = self._driver = cast(sqlite3.Connection, connection.connection.driver_connection)
        cursor = driver.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            result = function(cursor)
            driver.commit()
        finally:
            cursor.close()
            if driver.in_transaction:
                driver.rollback()
        return result

    async def transact(self, function: Callable[[Connection], T], *, seconds: float) -> T:
        """See Runner."""
        return await self._in_thread(self._writer, partial(_transact, self._writer_engine, function), seconds)

    async def read(self, function: Callable[[Connection], T], *, seconds: float) -> T:
        """See Runner."""
        engine = self._reader_engine or self._writer_engine
        return await self._in_thread(self._readers, partial(_read, engine, function), seconds)

    async def _in_thread(self, executor: ThreadPoolExecutor, function: Callable[[], T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.get_running_loop().run_in_executor(executor, function)
        except TimeoutError:
            if executor is self._writer and self._driver is not None:
                self._driver.interrupt()  # what comes next should not wait for it as well
            raise

    def connections(self) -> Mapping[str, float]:
        """See Runner. The writer's is always in use."""
        pool = self._reader_engine.pool if self._reader_engine is not None else None
        in_use = pool.checkedout() if isinstance(pool, QueuePool) else 0
        idle = pool.checkedin() if isinstance(pool, QueuePool) else 0
        return {"in_use": in_use + (self._driver is not None), "idle": idle}

    async def close(self) -> None:
        """See Runner."""
        loop = asyncio.get_running_loop()
        if self._reader_engine is not None:
            self._readers.shutdown(wait=False, cancel_futures=True)
            self._reader_engine.dispose()
        await loop.run_in_executor(self._writer, self._writer_engine.dispose)
        self._writer.shutdown(wait=False)
        if self._lock is not None:
            self._lock.release()


def _transact(engine: Engine, function: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return function(connection)


def _read(engine: Engine, function: Callable[[Connection], T]) -> T:
    with engine.connect() as connection:
        return function(connection)


def _engine(url: URL, begin: str, pool: type[StaticPool] | type[QueuePool], **pool_options: int) -> Engine:
    engine = create_engine(
        url,
        poolclass=pool,
        # No transactions begun by the driver: a SELECT alone would open none.
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": _BUSY_SECONDS},
        **pool_options,
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, record: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit is on disk before it is acknowledged

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
