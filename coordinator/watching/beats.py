"""Loops that outlive whatever goes wrong in one of their beats."""

import asyncio
from collections.abc import Awaitable, Callable

from coordinator.telemetry.log import log

Tell = Callable[[str, str], None]  # part, problem; see Readiness.set


async def repeat(beat: Callable[[], Awaitable[None]], part: str, *, seconds: float, tell: Tell) -> None:
    """Run the beat, then again and again `seconds` after its end, until cancelled.

    What it raises is logged, when it is not what it raised the last time, and told as a problem of the part
    until a beat succeeds.
    """
    said = ""
    while True:
        try:
            await beat()
            said = ""
            tell(part, "")
        except Exception as error:  # noqa: BLE001 - whatever it is, without the next beat all would be blind
            problem = f"failed, and is tried again: {error!r}"
            tell(part, problem)
            if problem != said:
                log.error("{} failed; it is tried again in {:g} s", part, seconds, exception=error)
                said = problem
        await asyncio.sleep(seconds)
