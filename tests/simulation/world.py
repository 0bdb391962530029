"""The simulated world: what outlives a coordinator, and coordinators that die and come back."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, TypeVar

from coordinator.backoff import Timing
from coordinator.engine.admission import Admission, Bounds
from coordinator.engine.drives import Engine
from coordinator.engine.recovery import Recovery
from coordinator.engine.tools import Pattern, Tools
from coordinator.errors import DtmError
from coordinator.model import BranchKey, Result, Status, TransType
from coordinator.patterns import msg, saga, tcc, workflow, xa
from coordinator.service import Operations, build_operations
from tests.simulation.branches import SimulatedBranches
from tests.simulation.seen import Seen, Story
from tests.simulation.twin import Faults, Rows, TwinStore, virtual_now

__all__ = ["Coordinator", "CountingObserver", "Lost", "Place", "Seen", "VirtualClock", "World"]

T = TypeVar("T")
PATTERNS: dict[str, Pattern] = {
    TransType.SAGA: saga,
    TransType.MSG: msg,
    TransType.TCC: tcc,
    TransType.XA: xa,
    TransType.WORKFLOW: workflow,
}
_RESTART_SECONDS = 5.0
BOUNDS = Bounds(transactions_max=1000)


class Lost(Exception):
    """The coordinator died before it answered; what was asked may stand or not."""


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
    rows: Rows = field(default_factory=Rows)
    seen: Seen = field(default_factory=Seen)
    fates: dict[tuple[str, BranchKey], Result] = field(default_factory=dict)
    stories: dict[str, Story] = field(default_factory=dict)
    places: list["Place"] = field(default_factory=list)
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

    def __init__(self, world: World, instance: str, start: int, *, healthy: bool) -> None:
        self.name = f"{instance}/{start}"
        self.died = asyncio.Event()
        random = Random(f"{world.seed}/{self.name}")
        faults = Faults(slowest=0.05) if healthy else world.faults
        self._tasks: set[asyncio.Task[Any]] = set()
        self._world = world
        self.store = TwinStore(world.rows, random, faults, self._crash)
        clock = VirtualClock()
        self.tools = Tools(
            self.store,
            SimulatedBranches(world, random, self.name, healthy=healthy),
            clock,
            random,
            Timing(),
            PATTERNS,
            CountingObserver(world.seen.marks),
            Admission(BOUNDS, monotonic=clock.monotonic, random=random),
        )
        self.engine = Engine(self.tools, instance=instance, start=str(start))
        self.recovery = Recovery(self.engine, interval=3)
        self.operations = build_operations(
            self.engine,
            random=random,
            wake=self.recovery.wake,
            write_seconds=5,
            reset_seconds=105,
            topic_seconds=3,
        )
        self._prefixes = (f"{instance}/", f"{instance}/{start}/")

    def run(self) -> None:
        self._keep(self._recover())

    async def ask(self, operation: Callable[[Operations], Coroutine[Any, Any, T]]) -> T:
        """What a client is answered. Raises DtmError, and Lost when this coordinator dies first."""
        if self.died.is_set():
            raise Lost
        task = self._keep(operation(self.operations))
        died = asyncio.create_task(self.died.wait())
        await asyncio.wait({task, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if self.died.is_set() or task.cancelled():
            raise Lost
        return task.result()

    async def stop(self) -> None:
        await self.engine.stop(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.store.close()

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

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.healthy = False
        self._world = world
        self._starts = 0
        self.coordinator = self._start()

    async def keep(self) -> None:
        while True:
            await self.coordinator.died.wait()
            await self.coordinator.stop()
            await asyncio.sleep(_RESTART_SECONDS)
            self.coordinator = self._start()

    async def restart(self) -> None:
        """Replace a healthy coordinator cleanly, so that the world's healing counts for it."""
        if not self.coordinator.died.is_set():
            await self.coordinator.stop()
            self._world.seen.dead.add(self.coordinator.name)
            self.coordinator = self._start()

    def _start(self) -> Coordinator:
        self._starts += 1
        coordinator = Coordinator(self._world, self.name, self._starts, healthy=self.healthy)
        coordinator.run()
        return coordinator
