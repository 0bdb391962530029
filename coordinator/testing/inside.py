"""A coordinator without its ports: store, engine, recovery and operations, and time that is moved by hand."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from prometheus_client import CollectorRegistry

from coordinator.access.recorder import Recorder
from coordinator.backoff import Timing
from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.places import Places
from coordinator.calls.router import BranchCaller
from coordinator.discovery.open import open_resolver
from coordinator.engine.admission import Admission, Bounds
from coordinator.engine.alerts import LoggedAlerts
from coordinator.engine.attempts import Kept
from coordinator.engine.drives import Engine
from coordinator.engine.holding import Holding
from coordinator.engine.lull import Lull
from coordinator.engine.recovery import Recovery
from coordinator.engine.tools import Tools
from coordinator.model import UNFINISHED
from coordinator.patterns.by_type import PATTERNS
from coordinator.service import Operations, build_operations
from coordinator.store.open import StoreConfig, open_store
from coordinator.store.sql import SqlStore
from coordinator.telemetry.metrics import Metrics
from coordinator.telemetry.secrets import Secrets

STEP_SECONDS: Final = 1.0  # due transactions are looked for this often
STEPS_MAX: Final = 600  # a long journey takes longer steps
SETTLE_SECONDS: Final = 20.0  # real ones, for calls that are running
STOP_SECONDS: Final = 0.1
BYTES_MAX: Final = 4 << 20
_WRITE_SECONDS: Final = 5.0
_AUDIT_KEPT: Final = timedelta(days=365)


class TravellingClock:
    """Clocks that stand still but for what the test travels (PROTOCOL §9).

    They begin at a whole second, as columns hold them: what is due in 10 seconds is due after `advance(10)`.
    start: aware; now where it is not given.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._now = (start or datetime.now(UTC)).replace(microsecond=0)
        self._monotonic = 0.0

    def advance(self, seconds: float) -> None:
        """Move on."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        return self._monotonic


class Steady(Random):
    """No jitter: a transaction is due exactly when its interval is over."""

    def random(self) -> float:
        """See Random."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Inside:
    """What `open_inside` made; time passes with `advance` alone."""

    clock: TravellingClock
    operations: Operations
    metrics: Metrics
    store: SqlStore
    recorder: Recorder
    engine: Engine
    recovery: Recovery
    holding: Holding

    async def advance(self, seconds: float) -> None:
        """Let time pass: what becomes due on the way is done, and has ended afterwards.

        Raises AssertionError where calls do not end in real time.
        """
        step = max(STEP_SECONDS, seconds / STEPS_MAX)
        await self.settle()
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            await self._do_due()

    async def travel(self, seconds: float) -> None:
        """The same from one due time straight to the next: hours in which little is due take no time."""
        await self.settle()
        end = self.clock.now() + timedelta(seconds=seconds)
        while (left := (end - self.clock.now()).total_seconds()) > 0:
            due = await self.store.find_due(now=end, limit=len(UNFINISHED))  # the first of each status
            first = (due and due[0].next_cron_time) or end
            self.clock.advance(min(left, max(STEP_SECONDS, (first - self.clock.now()).total_seconds())))
            await self._do_due()

    async def settle(self) -> None:
        """Wait until nothing is done any more that is due now.

        Raises AssertionError where calls do not end in real time.
        """
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self.engine.until_idle()
        except TimeoutError:
            raise AssertionError(f"still running after {SETTLE_SECONDS} s") from None

    async def _do_due(self) -> None:
        pause = 0.0
        await self.holding.beat()
        while not pause:
            pause = await self.recovery.look()
            await self.settle()


async def open_inside(
    opened: AsyncExitStack,
    clock: TravellingClock,
    timing: Timing,
    *,
    store_config: StoreConfig,
    instance: str = "testing",
) -> Inside:
    """A coordinator over that store. opened: closes it. Raises StartError where the store cannot be used."""
    metrics = Metrics(CollectorRegistry(), version="testing")
    store = await open_store(store_config, clock=clock, zone=UTC, wait_seconds=0, observer=metrics)
    opened.push_async_callback(store.close)
    resolver = open_resolver()
    opened.push_async_callback(resolver.close)
    caller = BranchCaller(resolver, answer_bytes_max=BYTES_MAX)
    opened.push_async_callback(caller.close)
    tools = Tools(
        store=store,
        caller=caller,
        clock=clock,
        random=Steady(),
        timing=timing,
        patterns=PATTERNS,
        observer=metrics,
        admission=Admission(Bounds(), monotonic=clock.monotonic, random=Steady()),
        alerts=LoggedAlerts(),
        keeping=Kept(Secrets().hidden, instance),
        lull=Lull(clock.monotonic),
    )
    engine = Engine(tools, instance=instance, start="1")
    opened.push_async_callback(engine.stop, STOP_SECONDS)
    recovery = Recovery(engine, interval=STEP_SECONDS)
    recorder = Recorder(store.audit, clock, coordinator=instance, kept=_AUDIT_KEPT)
    holding = Holding(store.holds, tools.admission, clock)
    operations = build_operations(
        engine,
        urls=BranchUrls(Places()),
        random=Random(0),
        wake=recovery.wake,
        write_seconds=_WRITE_SECONDS,
        reset_seconds=105,
        topic_seconds=3,
        recorder=recorder,
        tables=store.operate,
        nodes=store.nodes,
        overview=store.operate,
        holding=holding,
    )
    return Inside(clock, operations, metrics, store, recorder, engine, recovery, holding)
