"""How long a step may take, and how often it is done again before the coordinator has to call back (§7)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from coordinator.client.errors import Failure, InvalidUse, Mismatch
from coordinator.client.transport.checks import check_number, check_seconds, wrong

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a step whose result is not known is done at once, in this process (PROTOCOL §2, §7).

    attempts: calls in all. first_pause, longest_pause: seconds between two, doubled from the first to the
    longest. After the last one the workflow stays open, and the coordinator has it run again later. What said
    no is not asked again. Raises InvalidUse for what is none.
    """

    attempts: int = 3
    first_pause: float = 0.2
    longest_pause: float = 5.0

    def __post_init__(self) -> None:
        check_number("attempts", self.attempts)
        if self.attempts < 1:
            raise wrong("attempts", self.attempts, "give 1 or more")
        check_seconds("first_pause", self.first_pause)
        check_seconds("longest_pause", self.longest_pause)


ONCE = Retry(attempts=1)


async def within(seconds: float, retry: Retry | None, act: Callable[[], Awaitable[T]]) -> T:
    """Return what `act` returns; again, as `retry` allows, where that is not known. seconds: of each; 0: any.

    Raises what the last one raised, TimeoutError where it took too long.
    """
    if retry is None and not seconds:  # as most are
        return await act()
    retry = retry or ONCE
    pause = retry.first_pause
    for attempt in count(1):
        try:
            async with asyncio.timeout(seconds or None):
                return await act()
        except (Failure, InvalidUse, Mismatch):
            raise
        except Exception:
            if attempt >= retry.attempts:
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, retry.longest_pause)
    raise AssertionError("count has no end")


def check_timeout(seconds: object) -> None:
    """Raise InvalidUse for what is no time-out; 0 is none."""
    if seconds != 0:
        check_seconds("timeout", seconds)
