"""How statements reach a SQLite file: one thread that writes, a few that read, others that read for people.

A batch is one hop to the writer's thread. The file is locked against a second process by an exclusive
transaction on an empty file beside it, `<path>.lock`: the operating system lets go of it when the process
ends, however it ends. No transaction succeeds once the file is not the one that was opened (sqlite_files).
"""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from coordinator.store.one_thread import OneThread
from coordinator.store.sqlite_files import NoFiles, SqliteFiles, make_private, uri_of
from coordinator.store.statements import Cursor

T = TypeVar("T")
_Threads = OneThread | ThreadPoolExecutor

MEMORY: Final = ":memory:"
# One text that is not UTF-8 would fail every statement that meets its row.
_LENIENT: Final = partial(str, encoding="utf-8", errors="replace")
_READERS: Final = 3
_READERS_AT_LEISURE: Final = 2
_LOOK_EVERY: Final = 500_000  # steps of SQLite's machine, some 20 ms, between two looks whether to go on
_BUSY_SECONDS: Final = 5.0  # for the lock of a tool that looks into the file, as `sqlite3 dtm.db`


class SqliteRunner:
    """For SQLite. path: a file, made when absent, or `:memory:`, which has one connection for everything.

    beside: without locking the file, beside the coordinator that may have it; for a moment's work.
    """

    def __init__(self, path: str, *, beside: bool = False) -> None:
        if beside:
            make_private(path)
        self._files = NoFiles() if beside or path == MEMORY else SqliteFiles(path)
        connect = partial(_connect, path, self._files)
        self._writer_engine = _engine(connect, "BEGIN IMMEDIATE", StaticPool)
        self._writer = OneThread("sqlite-writer")
        self._driver: sqlite3.Connection | None = None  # the writer's connection, once it is open
        self._reader_engine: Engine | None = None
        self._readers: _Threads = self._writer
        self._readers_at_leisure: _Threads = self._writer
        if path != MEMORY:
            size = _READERS + _READERS_AT_LEISURE
            self._reader_engine = _engine(connect, "BEGIN", QueuePool, pool_size=size, max_overflow=0)
            self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="sqlite-reader")
            self._readers_at_leisure = ThreadPoolExecutor(
                _READERS_AT_LEISURE, thread_name_prefix="sqlite-leisure"
            )

    async def write(self, function: Callable[[Cursor], T], *, seconds: float) -> T:
        """See Runner."""
        try:
            result = await self._in_thread(self._writer, partial(self._run_and_commit, function), seconds)
        except sqlite3.Error:
            self._files.look()  # which may be why
            raise
        # Only what is in a file that others can open is acknowledged. Here, since in the writer's thread each
        # look would wait until the busy loop lets the interpreter go.
        self._files.look()
        return result

    def _run_and_commit(self, function: Callable[[Cursor], T]) -> T:
        driver = self._driver
        if driver is None:
            with self._writer_engine.connect() as connection:  # stays open: its pool keeps one connection
                driver = self._driver = cast(sqlite3.Connection, connection.connection.driver_connection)
        if self._files.are_replaced:
            self._files.look()  # before another commit that counts for nothing
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

    async def write_at_once(self, send: Callable[[Any], Awaitable[bool]], *, seconds: float) -> bool:
        """Nobody asks for it: a look costs no round trip here."""
        raise NotImplementedError

    async def transact(self, function: Callable[[Connection], T], *, seconds: float) -> T:
        """See Runner."""
        return await self._in_thread(self._writer, partial(self._run_transaction, function), seconds)

    def _run_transaction(self, function: Callable[[Connection], T]) -> T:
        try:
            with self._writer_engine.begin() as connection:
                return function(connection)
        finally:
            self._files.look()

    async def read(
        self, function: Callable[[Connection], T], *, seconds: float, at_leisure: bool = False
    ) -> T:
        """See Runner."""
        readers = self._readers_at_leisure if at_leisure else self._readers
        is_over = threading.Event()
        try:
            return await self._in_thread(readers, partial(self._run_reading, function, is_over), seconds)
        finally:
            is_over.set()

    def _run_reading(self, function: Callable[[Connection], T], is_over: threading.Event) -> T:
        try:
            with (self._reader_engine or self._writer_engine).connect() as connection:
                driver = cast(sqlite3.Connection, connection.connection.driver_connection)
                driver.set_progress_handler(is_over.is_set, _LOOK_EVERY)
                try:
                    return function(connection)
                finally:
                    driver.set_progress_handler(None, 0)
        finally:
            self._files.look()  # also where it failed: a new connection has another file, without tables

    async def _in_thread(self, threads: _Threads, function: Callable[[], T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                if isinstance(threads, OneThread):
                    return await threads.run(function)
                return await asyncio.get_running_loop().run_in_executor(threads, function)
        except TimeoutError:
            if threads is self._writer and self._driver is not None:
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
        for readers in (self._readers, self._readers_at_leisure):
            if isinstance(readers, ThreadPoolExecutor):
                readers.shutdown(wait=False, cancel_futures=True)
        if self._reader_engine is not None:
            self._reader_engine.dispose()
        await self._writer.run(self._writer_engine.dispose)
        self._writer.close()
        self._files.release()


def _connect(path: str, files: SqliteFiles | NoFiles) -> sqlite3.Connection:
    """Open the file that the store has, and no other: a new one would take the other's log from its place."""
    files.look()
    name = path if path == MEMORY else uri_of(path)
    # No transactions begun by the driver: a SELECT alone would open none.
    connection = sqlite3.connect(
        name, uri=path != MEMORY, check_same_thread=False, isolation_level=None, timeout=_BUSY_SECONDS
    )
    try:
        files.look()  # of the file nothing has been read
        connection.text_factory = _LENIENT
        # Of a file that has no tables yet; of another it is what a VACUUM would make of it.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit is on disk before it is acknowledged
    except BaseException:
        connection.close()
        raise
    return connection


def _engine(
    connect: Callable[[], sqlite3.Connection],
    begin: str,
    pool: type[StaticPool] | type[QueuePool],
    **pool_options: int,
) -> Engine:
    engine = create_engine("sqlite://", creator=connect, poolclass=pool, **pool_options)

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
