"""Whether this coordinator can take work, and what it takes from the database's clock."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from coordinator.clock import SystemClock
from coordinator.errors import StoreUnavailable
from coordinator.telemetry.log import log

SKEW_SECONDS_MAX = 3.0  # between the database's clock and this machine's, before people are told
PULSE_SECONDS = 2.0
_PULSE_TIMEOUT_SECONDS = 5.0


class Readiness:
    """Collects what keeps the coordinator from being ready, part by part."""

    def __init__(self) -> None:
        self._problems: dict[str, str] = {"recovery": "not started yet"}
        self._probes: dict[str, Callable[[], str]] = {}
        self._remarks: dict[str, Callable[[], str]] = {}

    def watch(self, part: str, problem: Callable[[], str]) -> None:
        """Ask `problem` each time; an empty text means the part is well."""
        self._problems.pop(part, None)
        self._probes[part] = problem

    def note(self, part: str, remark: Callable[[], str]) -> None:
        """Ask `remark` each time; what it says is for people, and keeps nothing from being ready."""
        self._remarks[part] = remark

    def remarks(self) -> Mapping[str, str]:
        """What people should know although the coordinator may be ready."""
        return {part: text for part, remark in self._remarks.items() if (text := remark())}

    def set(self, part: str, problem: str) -> None:
        """Note a part's problem; an empty text takes it back."""
        if problem:
            self._problems[part] = problem
        else:
            self._problems.pop(part, None)

    def problems(self) -> Mapping[str, str]:
        """What is not ready and why; empty when all is."""
        found = {part: text for part, probe in self._probes.items() if (text := probe())}
        return {**found, **self._problems}


class Watched(Protocol):
    """What is asked of the store."""

    async def utc_now(self) -> datetime:
        """See Store."""
        ...


class StoreWatch:
    """Asks the store for its time: is it there, and do the clocks agree?

    own_clock: the store has no clock but ours (SQLite), so there is nothing to follow.
    """

    def __init__(self, store: Watched, clock: SystemClock, readiness: Readiness, *, own_clock: bool) -> None:
        self._store = store
        self._clock = clock
        self._readiness = readiness
        self._own_clock = own_clock
        self._is_skewed = False

    async def follow(self) -> None:
        """Set the clock by the store's. Raises StoreUnavailable, TimeoutError."""
        async with asyncio.timeout(_PULSE_TIMEOUT_SECONDS):
            before = self._clock.monotonic()
            now = await self._store.utc_now()
            # Half of the round trip is over when the database looks.
            middle = (before + self._clock.monotonic()) / 2
        if not self._own_clock:
            self._clock.synchronise(now, middle)
        self._judge((now - datetime.now(UTC)).total_seconds())

    async def beat(self) -> None:
        """Do so, and say whether the store is there."""
        try:
            await self.follow()
            self._readiness.set("store", "")
        except (StoreUnavailable, TimeoutError) as error:
            self._readiness.set("store", str(error) or "does not answer")

    def _judge(self, skew: float) -> None:
        skewed = abs(skew) > SKEW_SECONDS_MAX
        text = f"the database's clock is {skew:+.1f} s from this machine's; the database's is followed"
        self._readiness.set("clock", text if skewed else "")
        if skewed and not self._is_skewed:
            log.warning("{}: set both by NTP", text)
        self._is_skewed = skewed
