"""What nobody waits to drive is stored together: at most so long after the first, all that came."""

import asyncio
from typing import Final

SECONDS: Final = 0.005


class Together:
    """One moment for all who come within `seconds`, so that one commit takes them."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._next: asyncio.Event | None = None

    async def turn(self) -> None:
        """Wait for the next moment."""
        if self._next is None:
            self._next = asyncio.Event()
            asyncio.get_running_loop().call_later(self._seconds, self._come)
        await self._next.wait()

    def _come(self) -> None:
        event, self._next = self._next, None
        assert event is not None, "somebody waits"
        event.set()
