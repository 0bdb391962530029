"""A local transaction that the database gave up, as after a deadlock, is done again from its start."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final, TypeVar

T = TypeVar("T")

Pause = Callable[[float], Awaitable[None]]  # of seconds

ATTEMPTS_MAX: Final = 6
FIRST_PAUSE_SECONDS: Final = 0.01  # doubled each time: a third of a second in all
_GIVEN_UP: Final = (1213,)  # MySQL's and MariaDB's deadlock, Galera's lost certification
_GIVEN_UP_STATES: Final = ("40P01", "40001")  # PostgreSQL's deadlock and serialization failure
_OF_DATABASES: Final = ("Error", "MySQLError", "PostgresError")  # Error is the root of DB-API's


async def pausing(seconds: float) -> None:
    """Wait in the event loop."""
    await asyncio.sleep(seconds)


async def pausing_in_thread(seconds: float) -> None:
    """Wait in the thread that runs this, which has no loop."""
    time.sleep(seconds)  # noqa: ASYNC251 - of blocking code


def is_given_up(error: BaseException) -> bool:
    """Whether the database has undone the whole transaction, so that doing it again may succeed."""
    for one in (error, getattr(error, "orig", None)):  # SQLAlchemy wraps what its driver raised
        if one is None or not any(base.__name__ in _OF_DATABASES for base in type(one).__mro__):
            continue
        state = getattr(one, "sqlstate", None) or getattr(one, "pgcode", None)
        number: Any = one.args[0] if one.args else None
        if state in _GIVEN_UP_STATES or number in _GIVEN_UP:
            return True
    return False


async def repeated(database: object, attempt: Callable[[], Awaitable[T]], pause: Pause) -> T:
    """Return what the attempt returns, a transaction from begin to end; make it again where it was given up.

    Not where the transaction was the caller's own: what was done in it before is lost as well, and only the
    caller can do that again.
    """
    for number in range(ATTEMPTS_MAX - 1):
        try:
            return await attempt()
        except Exception as error:
            if getattr(database, "joined", True) or not is_given_up(error):
                raise
        await pause(FIRST_PAUSE_SECONDS * 2**number * Random().uniform(0.5, 1.5))
    return await attempt()
