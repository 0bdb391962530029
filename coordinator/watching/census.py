"""What the store knows of unfinished transactions, asked from time to time for those who look at metrics."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from coordinator.clock import Clock
from coordinator.errors import DtmError
from coordinator.model import EPOCH, Status
from coordinator.store.base import Backlog
from coordinator.store.shared_table import CENSUS, Told

INTERVAL_SECONDS: Final = 10.0
BELIEVED_SECONDS: Final = 60.0  # after this an answer is too old to be shown
_ASK_SECONDS: Final = 10.0
_LEASE_SECONDS: Final = 25.0  # more than two beats
_SHARE: Final = 0.01  # of one core, of the database's
_PAUSE_SECONDS_MAX: Final = 300.0


class BacklogSource(Protocol):
    """Who can be asked."""

    async def backlog(self, *, now: datetime) -> Backlog:
        """See Store."""
        ...


class Shared(Protocol):
    """See coordinator.store.shared_table."""

    async def take(self, name: str, holder: str, *, seconds: float) -> bool:
        """Whether this coordinator counts."""
        ...

    async def tell(self, name: str, holder: str, value: Mapping[str, Any]) -> None:
        """Write what it has counted."""
        ...

    async def told(self, name: str) -> Told | None:
        """What was written last."""
        ...


class _Alone:
    """Nobody else counts, and nobody asks."""

    async def take(self, name: str, holder: str, *, seconds: float) -> bool:
        return True

    async def tell(self, name: str, holder: str, value: Mapping[str, Any]) -> None:
        return None

    async def told(self, name: str) -> Told | None:
        return None


class Census:
    """One coordinator counts for all, and less often where that takes long.

    The last answer is kept, for a while; a figure that is not known, or not any more, is None.
    """

    def __init__(
        self, store: BacklogSource, clock: Clock, shared: Shared | None = None, holder: str = ""
    ) -> None:
        """shared: where those who share the store tell each other. holder: names this coordinator."""
        self._store = store
        self._clock = clock
        self._shared: Shared = shared if shared is not None else _Alone()
        self._holder = holder
        self._not_before = 0.0
        self._pause = 0.0
        self._latest: Backlog | None = None
        self._asked_at = 0.0

    async def ask(self) -> None:
        """Ask once, if it is time. A store that is away is asked the next time."""
        if self._clock.monotonic() < self._not_before:
            return
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                await self._ask()
        except (DtmError, TimeoutError):
            return  # readiness says that the store is away

    async def _ask(self) -> None:
        """Count, or take what another has counted."""
        told = await self._shared.told(CENSUS)
        if told is not None and self._believe(told) and told.age.total_seconds() < self._fresh_seconds:
            return
        if not await self._shared.take(CENSUS, self._holder, seconds=_LEASE_SECONDS):
            return
        began = self._clock.monotonic()
        latest = await self._store.backlog(now=self._clock.now())
        asked_at = self._clock.monotonic()
        # So that it takes a hundredth of one core at most; the beat adds its own pause.
        pause = min((asked_at - began) / _SHARE, _PAUSE_SECONDS_MAX)
        self._latest, self._asked_at, self._pause = latest, asked_at, pause
        self._not_before = began + pause
        await self._shared.tell(CENSUS, self._holder, _as_value(latest, pause))

    def _believe(self, told: Told) -> bool:
        """Take what another coordinator has counted; False where nobody can tell what it is."""
        found = _backlog_of(told.value)
        if found is None:
            return False
        self._latest, self._pause = found
        self._asked_at = self._clock.monotonic() - told.age.total_seconds()
        return True

    @property
    def _fresh_seconds(self) -> float:
        """For which nobody counts again."""
        return max(INTERVAL_SECONDS - 1.0, self._pause)  # the column has whole seconds

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
        believed = max(BELIEVED_SECONDS, 3 * self._pause)
        old = self._clock.monotonic() - self._asked_at > believed
        return None if old else self._latest

    def _since(self, moment: datetime | None) -> float:
        return 0.0 if moment is None else max((self._clock.now() - moment).total_seconds(), 0.0)


def _as_value(backlog: Backlog, pause: float) -> Mapping[str, Any]:
    return {
        "by_status": {status.value: count for status, count in backlog.by_status.items()},
        "due": backlog.due,
        "oldest_due": _seconds(backlog.oldest_due),
        "oldest_created": _seconds(backlog.oldest_created),
        "pause": pause,
    }


def _backlog_of(value: Mapping[str, Any]) -> tuple[Backlog, float] | None:
    """None for what another version may have written."""
    try:
        by_status = {Status(name): int(count) for name, count in value["by_status"].items()}
        oldest_due, oldest_created = _moment(value["oldest_due"]), _moment(value["oldest_created"])
        found = Backlog(by_status, int(value["due"]), oldest_due, oldest_created)
        return found, float(value["pause"])
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        return None


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else EPOCH + timedelta(seconds=seconds)
