"""Whether this coordinator can take work, and what it takes from the database's clock."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from coordinator.clock import SystemClock
from coordinator.errors import StoreUnavailable
from coordinator.store.base import Store
from coordinator.telemetry.log import log

SKEW_SECONDS_MAX = 3.0  # between the database's clock and this machine's, before people are told
_PULSE_SECONDS = 2.0
_PULSE_TIMEOUT_SECONDS = 5.0


class Readiness:
    """Collects what keeps the coordinator from being ready, part by part."""

    def __init__(self) -> None:
        self._problems: dict[str, str] = {"recovery": "not started yet"}
        self._probes: dict[str, Callable[[], str]] = {}

    def watch(self, part: str, problem: Callable[[], str]) -> None:
        """Ask `problem` each time; an empty text means the part is well."""
        self._problems.pop(part, None)
        self._probes[part] = problem

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


async def watch_store(store: Store, clock: SystemClock, readiness: Readiness, *, own_clock: bool) -> None:
    """Ask the store for its time every two seconds, until cancelled: is it there, and do the clocks agree?

    own_clock: the store has no clock but ours (SQLite), so there is nothing to follow.
    """
    skewed = False
    while True:
        try:
            skew = await _beat(store, clock, follow=not own_clock)
            readiness.set("store", "")
            skewed = _judge(skew, readiness, was_skewed=skewed)
        except (StoreUnavailable, TimeoutError) as error:
            readiness.set("store", str(error) or "does not answer")
        await asyncio.sleep(_PULSE_SECONDS)


async def _beat(store: Store, clock: SystemClock, *, follow: bool) -> float:
    async with asyncio.timeout(_PULSE_TIMEOUT_SECONDS):
        before = clock.monotonic()
        now = await store.utc_now()
        middle = (before + clock.monotonic()) / 2  # half of the round trip is over when the database looks
    if follow:
        clock.synchronise(now, middle)
    return (now - datetime.now(UTC)).total_seconds()


def _judge(skew: float, readiness: Readiness, *, was_skewed: bool) -> bool:
    skewed = abs(skew) > SKEW_SECONDS_MAX
    text = f"the database's clock is {skew:+.1f} s from this machine's; the database's is followed"
    readiness.set("clock", text if skewed else "")
    if skewed and not was_skewed:
        log.warning("{}: set both by NTP", text)
    return skewed
