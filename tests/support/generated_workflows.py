"""Workflows that are generated, run without a network, killed where the test says; and a model of them.

A program is a tuple of steps: `play` runs it, process after process; `expected` reads how it ends. What a
step does goes through a barrier, as a branch does.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

import orjson

from coordinator.client.errors import DtmError, Failure, Ongoing
from coordinator.client.patterns.workflow import Workflow, WorkflowFunction
from coordinator.client.patterns.workflow_execution import Asleep, Execution
from coordinator.client.patterns.workflow_rows import custom_data
from coordinator.client.transport.base import BranchRegistration, Operation, Progress, WorkflowState
from coordinator.client.transport.context import BranchContext
from coordinator.errors import DtmError as Refused
from coordinator.errors import Failure as RefusedForGood
from coordinator.model import BranchRequest, Status, TransactionRequest, TransType
from coordinator.service import Operations

RUNS_MAX = 200


@dataclass(frozen=True)
class Do:
    """A step that is undone when all fails, or says no itself."""

    name: str
    fails: bool = False


@dataclass(frozen=True)
class Sleep:
    seconds: int


@dataclass(frozen=True)
class Draw:
    """Time and chance, which must be the same in each run."""


@dataclass(frozen=True)
class AtOnce:
    chains: "tuple[Program, ...]"


@dataclass(frozen=True)
class Child:
    """A workflow inside, whose Failure the parent catches."""

    program: "Program"


@dataclass(frozen=True)
class Patched:
    """What only those do that were not past it before."""

    name: str
    program: "Program"


Program: TypeAlias = tuple[Do | Sleep | Draw | AtOnce | Child | Patched, ...]


class Killed(BaseException):
    """The process is gone: nothing more of it happens."""


@dataclass
class World:
    """What outlives processes: the coordinator, and the database of the branches."""

    operations: Operations
    now: datetime = datetime(2030, 1, 1, tzinfo=UTC)
    barrier: set[tuple[str, str]] = field(default_factory=set)
    effects: list[str] = field(default_factory=list)
    draws: dict[str, list[Any]] = field(default_factory=dict)

    def branch(self, branch: BranchContext, name: str) -> None:
        """PROTOCOL §12: an action once, its undoing once and only after it, no action after its undoing."""
        if branch.op == "rollback":
            may_undo = (branch.branch_id, "action") in self.barrier
            self.barrier.add((branch.branch_id, "action"))
            if (branch.branch_id, "rollback") not in self.barrier and may_undo:
                self.effects.append(f"undo {name}")
            self.barrier.add((branch.branch_id, "rollback"))
        elif (branch.branch_id, "action") not in self.barrier:
            self.barrier.add((branch.branch_id, "action"))
            self.effects.append(name)


class Process:
    """One process of the service. kill_at: at which of its moments it dies; None: at none."""

    protocol = "http"

    def __init__(self, world: World, kill_at: int | None = None) -> None:
        self._world = world
        self._kill_at = kill_at
        self.moments = 0

    async def moment(self) -> None:
        """It may die here."""
        await asyncio.sleep(0)
        if self._kill_at is not None and self.moments >= self._kill_at:
            raise Killed
        self.moments += 1

    async def prepare_workflow(self, request: TransactionRequest) -> WorkflowState:
        await self.moment()
        stored = await self._world.operations.workflows.prepare(request)
        await self.moment()
        row = stored.transaction
        rows = [Progress(it.branch_id, it.op, it.status, it.payload, it.url) for it in stored.branches]
        return WorkflowState(row.status, row.rollback_reason, row.result, rows, custom_data=row.custom_data)

    async def register_branch(self, registration: BranchRegistration) -> None:
        await self.moment()
        one = registration
        try:
            await self._world.operations.branches.register(
                BranchRequest(one.gid, one.trans_type, one.branch_id, one.payload, one.data)
            )
        except RefusedForGood as refused:
            raise Failure(refused.message, gid=one.gid) from refused
        except Refused as refused:
            raise DtmError(refused.message, gid=one.gid) from refused
        await self.moment()

    async def operate(self, operation: Operation, request: TransactionRequest) -> None:
        await self.moment()
        try:
            await self._world.operations.transactions.submit(request)
        except Refused as refused:
            raise DtmError(refused.message, gid=request.gid) from refused
        await self.moment()

    async def step(self, branch: BranchContext, name: str) -> None:
        await self.moment()
        self._world.branch(branch, name)
        await self.moment()


def function_of(program: Program, process: Process, world: World) -> Callable[[Workflow, Any], Any]:
    """The workflow function that a program is."""

    async def chain(wf: Workflow, steps: Program) -> list[Any]:
        return [result for step in steps for result in await one(wf, step)]

    async def one(wf: Workflow, step: Any) -> list[Any]:
        match step:
            case Do(name, fails):

                async def act(branch: BranchContext) -> str:
                    if fails:
                        await process.moment()
                        raise Failure(f"{name} says no")
                    await process.step(branch, name)
                    return name

                async def undo(branch: BranchContext) -> None:
                    await process.step(branch, name)

                return [await wf.do(act, rollback=undo, name=name)]
            case Sleep(seconds):
                await wf.sleep(seconds)
            case Draw():
                place = f"{wf._places.prefix}/{wf._places.taken}"
                drawn = [await wf.random(), str(await wf.uuid()), (await wf.now()).isoformat()]
                assert world.draws.setdefault(place, drawn) == drawn, "drawn anew"
            case AtOnce(chains):
                results = await wf.run_in_parallel(*(bound(chain, it) for it in chains))
                return [result for part in results for result in part]
            case Child(steps):
                inner = WorkflowFunction[Any, Any]("child", lambda wf, _: chain(wf, steps))
                try:
                    return list(await wf.child(inner, None))
                except Failure:
                    return ["another way"]
            case Patched(name, steps):
                if await wf.patched(name):
                    return await chain(wf, steps)
        return []

    return lambda wf, _: chain(wf, program)


def bound(chain: Any, steps: Program) -> Callable[[Workflow], Any]:
    return lambda wf: chain(wf, steps)


@dataclass(frozen=True)
class Ended:
    """How a workflow has ended. effects: sorted, since chains at once take turns."""

    status: Status
    result: tuple[Any, ...]
    effects: tuple[str, ...]


async def play(
    world: World, program: Program, kills: Sequence[int], *, then: Program | None = None, gid: str = "g"
) -> tuple[Ended, int]:
    """Run until it ends; return how, and the moments that the processes had in all.

    kills: the moment at which each process dies, the first of them first; those after have none. then: the
    code of all processes but the first.
    """
    moments, code = 0, program
    for number in range(RUNS_MAX):
        process = Process(world, kills[number] if number < len(kills) else None)
        try:
            result = await execution(world, code, process, gid).run()
            return ended(world, Status.SUCCEED, result), moments + process.moments
        except Failure:
            return ended(world, Status.FAILED, b"[]"), moments + process.moments
        except Asleep as asleep:
            world.now = asleep.until
        except (Killed, Ongoing, DtmError):
            pass
        moments += process.moments
        code = code if then is None else then
    raise AssertionError(f"not ended after {RUNS_MAX} runs")


def execution(world: World, program: Program, process: Any, gid: str) -> Execution:
    request = TransactionRequest(
        gid, TransType.WORKFLOW, query_prepared="http://h/wf", custom_data=custom_data("made", b"")
    )
    function = function_of(program, process, world)
    return Execution(process, None, "made", function, request, b"", b"", lambda: world.now)


def ended(world: World, status: Status, result: bytes) -> Ended:
    return Ended(status, tuple(orjson.loads(result)), tuple(sorted(world.effects)))


def expected(program: Program) -> Ended:
    """How it ends, by plain reading: no numbers, no records, no time."""
    done: list[str] = []
    undone: list[str] = []
    try:
        result = _read(program, done, undone)
    except Failure:
        undone += done
        return Ended(Status.FAILED, (), _effects(done, undone))
    return Ended(Status.SUCCEED, tuple(result), _effects(done, undone))


def _effects(done: list[str], undone: list[str]) -> tuple[str, ...]:
    everything = done + [name for name in undone if name not in done]
    return tuple(sorted(everything + [f"undo {name}" for name in undone]))


def _read(program: Program, done: list[str], undone: list[str]) -> list[Any]:
    results: list[Any] = []
    for step in program:
        match step:
            case Do(name, fails):
                if fails:
                    raise Failure("no")
                done.append(name)
                results.append(name)
            case AtOnce(chains):
                failed = False
                for chain in chains:
                    try:
                        results += _read(chain, done, undone)
                    except Failure:
                        failed = True
                if failed:
                    raise Failure("no")
            case Child(steps):
                inside: list[str] = []
                try:
                    results += _read(steps, inside, undone)
                    done += inside
                except Failure:
                    undone += inside
                    results.append("another way")
            case Patched(_, steps):
                results += _read(steps, done, undone)
            case _:
                pass
    return results


def without_patches(program: Program) -> Program:
    """The program before its changes."""
    steps: list[Any] = []
    for step in program:
        match step:
            case Patched():
                continue
            case AtOnce(chains):
                steps.append(AtOnce(tuple(without_patches(chain) for chain in chains)))
            case Child(inner):
                steps.append(replace(step, program=without_patches(inner)))
            case _:
                steps.append(step)
    return tuple(steps)
