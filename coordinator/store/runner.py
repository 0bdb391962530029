"""How statements reach a database server: connections and transactions; no SQL of ours.

A runner takes plain synchronous functions. `write` is the hot path: a cursor of the driver on a connection
that writers keep for themselves, committed when the function returns. `transact` and `read` lend a SQLAlchemy
connection.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any, Final, Protocol, TypeVar, cast

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import QueuePool

from coordinator.deadlines import Deadlines
from coordinator.errors import StoreUnavailable
from coordinator.store.faults import STORE_ERRORS, Fault, fault_of, is_full, reason_of, refusal
from coordinator.store.packet import Packet
from coordinator.store.statements import Cursor

T = TypeVar("T")

_FULL_PAUSE_SECONDS: Final = 0.2  # between attempts at a server that takes no further connection
_ATTEMPTS: Final = 3
_SECONDS_MAX: Final = 10.0  # after this a database counts as frozen


class Runner(Protocol):
    """Runs functions inside transactions. Raises faults.STORE_ERRORS, TimeoutError after `seconds`."""

    async def write(self, function: Callable[[Cursor], T], *, seconds: float) -> T:
        """Run the function on a writer's cursor and commit."""
        ...

    async def write_at_once(self, send: Callable[[Any], Awaitable[bool]], *, seconds: float) -> bool:
        """Let it send, which commits or writes nothing, on a writer's connection of the driver."""
        ...

    async def transact(self, function: Callable[[Connection], T], *, seconds: float) -> T:
        """Run the function in a transaction that may write, and commit."""
        ...

    async def read(
        self, function: Callable[[Connection], T], *, seconds: float, at_leisure: bool = False
    ) -> T:
        """Run the function on one consistent view; what it writes is lost.

        at_leisure: for people, and perhaps long; however many there are, other reads go on. One that is given
        up ends in the database as well, soon afterwards.
        """
        ...

    def connections(self) -> Mapping[str, float]:
        """How many connections are `in_use` and `idle`."""
        ...

    async def close(self) -> None:
        """Close every connection; nothing may be running."""
        ...


