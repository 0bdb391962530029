"""Simulated clients of every pattern: they ask any coordinator, ask again when no answer came, and die.

What a client is told it must be able to rely on; what it must never be told goes into `Seen.problems`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any, TypeVar

from coordinator.engine.holding import Holding
from coordinator.errors import (
    BranchConflict,
    Busy,
    DtmError,
    Failure,
    NoResult,
    Ongoing,
    StoreUnavailable,
    WrongState,
)
from coordinator.hold import Hold
from coordinator.model import BranchRequest, Result, TransactionRequest, TransType
from coordinator.service import Operations
from coordinator.store.base import Stored
from tests.simulation.pressure import url
from tests.simulation.seen import Story
from tests.simulation.twin import virtual_now
from tests.simulation.world import HeldFor, Lost, World

T = TypeVar("T")
Operation = Callable[[Operations], Coroutine[Any, Any, T]]
MANY_STEPS = 15  # of a client that registers one branch after the other, until its time is over
_ATTEMPTS = 3  # of a client whose question got no answer
_ATTEMPTS_HEALTHY = 10


class Died(Exception):
    """The client is no more."""


class Client:
    """One run of one client. Its story outlives it."""

    def __init__(self, world: World, gid: str, random: Random, *, healthy: bool = False) -> None:
        self._world = world
        self._story = world.stories[gid]
        self._gid = gid
        self._random = random
        self._healthy = healthy

    async def run(self) -> bool:
        """Do what a client of the transaction's type does; True unless it died or gave up."""
        try:
            match self._story.request.trans_type:
                case TransType.SAGA:
                    await self._saga()
                case TransType.MSG:
                    await self._message()
                case TransType.WORKFLOW:
                    await self._workflow()
                case _:
                    await self._branches()
        except Died:
            self._world.seen.marks[f"{self._story.request.trans_type} client died"] += 1
            return False
        except (Lost, DtmError) as error:
            self._world.seen.marks[f"gave up: {type(error).__name__}"] += 1
            return False
        return True

    async def _saga(self) -> None:
        await self._tell("submit")
        if self._random.random() < 0.2:
            await self._tell("submit")

    async def _branches(self) -> None:
        """TCC and XA: register, then try, one after the other; then submit or abort."""
        await self._tell("prepare")
        wish = "submit" if self._random.random() < 0.6 else "abort"
        for number in range(self._story.steps):
            for branch_id in (f"{number + 1:02d}", f"{number + 1:02d}01"):
                if branch_id.endswith("01") and len(branch_id) > 2 and self._random.random() < 0.6:
                    continue  # not every branch has one nested in it
                await self._may_die(0.08 if self._story.steps < MANY_STEPS else 0.01)
                if not await self._register(branch_id):
                    self._world.seen.marks["register refused"] += 1
                    return
                longest = 0.8 if self._story.steps == MANY_STEPS else self._random.choice([1, 1, 15])
                await asyncio.sleep(self._random.random() * longest)
        await self._may_die()
        await self._tell(wish)
        if self._random.random() < 0.2:
            await self._tell(wish)

    async def _message(self) -> None:
        """Prepare, local transaction, submit or abort; or a submit alone."""
        story = self._story
        if not story.request.query_prepared:
            story.decide_local(committed=True)
            return await self._tell("submit")
        await self._tell("prepare")
        await self._may_die()
        await asyncio.sleep(self._random.random() * self._random.choice([1, 1, 50]))
        if not story.decide_local(committed=self._random.random() < 0.7):
            await self._may_die(0.3)
            return await self._tell("abort")
        await self._may_die(0.3)
        return await self._tell("submit")

    async def _workflow(self) -> None:
        """From the recorded progress to the end: each step done is registered, then the end is submitted."""
        known = set(self._story.registered)
        self._note("asked", "prepare")
        stored = await self._ask(lambda it: it.workflows.prepare(self._story.request))
        self._note("acknowledged", "prepare")
        progress = {branch.key: Result.SUCCESS for branch in stored.branches}
        if not known <= progress.keys():
            self._problem(f"progress was acknowledged and is gone: {known - progress.keys()}")
        if stored.transaction.status.is_final:
            return
        if progress:
            self._world.seen.marks["workflow went on"] += 1
        done: list[str] = []
        status = "succeed"
        for number in range(self._story.steps):
            branch_id = f"{number + 1:02d}"
            done.append(branch_id)
            if await self._step(branch_id, "action", stored) is Result.FAILURE:
                status = "failed"
                break
        if status == "failed":
            for branch_id in reversed(done):
                await self._step(branch_id, "rollback", stored)
        await self._may_die()
        await self._tell(
            "submit", replace(self._story.request, req_extra={"status": status, "result": status})
        )

    async def _step(self, branch_id: str, op: str, stored: Stored) -> Result:
        """Do it, unless it is recorded that it was done, and record it."""
        key = (self._gid, (branch_id, op))
        if key not in self._world.fates:
            fails = op == "action" and self._random.random() < 0.15
            self._world.fates[key] = Result.FAILURE if fails else Result.SUCCESS
        result = self._world.fates[key]
        if any(branch.key == key[1] for branch in stored.branches):
            return result
        await self._may_die()
        await asyncio.sleep(self._random.random() * self._random.choice([0.5, 0.5, 8]))
        await self._may_die()
        ended = "failed" if result is Result.FAILURE else "succeed"
        request = BranchRequest(self._gid, "workflow", branch_id, b"data", {"op": op, "status": ended})
        await self._ask(lambda it: it.branches.register(request))
        self._story.registered.add(key[1])
        return result

    async def _register(self, branch_id: str) -> bool:
        """True when it is registered, False when the transaction takes no more branches."""
        trans_type = self._story.request.trans_type
        ops = ("cancel", "confirm") if trans_type == TransType.TCC else ("rollback", "commit")
        random = Random(f"{self._world.seed}/{self._gid}/{branch_id}")  # the same when it is asked again
        urls = {name: url(random, self._world.pressure.endpoints, name) for name in (*ops, "url")}
        request = BranchRequest(self._gid, trans_type, branch_id, self._story.payload, urls)
        try:
            await self._ask(lambda it: it.branches.register(request))
        except Failure:
            return False
        self._story.registered |= {(branch_id, op) for op in ops}
        return True

    async def _tell(self, wish: str, request: TransactionRequest | None = None) -> None:
        """submit, prepare or abort; a round without result is not its end: the client stops asking."""
        asked = request or self._story.request
        if wish == "abort":
            asked = replace(asked, rollback_reason=self._random.choice(["", "out of stock", "too late"]))
        marks = self._world.seen.marks
        self._note("asked", wish)
        try:
            await self._ask(lambda it: getattr(it.transactions, wish)(asked))
        except (Failure, Ongoing, NoResult, WrongState) as error:
            marks[f"{wish}: {type(error).__name__}"] += 1
            if wish == "prepare":
                raise
            return
        marks[f"{wish}: success"] += 1
        self._note("acknowledged", wish)

    async def _ask(self, operation: Operation[T]) -> T:
        attempts = _ATTEMPTS_HEALTHY if self._healthy else _ATTEMPTS
        for attempt in range(attempts):
            place = self._random.choice(self._world.places)
            try:
                return await place.coordinator.ask(operation)
            except BranchConflict as error:
                self._problem(f"an identical branch clashed: {error}")
                raise
            except (Busy, Lost, StoreUnavailable):
                if attempt == attempts - 1:
                    raise
                await asyncio.sleep(1 + self._random.random() * 3)
        raise AssertionError("unreachable")

    async def _may_die(self, often: float = 0.08) -> None:
        if not self._healthy and self._random.random() < often:
            raise Died

    def _note(self, what: str, wish: str) -> None:
        noted: dict[str, float] = getattr(self._story, what)
        noted.setdefault(wish, asyncio.get_running_loop().time())

    def _problem(self, text: str) -> None:
        self._world.seen.problems.append(f"{self._gid}: {text}")


