"""The simulated world: what outlives a coordinator, and coordinators that die and come back."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar

from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.places import Places
from coordinator.engine.admission import Admission
from coordinator.engine.attempts import Kept
from coordinator.engine.drives import Engine
from coordinator.engine.holding import BEAT_SECONDS, Holding
from coordinator.engine.lull import Lull
from coordinator.engine.purging import BEAT_SECONDS as PURGE_BEAT_SECONDS
from coordinator.engine.purging import Purger
from coordinator.engine.recovery import Recovery
from coordinator.engine.tools import Tools
from coordinator.errors import Busy, DtmError
from coordinator.model import BranchKey, Result, Status
from coordinator.patterns.by_type import PATTERNS
from coordinator.service import Operations, build_operations
from tests.simulation.branches import SimulatedBranches
from tests.simulation.hold_rows import HoldRows
from tests.simulation.pressure import Figures, Pressure
from tests.simulation.rows import QUESTION
from tests.simulation.seen import Seen, Story
from tests.simulation.twin import Faults, Rows, TwinStore, virtual_now
from tests.simulation.watch import Watch

__all__ = ["Coordinator", "CountingObserver", "Lost", "Place", "Seen", "VirtualClock", "World"]

T = TypeVar("T")
_RESTART_SECONDS = 5.0
HEALTHY = Faults(slowest=0.05)


class Lost(Exception):
    """The coordinator died before it answered; what was asked may stand or not."""


@dataclass
class HeldFor:
    """An endpoint that an operator was told is held. Seconds of virtual time."""

    endpoint: str
    begins: float
    ends: float


class VirtualClock:
    """Wall and monotonic clock of the simulated world."""

    def now(self) -> datetime:
        return virtual_now()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class CountingObserver:
    """Counts what the engine reports."""

    def __init__(self, marks: Counter[str]) -> None:
        self._marks = marks

    def transaction_ended(self, trans_type: str, status: Status, seconds: float) -> None:
        self._marks[f"ended {status}"] += 1
        self._marks[f"{trans_type} ended {status}"] += 1

    def branch_called(self, trans_type: str, branch_id: str, op: str, ok: bool) -> None:
        self._marks[f"called {op} {'ok' if ok else 'not ok'}"] += 1


@dataclass
class World:
    """Everything that outlives a coordinator."""

    seed: int
    faults: Faults
    pressure: Pressure
    rows: Rows = field(default_factory=Rows)
    seen: Seen = field(default_factory=Seen)
    fates: dict[tuple[str, BranchKey], Result] = field(default_factory=dict)
    stories: dict[str, Story] = field(default_factory=dict)
    places: list["Place"] = field(default_factory=list)
    strangers: set[str] = field(default_factory=set)  # gids of rows that nobody can drive
    questions: int = 0  # asked so far
    healed_at: float = 0.0  # virtual seconds
    kept_seconds: float = 0.0  # how long what has ended stays; 0: for ever
    holds: HoldRows = field(default_factory=HoldRows)
    held: list["HeldFor"] = field(default_factory=list)
    clients: set[asyncio.Task[Any]] = field(default_factory=set)
    go_on: Callable[[str, bool], Coroutine[Any, Any, bool]] | None = None  # a workflow's client, called back

    def keep(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a client, which no coordinator's crash ends."""
        task = asyncio.create_task(coroutine)
        self.clients.add(task)
        task.add_done_callback(self.clients.discard)
        return task

    def resume(self, gid: str, *, healthy: bool) -> asyncio.Task[bool]:
        """Let the client of this workflow go on; the task's result: whether it came to an end."""
        assert self.go_on is not None
        return self.keep(self.go_on(gid, healthy))


