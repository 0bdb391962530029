"""Moments when the event loop has nothing else to do: what nobody waits for is done then, a little at a time.

What others wait for need not wait for it. It goes after little more than `SECONDS_MAX` at the latest, also
where the loop is never idle; and at once while many wait for such a moment already.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

TOGETHER_SECONDS: Final = 0.005  # in which others come: they share a commit
SECONDS_MAX: Final = 0.1
_FEW: Final = 8  # in one turn of the loop
WAITING_MAX: Final = 64  # each holds what it brings
_IDLE_SECONDS: Final = 0.0001  # a turn of the loop that found next to nothing to do


class Lull:
    """One per coordinator process. monotonic: seconds from an arbitrary start, finer than a millisecond."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._waiting: deque[tuple[asyncio.Future[None], float]] = deque()  # and since when
        self._asked = 0.0  # when the turn began that is measured

    async def come(self) -> None:
        """Wait for such a moment."""
        if len(self._waiting) >= WAITING_MAX:
            return
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_later(TOGETHER_SECONDS, self._measure, loop)
        turn = loop.create_future()
        self._waiting.append((turn, self._monotonic()))
        await turn

    def _measure(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asked = self._monotonic()
        loop.call_soon(self._measured, loop)

    def _measured(self, loop: asyncio.AbstractEventLoop) -> None:
        now = self._monotonic()
        left = _FEW if now - self._asked <= _IDLE_SECONDS else 0
        while self._waiting and (left > 0 or now - self._waiting[0][1] > SECONDS_MAX):
            turn, _ = self._waiting.popleft()
            left -= 1
            if not turn.done():
                turn.set_result(None)
        if self._waiting:
            self._measure(loop)
