"""What the store knows of unfinished transactions, asked from time to time for those who look at metrics."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Protocol

from coordinator.clock import Clock
from coordinator.errors import DtmError
from coordinator.store.base import Backlog

INTERVAL_SECONDS: Final = 10.0
BELIEVED_SECONDS: Final = 60.0  # after this an answer is too old to be shown
_ASK_SECONDS: Final = 10.0


class BacklogSource(Protocol):
    """Who can be asked."""

    async def backlog(self, *, now: datetime) -> Backlog:
        """See Store."""
        ...


class Census:
    """Keeps the last answer, for a while; a figure that is not known, or not any more, is None."""

    def __init__(self, store: BacklogSource, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._latest: Backlog | None = None
        self._asked_at = 0.0

    async def ask(self) -> None:
        """Ask once. A store that is away is asked the next time."""
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                latest = await self._store.backlog(now=self._clock.now())
        except (DtmError, TimeoutError):
            return  # readiness says that the store is away
        self._latest, self._asked_at = latest, self._clock.monotonic()

    def by_status(self) -> Mapping[str, float] | None:
        """How many unfinished transactions, by status."""
        backlog = self._believed()
        return None if backlog is None else {status.value: n for status, n in backlog.by_status.items()}

    def due(self) -> float | None:
        """How many are due and claimed by nobody."""
        backlog = self._believed()
        return None if backlog is None else backlog.due

    def oldest_seconds(self) -> float | None:
        """Age of the oldest that somebody should be driving; 0 when there is none."""
        backlog = self._believed()
        return None if backlog is None else self._since(backlog.oldest_created)

    def lag_seconds(self) -> float | None:
        """How long the one that is due longest has been due; 0 when there is none."""
        backlog = self._believed()
        return None if backlog is None else self._since(backlog.oldest_due)

    def _believed(self) -> Backlog | None:
        old = self._clock.monotonic() - self._asked_at > BELIEVED_SECONDS
        return None if old else self._latest

    def _since(self, moment: datetime | None) -> float:
        return 0.0 if moment is None else max((self._clock.now() - moment).total_seconds(), 0.0)