class Coordinator:
    """One start of one coordinator over the shared rows. Dies where its store crashes it."""

    def __init__(self, world: World, instance: str, start: int, figures: Figures, *, healthy: bool) -> None:
        self.name = f"{instance}/{start}"
        self.died = asyncio.Event()
        random = Random(f"{world.seed}/{self.name}")
        faults = HEALTHY if healthy else world.faults
        self._tasks: set[asyncio.Task[Any]] = set()
        self._world = world
        self.store = TwinStore(world.rows, random, faults, self._crash)
        clock = VirtualClock()
        self.watch = Watch(self.name, figures.bounds, world.rows, world.seen, self._driven)
        self._branches = SimulatedBranches(world, random, self.name, self.watch, healthy=healthy)
        self.tools = Tools(
            self.store,
            self._branches,
            clock,
            random,
            figures.timing,
            PATTERNS,
            CountingObserver(world.seen.marks),
            Admission(figures.bounds, monotonic=clock.monotonic, random=random),
            keeping=Kept(str, self.name),
            lull=Lull(clock.monotonic),
        )
        self.engine = Engine(self.tools, instance=instance, start=str(start))
        self.recovery = Recovery(self.engine, interval=3, page=figures.page)
        self.holding = Holding(world.holds, self.tools.admission, clock)
        self.operations = build_operations(
            self.engine,
            urls=BranchUrls(Places()),
            random=random,
            wake=self.recovery.wake,
            write_seconds=5,
            reset_seconds=105,
            topic_seconds=3,
        )
        self._prefixes = (f"{instance}/", f"{instance}/{start}/")

    def run(self) -> None:
        if self._world.kept_seconds:
            self._keep(self._purge())
        self._keep(self._obey_holds())
        self._keep(self._recover())

    async def ask(self, operation: Callable[[Operations], Coroutine[Any, Any, T]]) -> T:
        """What a client is answered. Raises DtmError, and Lost when this coordinator dies first."""
        if self.died.is_set():
            raise Lost
        self._world.questions += 1
        number = self._world.questions
        task = self._keep(self._answer(operation, number))
        died = asyncio.create_task(self.died.wait())
        await asyncio.wait({task, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if self.died.is_set() or task.cancelled():
            raise Lost
        return task.result()

    def heal(self) -> None:
        """From now on its store and its branches are well; what it knows and does goes on."""
        self.store.faults = HEALTHY
        self._branches.healthy = True

    async def _answer(self, operation: Callable[[Operations], Coroutine[Any, Any, T]], number: int) -> T:
        QUESTION.set(number)
        try:
            return await operation(self.operations)
        except Busy:
            self._world.seen.turned_away.add(number)
            self._world.seen.marks["turned away"] += 1
            raise

    def _driven(self) -> Sequence[str]:
        return list(self.engine._by_gid)  # what is driven, not what the house thinks is

    async def stop(self) -> None:
        await self.engine.stop(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.store.close()
        self.watch.is_over(self.tools.admission)

    async def _obey_holds(self) -> None:
        while True:
            await self.holding.beat()
            await asyncio.sleep(BEAT_SECONDS)

    async def _purge(self) -> None:
        async def always() -> bool:
            return True

        purger = Purger(
            self.store,
            self.tools.clock,
            kept=timedelta(seconds=self._world.kept_seconds),
            keep=None,
            turn=always,
            waiting=lambda: 0,
        )
        while True:
            await purger.beat()
            await asyncio.sleep(PURGE_BEAT_SECONDS)

    async def _recover(self) -> None:
        while True:
            try:
                await self.store.take_back(
                    now=virtual_now(), owner_prefix=self._prefixes[0], except_prefix=self._prefixes[1]
                )
                break
            except DtmError:
                await asyncio.sleep(1)
        await self.recovery.run()

    def _keep(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def _crash(self) -> None:
        self._world.seen.marks["crashed"] += 1
        self._world.seen.dead.add(self.name)
        self.died.set()


class Place:
    """Where a coordinator lives: starts it, and starts it again some seconds after it died."""

    def __init__(self, world: World, name: str, figures: Figures) -> None:
        self.name = name
        self.healthy = False
        self._world = world
        self._figures = figures
        self._starts = 0
        self.coordinator = self._start()

    async def keep(self) -> None:
        while True:
            await self.coordinator.died.wait()
            await self.coordinator.stop()
            await asyncio.sleep(_RESTART_SECONDS)
            self.coordinator = self._start()

    async def heal(self, *, restarts: bool) -> None:
        """Let all be well from now on, for a new coordinator or for the one that is here."""
        self.healthy = True
        if not restarts:
            self.coordinator.heal()
        elif not self.coordinator.died.is_set():
            await self.coordinator.stop()
            self._world.seen.dead.add(self.coordinator.name)
            self.coordinator = self._start()

    def _start(self) -> Coordinator:
        self._starts += 1
        coordinator = Coordinator(self._world, self.name, self._starts, self._figures, healthy=self.healthy)
        coordinator.run()
        return coordinator
