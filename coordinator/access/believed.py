"""What was read from the store, believed for seconds: asked again and again, read seldom."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

from coordinator.errors import StoreUnavailable

T = TypeVar("T")

BELIEVED_SECONDS: Final = 5.0  # what was read; so long may go on what was ended
PAUSE_SECONDS: Final = 0.2  # at least, between two reads for what is not known

Sleep = Callable[[float], Awaitable[None]]


class Believed(Generic[T]):
    """Reads, and remembers what came of it. value: that. trouble: why the last read failed, or nothing.

    read: raises StoreUnavailable. monotonic: seconds. sleep: for so many.
    """

    def __init__(
        self, read: Callable[[], Awaitable[T]], nothing: T, monotonic: Callable[[], float], sleep: Sleep
    ) -> None:
        self.value = nothing
        self.trouble = ""
        self._ask = read
        self._monotonic = monotonic
        self._sleep = sleep
        self._read_at = self._tried_at = -BELIEVED_SECONDS
        self._changes = self._changes_read = 0
        self._reading = asyncio.Lock()

    @property
    def stands(self) -> bool:
        """Whether `value` is new enough."""
        is_since_change = self._changes_read == self._changes
        return is_since_change and self._monotonic() - self._read_at < BELIEVED_SECONDS

    async def renew(self, what: str) -> None:
        """Read once more, unless that was begun since; all who ask meanwhile share one read.

        what: for people. Raises StoreUnavailable where nothing that can be believed was read.
        """
        asked = self._monotonic()
        async with self._reading:
            if self._tried_at < asked:
                await self._sleep(max(0.0, self._tried_at + PAUSE_SECONDS - self._monotonic()))
                with suppress(StoreUnavailable):  # whose words are not for everybody
                    await self._read()
        if not self.stands:
            raise StoreUnavailable(f"{what} cannot be looked up just now: /api/ready says why")

    async def read(self) -> None:
        """Read now. Raises StoreUnavailable."""
        async with self._reading:
            await self._read()

    def has_changed(self) -> None:
        """Believe nothing of which the reading has begun before now."""
        self._changes += 1
        self._tried_at = -BELIEVED_SECONDS

    async def _read(self) -> None:
        began, changes = self._monotonic(), self._changes
        try:
            value = await self._ask()
        except StoreUnavailable as error:
            self._tried_at = self._monotonic()  # whoever waited for this need not try again
            self.trouble = error.message
            raise
        self.trouble, self.value = "", value
        self._read_at, self._changes_read = began, changes
        self._tried_at = max(self._tried_at, began) if changes == self._changes else self._tried_at
