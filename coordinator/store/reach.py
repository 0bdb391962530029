"""Reaching a database server at the start, whatever its make; a line says what is waited for, and why."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from coordinator.errors import StartError
from coordinator.store.faults import STORE_ERRORS, Fault, fault_of, reason_of
from coordinator.telemetry.log import log
from coordinator.tls import ClientTls

CONNECT_SECONDS: Final = 5
_PAUSE_SECONDS: Final = 0.5  # between attempts to reach it
_HINT: Final = "start the database, or correct Store.Host and Store.Port"
_TELL_SECONDS_FIRST: Final = 5.0  # until it is said once more that it is waited for; doubled each time

Is = Callable[[BaseException], bool]
Cannot = Callable[[BaseException], NoReturn]


def engine_of(
    url: URL,
    *,
    connections_max: int,
    idle_max: int,
    lifetime_seconds: float,
    tls: ClientTls | None,
    connect_args: dict[str, Any],
) -> AsyncEngine:
    """A pool of at most so many connections, of which `idle_max` are kept, 1 at least.

    lifetime_seconds: the age at which one is closed; `math.inf` for never. tls: None: not encrypted by us.
    """
    idle = max(min(connections_max, idle_max), 1)  # a pool_size of 0 would be none at all: no bound
    engine = create_async_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_size=idle,
        max_overflow=connections_max - idle,
        pool_recycle=-1 if math.isinf(lifetime_seconds) else max(int(lifetime_seconds), 1),
        connect_args=connect_args,
    )
    if tls is not None:

        def encrypt(_dialect: object, _record: object, _arguments: object, named: dict[str, Any]) -> None:
            named["ssl"] = tls.context()  # as its files are now

        event.listen(engine.sync_engine, "do_connect", encrypt)
    return engine


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
    patience = Patience(place_of(engine.url), seconds)
    while True:
        try:
            await _connect(engine, is_absent, create)
            return
        except STORE_ERRORS as error:
            if fault_of(error) is not Fault.AWAY:
                cannot(error)
            await patience.pause(error, reason_of(error))


class Patience:
    """Waiting for a store that is away, for so many seconds: said at once and with the reason, then rarely.

    where: the database, for people. hint: what to do when it does not come.
    """

    def __init__(self, where: str, seconds: float, *, hint: str = _HINT) -> None:
        self._where = where
        self._seconds = seconds
        self._hint = hint
        self._began_at = time.monotonic()
        self._tell_at = self._began_at
        self._tell_seconds = _TELL_SECONDS_FIRST

    async def pause(self, error: BaseException, reason: str) -> None:
        """Return when it is time to try again. Raises StartError once there has been time enough."""
        now = time.monotonic()
        if now - self._began_at >= self._seconds:
            raise StartError(
                f"the store {self._where} was not there within {self._seconds:g} s: {reason}",
                self._hint,
            ) from error
        if now >= self._tell_at:
            log.warning(
                "waiting for the store {}, for at most {:.0f} s more: {}",
                self._where,
                self._began_at + self._seconds - now,
                reason,
            )
            self._tell_at = now + self._tell_seconds
            self._tell_seconds *= 2
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
