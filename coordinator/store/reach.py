"""Reaching a database server at the start, whatever its make; a line says what is waited for."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

from sqlalchemy import URL, Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from coordinator.errors import StartError
from coordinator.store.faults import STORE_ERRORS, Fault, fault_of, reason_of
from coordinator.telemetry.log import log

CONNECT_SECONDS: Final = 5
_IDLE_CONNECTIONS_MAX: Final = 10
_PAUSE_SECONDS: Final = 0.5  # between attempts to reach it
_TELL_SECONDS: Final = 5.0  # between lines that say so

Is = Callable[[BaseException], bool]
Cannot = Callable[[BaseException], NoReturn]


def engine_of(
    url: URL, *, connections_max: int, lifetime_seconds: float, connect_args: dict[str, Any]
) -> AsyncEngine:
    """A pool of at most so many connections, of which few are kept; one is closed at that age (0: never)."""
    idle = min(connections_max, _IDLE_CONNECTIONS_MAX)
    return create_async_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_size=idle,
        max_overflow=connections_max - idle,
        pool_recycle=max(int(lifetime_seconds), 1) if lifetime_seconds > 0 else -1,
        connect_args=connect_args,
    )


def place_of(url: URL) -> str:
    """The database, for people."""
    return f"{url.username}@{url.host}:{url.port}/{url.database}"


async def wait_until_reached(
    engine: AsyncEngine,
    *,
    seconds: float,
    is_absent: Is,
    create: Callable[[], Awaitable[None]],
    cannot: Cannot,
) -> None:
    """Return when the database answers; tried again for `seconds` while the server is away.

    is_absent: whether an error says that the server has no such database; then `create` makes it. cannot:
    raises the StartError of any other error. Raises StartError.
    """
    where = place_of(engine.url)
    give_up_at = time.monotonic() + seconds
    tell_at = time.monotonic()
    while True:
        try:
            await _connect(engine, is_absent, create)
            return
        except STORE_ERRORS as error:
            if fault_of(error) is not Fault.AWAY:
                cannot(error)
            now = time.monotonic()
            if now >= give_up_at:
                raise StartError(
                    f"the store {where} was not there within {seconds:g} s: {reason_of(error)}",
                    "start the database, or correct Store.Host and Store.Port",
                ) from error
            if now >= tell_at:
                log.info("waiting for the store {}: {}", where, reason_of(error))
                tell_at = now + _TELL_SECONDS
        await asyncio.sleep(_PAUSE_SECONDS)


async def _connect(engine: AsyncEngine, is_absent: Is, create: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(CONNECT_SECONDS), engine.connect():
            return
    except STORE_ERRORS as error:
        if not is_absent(error):
            raise
    await create()


async def set_up(
    engine: AsyncEngine,
    function: Callable[[Connection], None],
    *,
    seconds: float,
    exists_already: Is,
    cannot: Cannot,
) -> None:
    """Run the function, which makes tables; once more when another coordinator made some meanwhile.

    exists_already: whether an error says so. Raises StartError.
    """
    for last in (False, True):
        try:
            async with asyncio.timeout(seconds), engine.begin() as connection:
                await connection.run_sync(function)
            return
        except STORE_ERRORS as error:
            if last or not exists_already(error):
                cannot(error)
