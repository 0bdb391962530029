"""Room for what waits to be written: when there is none, callers wait for it, the first one first."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from coordinator.errors import Busy
from coordinator.store.waiting import WaitingLine


@dataclass(frozen=True, slots=True)
class Limits:
    """What is bounded in group commit."""

    writers: int = 2  # batches written at the same time
    batch_items_max: int = 256
    batch_bytes_max: int = 1_000_000
    queue_items_max: int = 10_000  # waiting, beside what is being written
    queue_bytes_max: int = 64_000_000


class Room:
    """Lets callers add to the line while it is within the limits."""

    def __init__(self, waiting: WaitingLine[Any, Any], limits: Limits) -> None:
        self._waiting = waiting
        self._limits = limits
        self._callers: deque[asyncio.Future[None]] = deque()
        self._open = False

    def is_free(self) -> bool:
        """Whether a caller may go on at once: there is room, and nobody who waited for it."""
        return not self._callers and self._has_room()

    async def wait(self, deadline: float) -> None:
        """Wait for room until the deadline, on the loop's clock; raises Busy then."""
        place = asyncio.get_running_loop().create_future()
        self._callers.append(place)
        try:
            async with asyncio.timeout_at(deadline):
                await place
        except TimeoutError:
            raise Busy(f"the store is busy: {len(self._waiting)} writes are waiting") from None
        finally:
            self.give()  # there may be more, or this one was not used after all

    def give(self) -> None:
        """Let the first caller go on, if there is room; it lets in the next."""
        while self._callers and (self._callers[0].done() or self._open or self._has_room()):
            place = self._callers.popleft()
            if not place.done():
                place.set_result(None)
                return

    def open_wide(self) -> None:
        """Let every caller go on, room or not: to be told that the store is closing."""
        self._open = True
        self.give()

    def _has_room(self) -> bool:
        limits = self._limits
        return len(self._waiting) < limits.queue_items_max and self._waiting.bytes < limits.queue_bytes_max
