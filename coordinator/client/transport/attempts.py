"""How long one operation goes on asking a coordinator that does not answer."""

import asyncio
import random
from typing import Final

from coordinator.client.transport.base import ConnectionProblem

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 1.0
LEAST_SECONDS: Final = 0.001  # for an attempt right at the deadline
_WORTH_SECONDS: Final = 0.05  # what must be left for another attempt: an earlier one has more to say


class Attempts:
    """The bound of one operation: how long is left, how long to pause, and whether anything was ever sent."""

    def __init__(self, seconds: float, source: random.Random) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + seconds
        self._random = source
        self._pause = FIRST_PAUSE_SECONDS
        self.anything_sent = False

    def seconds_left(self) -> float:
        """Seconds until the deadline; right at it still a moment, never negative."""
        return max(self._deadline - self._loop.time(), LEAST_SECONDS)

    async def pause_after(self, problem: ConnectionProblem) -> bool:
        """Wait before the next attempt; False when there is no time for one."""
        self.anything_sent = self.anything_sent or problem.sent
        pause = self._pause * self._random.uniform(0.5, 1.0)
        if self._loop.time() + pause + _WORTH_SECONDS >= self._deadline:
            return False
        await asyncio.sleep(pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return True