class AsyncRunner:
    """For a database server, through an asyncio driver; made inside a running loop.

    lifetime_seconds: a writer's connection of this age is closed and another opened; `math.inf` for never.
    cut: closes the socket of a driver's connection without waiting for the server. at_leisure_max: reads at
    leisure that run at once.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        lifetime_seconds: float,
        cut: Callable[[Any], None],
        at_leisure_max: int,
    ) -> None:
        self._engine = engine
        self.packets = False  # whether a batch is written in one packet with its commit
        self._at_leisure = asyncio.Semaphore(at_leisure_max)
        self._cut = cut
        self._lifetime_seconds = lifetime_seconds
        self._idle: list[tuple[AsyncConnection, float]] = []  # writers', with the time they were opened
        self._deadlines = Deadlines()  # of batches
        self._given_back = asyncio.Event()  # set whenever a connection may be free again

    async def write(self, function: Callable[[Cursor], T], *, seconds: float) -> T:
        """See Runner."""
        return await self._on_writer(lambda it: it.run_sync(_run_and_commit, function, self.packets), seconds)

    async def write_at_once(self, send: Callable[[Any], Awaitable[bool]], *, seconds: float) -> bool:
        """See Runner."""
        return await self._on_writer(lambda it: send(_drivers_own(it)), seconds)

    async def _on_writer(self, run: Callable[[AsyncConnection], Awaitable[T]], seconds: float) -> T:
        """Run it on a writer's connection; after an error nothing of what was written there stands."""
        with self._deadlines.within(seconds):
            connection, opened_at = await self._writer_connection()
            usable = False
            try:
                done = await _saying_lost(run(connection))
                usable = True
                return done
            except STORE_ERRORS as error:
                # InnoDB undoes only the statement that waited too long for a lock: the rest must be rolled
                # back.
                usable = fault_of(error) is not Fault.AWAY and await _roll_back(connection)
                raise
            finally:
                if usable:
                    self._idle.append((connection, opened_at))
                else:
                    await self._throw_away(connection)
                self._given_back.set()

    async def _writer_connection(self) -> tuple[AsyncConnection, float]:
        now = time.monotonic()
        while self._idle:
            connection, opened_at = self._idle.pop()
            if now - opened_at < self._lifetime_seconds:
                return connection, opened_at
            await self._throw_away(connection)
        return await self._connected(lambda: self._engine.connect().start()), now

    async def _connected(self, connect: Callable[[], Awaitable[AsyncConnection]]) -> AsyncConnection:
        """A connection of the pool. Where the server takes no further one, one of ours is waited for."""
        while True:
            try:
                return await connect()
            except STORE_ERRORS as error:
                if not is_full(error):
                    raise
            if self._idle:  # a writer's, of which the pool does not know that nobody uses it
                connection, _ = self._idle.pop()
                await connection.close()
                continue
            self._given_back.clear()
            with contextlib.suppress(TimeoutError):  # or another program has left, which no event tells
                await asyncio.wait_for(self._given_back.wait(), _FULL_PAUSE_SECONDS)

    @contextlib.asynccontextmanager
    async def _lent(self, seconds: float) -> AsyncIterator[AsyncConnection]:
        async with asyncio.timeout(seconds), contextlib.AsyncExitStack() as stack:
            stack.callback(self._given_back.set)
            yield await self._connected(lambda: stack.enter_async_context(self._engine.connect()))

    async def _throw_away(self, connection: AsyncConnection) -> None:
        """Close the socket first: a frozen server must not be waited for to say goodbye."""
        try:
            pooled = await connection.get_raw_connection()
            if pooled.driver_connection is not None:
                self._cut(pooled.driver_connection)
            await connection.invalidate()
            await connection.close()
        except STORE_ERRORS:
            return  # it was lost already

    async def transact(self, function: Callable[[Connection], T], *, seconds: float) -> T:
        """See Runner."""
        async with self._lent(seconds) as connection, connection.begin():
            return await _saying_lost(connection.run_sync(function))

    async def read(
        self, function: Callable[[Connection], T], *, seconds: float, at_leisure: bool = False
    ) -> T:
        """See Runner."""
        async with contextlib.AsyncExitStack() as stack:
            if at_leisure:
                started = time.monotonic()
                async with asyncio.timeout(seconds):
                    await stack.enter_async_context(self._at_leisure)
                seconds -= time.monotonic() - started
            connection = await stack.enter_async_context(self._lent(seconds))
            return await _saying_lost(connection.run_sync(function))

    def connections(self) -> Mapping[str, float]:
        """See Runner."""
        pool = cast(QueuePool, self._engine.pool)
        idle = len(self._idle)
        return {"in_use": pool.checkedout() - idle, "idle": pool.checkedin() + idle}

    async def close(self) -> None:
        """See Runner."""
        while self._idle:
            connection, _ = self._idle.pop()
            await self._throw_away(connection)
        await self._engine.dispose()


def _drivers_own(connection: AsyncConnection) -> Any:
    assert connection.sync_connection is not None, "it is open"
    return connection.sync_connection.connection.driver_connection


async def _saying_lost(running: Awaitable[T]) -> T:
    try:
        return await running
    except RuntimeError as error:  # so uvloop calls writing to a connection that was closed meanwhile
        raise ConnectionError(f"the connection was lost: {error}") from error


def _run_and_commit(connection: Connection, function: Callable[[Cursor], T], packets: bool) -> T:
    driver_connection = connection.connection.dbapi_connection
    assert driver_connection is not None
    cursor = driver_connection.cursor()
    packet = Packet(cursor) if packets else None
    try:
        result = function(cast(Cursor, packet or cursor))
        if packet is not None:
            packet.commit()
    finally:
        cursor.close()
    if packet is None:
        driver_connection.commit()
    return result


async def _roll_back(connection: AsyncConnection) -> bool:
    """Return whether the connection can be used again."""
    try:
        await connection.run_sync(lambda it: it.connection.rollback())
    except STORE_ERRORS:
        return False
    return True


class _Run(Protocol):
    def __call__(self, function: Callable[[Connection], T], *, seconds: float) -> Awaitable[T]: ...


async def attempted(run: _Run, function: Callable[[Connection], T], *, again_after: Collection[Fault]) -> T:
    """Run the function in a single transaction; again, a few times, after one of these faults.

    Raises StoreUnavailable, or what a refused value deserves.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await run(function, seconds=_SECONDS_MAX)
        except STORE_ERRORS as error:
            if not isinstance(error, TimeoutError) and fault_of(error) is Fault.REFUSED:
                raise refusal(error) from error
            in_vain = isinstance(error, TimeoutError) or fault_of(error) not in again_after
            if in_vain or attempt == _ATTEMPTS:
                raise StoreUnavailable(f"the store is not available: {reason_of(error)}") from error
    raise AssertionError("the last attempt returns or raises")
