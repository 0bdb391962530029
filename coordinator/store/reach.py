"""Waiting for a database server that is away when the coordinator starts, with a line that says so."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from coordinator.errors import StartError
from coordinator.store.faults import STORE_ERRORS, Fault, fault_of, reason_of
from coordinator.telemetry.log import log

_PAUSE_SECONDS: Final = 0.5  # between attempts to reach it
_TELL_SECONDS: Final = 5.0  # between lines that say so


async def wait_until_reached(
    connect: Callable[[], Awaitable[None]],
    *,
    where: str,
    seconds: float,
    cannot: Callable[[BaseException], NoReturn],
) -> None:
    """Return when `connect` does; tried again for `seconds` while the server is away.

    where: the server, for people. cannot: raises the StartError of any other error. Raises StartError.
    """
    give_up_at = time.monotonic() + seconds
    tell_at = time.monotonic()
    while True:
        try:
            await connect()
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