def start_client(world: World, story: Story) -> None:
    """Begin this story."""
    gid = story.request.gid
    world.stories[gid] = story
    world.keep(Client(world, gid, Random(f"{world.seed}/client/{gid}")).run())


async def operate(world: World, random: Random) -> None:
    """An impatient operator: makes everything due, and single transactions, again and again."""
    while True:
        await asyncio.sleep(random.random() * 20)
        world.seen.marks["operator: asked"] += 1
        gid: str = random.choice(list(world.rows.transactions) or [""])
        coordinator = random.choice(world.places).coordinator
        try:
            if random.random() < 0.3:
                await coordinator.ask(lambda it: it.operators.reset_cron_time(timeout=0, limit=100))
            elif gid:
                await coordinator.ask(partial(_hurry, gid=gid))
        except (Lost, DtmError) as error:
            world.seen.marks[f"operator: {type(error).__name__}"] += 1
        else:
            world.seen.marks["operator: success"] += 1


async def hold(world: World, random: Random) -> None:
    """An operator who now and then has an endpoint held, and mostly releases it before its time is over."""
    while True:
        await asyncio.sleep(random.random() * 60)
        now = virtual_now().replace(microsecond=0)
        until = now + timedelta(seconds=random.randint(10, 60))
        wanted = Hold(random.choice(list(world.pressure.endpoints)), "moved", "anna", now, until)
        if await _told(world, random, partial(Holding.hold, hold=wanted, records=())):
            began = asyncio.get_running_loop().time()
            ends = began + (until - virtual_now()).total_seconds()
            world.held.append(HeldFor(wanted.endpoint, began, ends))
            world.seen.marks["held"] += 1
            await asyncio.sleep(random.random() * 80)
            world.held[-1].ends = min(ends, asyncio.get_running_loop().time())
            release = partial(Holding.release, endpoint=wanted.endpoint, records=())
            released = await _told(world, random, release)
            world.seen.marks["released"] += released


async def _told(world: World, random: Random, change: Callable[[Holding], Coroutine[Any, Any, bool]]) -> bool:
    coordinator = random.choice(world.places).coordinator
    try:
        return await coordinator.ask(lambda _: change(coordinator.holding))
    except Lost:
        return False


async def _hurry(operations: Operations, gid: str) -> None:
    await operations.operators.reset_next_cron_time(gid)


async def go_on(world: World, gid: str, *, healthy: bool) -> bool:
    """A workflow's client that is called back; whether it came to an end."""
    world.seen.marks["called back"] += 1
    random = Random(f"{world.seed}/client/{gid}/{world.seen.marks['called back']}")
    return await Client(world, gid, random, healthy=healthy).run()
