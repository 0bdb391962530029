"""What nobody waits to drive is stored together: at most so long after the first, all that came."""

import asyncio
from typing import Final

SECONDS: Final = 0.005


class Together:
    """One moment for all who come within `seconds`, so that one commit takes them."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._waiting: list[asyncio.Future[None]] = []

    async def turn(self) -> None:
        """Wait for the next moment."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_later(self._seconds, self._come)
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _come(self) -> None:
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)
