"""The simulated world: seeded branches, coordinators that die and come back, and what was seen."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

from coordinator.backoff import Timing
from coordinator.calls.base import Answer
from coordinator.engine import Engine
from coordinator.errors import DtmError
from coordinator.model import (
    Branch,
    BranchKey,
    Op,
    Result,
    Status,
    Transaction,
    TransactionRequest,
    TransType,
)
from coordinator.patterns import saga
from coordinator.recovery import Recovery
from coordinator.service import build_operations
from coordinator.tools import Tools
from tests.simulation.twin import Faults, Rows, TwinStore, virtual_now


class VirtualClock:
    """Wall and monotonic clock of the simulated world."""

    def now(self) -> datetime:
        return virtual_now()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Call:
    """One call that reached a branch. Seconds of virtual time; ended is None while it is out."""

    gid: str
    key: BranchKey
    owner: str
    coordinator: str
    started: float
    ended: float | None = None
    result: Result | None = None


@dataclass
class Seen:
    """What happened, for the invariants and to prove that a history reached what it was made for."""

    calls: list[Call] = field(default_factory=list)
    marks: Counter[str] = field(default_factory=Counter)
    acknowledged: set[str] = field(default_factory=set)  # gids whose submit was answered with success
    dead: set[str] = field(default_factory=set)  # coordinators that crashed


class SimulatedBranches:
    """Branches that are slow, lose answers, hang, say FAILURE or ONGOING, by their seed.

    What an action has said once it says for ever: that is what a barrier gives.
    """

    def __init__(
        self,
        random: Random,
        seen: Seen,
        name: str,
        *,
        healthy: bool,
        fates: dict[tuple[str, BranchKey], Result],
    ) -> None:
        self._random = random
        self._seen = seen
        self._name = name
        self._healthy = healthy
        self._fates = fates

    async def call(
        self, transaction: Transaction, branch: Branch, *, timeout: float, patience: float
    ) -> Answer:
        loop = asyncio.get_running_loop()
        if self._name in self._seen.dead:
            await asyncio.Event().wait()
        call = Call(branch.gid, branch.key, transaction.owner, self._name, loop.time())
        index = len(self._seen.calls)
        self._seen.calls.append(call)
        try:
            result = await self._fate(branch, timeout)
        except asyncio.CancelledError:
            self._end(index, call, None)
            raise
        self._end(index, call, result)
        return Answer(result, f"{branch.key} said {result}")

    async def close(self) -> None:
        pass

    def _end(self, index: int, call: Call, result: Result | None) -> None:
        ended = asyncio.get_running_loop().time()
        self._seen.calls[index] = Call(
            call.gid, call.key, call.owner, call.coordinator, call.started, ended, result
        )

    async def _fate(self, branch: Branch, timeout: float) -> Result:
        drawn = self._random.random()
        await asyncio.sleep(self._random.random() * 0.2)
        if not self._healthy and drawn < 0.05:
            self._seen.marks["hung"] += 1
            await asyncio.sleep(timeout)
            return Result.UNKNOWN
        if not self._healthy and drawn < 0.12:
            return Result.ONGOING
        if not self._healthy and drawn < 0.22:
            return Result.UNKNOWN
        key = (branch.gid, branch.key)
        if key not in self._fates:
            fails = branch.op == Op.ACTION and self._random.random() < 0.15
            self._fates[key] = Result.FAILURE if fails else Result.SUCCESS
        if not self._healthy and drawn < 0.3:
            self._seen.marks["answer lost"] += 1
            return Result.UNKNOWN
        if not self._healthy and branch.op == Op.COMPENSATE and drawn < 0.4:
            return Result.FAILURE
        return self._fates[key]


class CountingObserver:
    """Counts what the engine reports."""

    def __init__(self, marks: Counter[str]) -> None:
        self._marks = marks

    def transaction_ended(self, trans_type: str, status: Status, seconds: float) -> None:
        self._marks[f"ended {status}"] += 1

    def branch_called(self, trans_type: str, branch_id: str, op: str, ok: bool) -> None:
        self._marks[f"called {op} {'ok' if ok else 'not ok'}"] += 1


class Coordinator:
    """One start of one coordinator over the shared rows. Dies where its store crashes it."""

    def __init__(self, world: "World", instance: str, start: int, *, healthy: bool) -> None:
        self.name = f"{instance}/{start}"
        self.died = asyncio.Event()
        random = Random(f"{world.seed}/{self.name}")
        faults = Faults(slowest=0.05) if healthy else world.faults
        self._tasks: set[asyncio.Task[None]] = set()
        self._world = world
        self.store = TwinStore(world.rows, random, faults, self._crash)
        branches = SimulatedBranches(random, world.seen, self.name, healthy=healthy, fates=world.fates)
        self.tools = Tools(
            self.store,
            branches,
            VirtualClock(),
            random,
            Timing(),
            {TransType.SAGA: saga},
            CountingObserver(world.seen.marks),
        )
        self.engine = Engine(self.tools, instance=instance, start=str(start), running_max=1000)
        self.recovery = Recovery(self.engine, interval=3, running_max=100)
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

    def submit(self, request: TransactionRequest) -> None:
        self._keep(self._submit(request))

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

    async def _submit(self, request: TransactionRequest) -> None:
        marks = self._world.seen.marks
        try:
            await self.operations.transactions.submit(request)
        except DtmError as error:
            marks[f"submit: {type(error).__name__}"] += 1
        else:
            marks["submit: success"] += 1
            self._world.seen.acknowledged.add(request.gid)

    def _keep(self, coroutine: object) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _crash(self) -> None:
        self._world.seen.marks["crashed"] += 1
        self._world.seen.dead.add(self.name)
        self.died.set()


@dataclass
class World:
    """Everything that outlives a coordinator."""

    seed: int
    faults: Faults
    rows: Rows = field(default_factory=Rows)
    seen: Seen = field(default_factory=Seen)
    fates: dict[tuple[str, BranchKey], Result] = field(default_factory=dict)
