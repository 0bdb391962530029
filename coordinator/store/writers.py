"""Who takes up what comes: a writer that has nothing to do, or one of those that are busy, afterwards.

Batches are larger where it is left to those that are busy, and cost less. Another helps where none is taken
for a while; and at once where all that are busy write at leisure, and what comes is pressing.
"""

import asyncio


class Writers:
    """Those of one store. patience: seconds without a batch taken, before another helps."""

    def __init__(self, count: int, patience: float, loop: asyncio.AbstractEventLoop) -> None:
        self._count = count
        self._patience = patience
        self._loop = loop
        self._idle: list[asyncio.Future[None]] = []  # one for each without work
        self._looking = count  # how many will look next at what waits
        self._pressed = 0  # how many write something pressing
        self._help: asyncio.TimerHandle | None = None

    @property
    def any_idle(self) -> bool:
        """Whether one has nothing to do."""
        return bool(self._idle)

    async def rest(self) -> None:
        """Wait to be called."""
        self._looking -= 1
        idle = self._loop.create_future()
        self._idle.append(idle)
        await idle

    def call(self, *, has_pressing: bool) -> None:
        """Somebody waits, perhaps for something pressing: one that is idle takes it now, or helps later."""
        if self._looking > 0:
            return
        if len(self._idle) == self._count or (has_pressing and not self._pressed):
            self._wake()
        elif self._help is None:
            self._help = self._loop.call_later(self._patience, self._wake_helper)

    def begins(self, *, is_pressing: bool) -> None:
        """One of them has taken a batch."""
        self._looking -= 1
        self._pressed += is_pressing
        self.stop_waiting()

    def ends(self, *, is_pressing: bool) -> None:
        """It has written it."""
        self._looking += 1
        self._pressed -= is_pressing

    def stop_waiting(self) -> None:
        """No other needs to help."""
        if self._help is not None:
            self._help.cancel()
            self._help = None

    def _wake_helper(self) -> None:
        self._help = None
        self._wake()

    def _wake(self) -> None:
        while self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
                self._looking += 1
                return
