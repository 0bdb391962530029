"""Workflows over HTTP and gRPC against the real coordinator (PROTOCOL §1, §5, §7): plainest use first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiosqlite
import pytest
from aiohttp import web

from coordinator.client import (
    BranchContext,
    BranchServer,
    DtmError,
    Failure,
    InvalidUse,
    Ongoing,
    Status,
    Workflow,
    WorkflowFunction,
    Workflows,
    workflow,
)
from coordinator.testing import Says
from tests.integration.client.conftest import World
from tests.support.ports import free_port

HOST = "127.0.0.1"
OUT, OUT_BACK, IN, IN_BACK = "/bank.Bank/Out", "/bank.Bank/OutBack", "/bank.Bank/In", "/bank.Bank/InBack"


class Service:
    """A service with workflows: what the coordinator calls back, of the world's protocol."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.callback = ""
        self._over_http = world.bank.startswith("http")
        self._server: BranchServer | None = None
        self._runner: web.AppRunner | None = None
        self._port = free_port()

    async def start(self, *functions: WorkflowFunction) -> Workflows:
        """Serve these workflows at the address of the one before: the old process is gone."""
        port = await self.stop()
        if self._over_http:
            workflows = Workflows(self.world.dtm, functions, callback=f"http://{HOST}:{port}/workflow")
            application = web.Application()
            application.router.add_route("*", "/workflow", workflows.handler)
            self._runner = web.AppRunner(application, shutdown_timeout=0.1)
            await self._runner.setup()
            await web.TCPSite(self._runner, HOST, port).start()
        else:
            callback = f"{HOST}:{port}/workflow.Workflow/Execute"
            workflows = Workflows(self.world.dtm, functions, callback=callback)
            self._server = BranchServer([workflows.service()])
            await self._server.start(HOST, port)
        return workflows

    async def stop(self) -> int:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._server is not None:
            await self._server.stop(grace=0)
        self._runner = self._server = None
        return self._port


@pytest.fixture
async def service(world: World) -> AsyncIterator[Service]:
    service = Service(world)
    yield service
    await service.stop()


def transfer(world: World, tail: Any = None) -> WorkflowFunction:
    """30 out, 30 in, and whatever the test adds."""

    @workflow("transfer")
    async def function(wf: Workflow, data: Any) -> Any:
        out = await wf.saga(world.bank + OUT, world.bank + OUT_BACK, data)
        await wf.saga(world.bank + IN, world.bank + IN_BACK, data)
        if tail is not None:
            await tail(wf)
        return {"out": out.json(), "for": data["amount"]}

    return function


async def test_a_workflow_returns_its_result(world: World, service: Service) -> None:
    world.branches.answer(OUT, {"left": 70})
    function = transfer(world)
    workflows = await service.start(function)
    result = await workflows.execute(function, {"amount": 30}, gid="g1")
    assert result == {"out": {"left": 70}, "for": 30}
    assert [call.json() for call in world.branches.calls] == [{"amount": 30}] * 2
    assert [(call.branch.trans_type, call.branch.branch_id, call.op) for call in world.branches.calls] == [
        ("workflow", "01", "action"),
        ("workflow", "02", "action"),
    ]
    assert await world.rows("g1") == ["01 action succeed", "02 action succeed"]
    assert (await world.stored("g1")).status is Status.SUCCEED


async def test_asked_again_it_returns_the_stored_result_and_does_nothing(
    world: World, service: Service
) -> None:
    function = transfer(world)
    workflows = await service.start(function)
    first = await workflows.execute(function, {"amount": 30}, gid="g1")
    assert await workflows.execute(function, {"amount": 30}, gid="g1") == first
    assert len(world.branches.calls) == 2


async def test_a_refused_step_undoes_the_ones_before_it_and_not_itself(
    world: World, service: Service
) -> None:
    world.branches.answer(IN, Says.FAILURE)
    function = transfer(world)
    workflows = await service.start(function)
    for _ in range(2):  # the second time from what is stored
        with pytest.raises(Failure, match="told to say failure"):
            await workflows.execute(function, {"amount": 30}, gid="g1")
    assert [(call.path, call.op) for call in world.branches.calls] == [
        (OUT, "action"),
        (IN, "action"),
        (OUT_BACK, "rollback"),
    ]
    assert await world.rows("g1") == ["01 action succeed", "02 action failed", "01 rollback succeed"]
    stored = await world.stored("g1")
    assert stored.status is Status.FAILED
    assert "told to say failure" in stored.rollback_reason


async def test_tcc_steps_are_confirmed_or_cancelled_last_first(world: World, service: Service) -> None:
    @workflow("two")
    async def two(wf: Workflow, data: Any) -> None:
        for way in ("Out", "In"):
            urls = [f"{world.bank}/bank.Bank/{phase}{way}" for phase in ("Try", "Confirm", "Cancel")]
            await wf.tcc({}, *urls)
        if data:
            raise Failure("changed my mind")

    workflows = await service.start(two)
    await workflows.execute(two, gid="g1")
    names = [call.path.rpartition("/")[2] for call in world.branches.calls]
    assert names == ["TryOut", "TryIn", "ConfirmIn", "ConfirmOut"]
    assert (await world.rows("g1"))[2:] == ["02 commit succeed", "01 commit succeed"]
    with pytest.raises(Failure, match="changed my mind"):
        await workflows.execute(two, True, gid="g2")
    names = [call.path.rpartition("/")[2] for call in world.branches.calls[4:]]
    assert names == ["TryOut", "TryIn", "CancelIn", "CancelOut"]


async def test_an_ongoing_step_is_gone_on_with_by_the_coordinator_s_callback(
    world: World, service: Service
) -> None:
    world.branches.answer(IN, Says.ONGOING, Says.BROKEN, Says.SUCCESS)
    function = transfer(world)
    workflows = await service.start(function)
    with pytest.raises(Ongoing):
        await workflows.execute(function, {"amount": 30}, gid="g1")
    await world.kit.advance(11)
    assert (await world.stored("g1")).status is Status.PREPARED
    await world.kit.advance(25)  # a callback without a result backs off
    assert (await world.stored("g1")).status is Status.SUCCEED
    assert world.branches.ops(OUT) == ["action"], "what is recorded is not done again"
    assert await workflows.execute(function, {"amount": 30}, gid="g1") == {"out": None, "for": 30}


async def test_who_waits_gets_the_result_that_another_run_has_reached(world: World, service: Service) -> None:
    world.branches.answer(IN, Says.ONGOING, Says.SUCCESS)
    function = transfer(world)
    workflows = await service.start(function)
    waiting = asyncio.create_task(workflows.execute(function, {"amount": 30}, gid="g1", wait_seconds=10))
    await world.branches.until_called(IN)
    await world.kit.advance(11)
    assert await waiting == {"out": None, "for": 30}


class Crash(Exception):
    """The process dies here."""


@pytest.mark.parametrize("at", range(6))
async def test_a_crash_at_any_step_is_gone_on_with_by_the_next_process(
    world: World, service: Service, at: int
) -> None:
    done: list[str] = []

    def crashing(at: int) -> WorkflowFunction:
        places = iter(range(100))

        def place() -> None:
            if next(places) == at:
                raise Crash

        @workflow("long")
        async def function(wf: Workflow, data: Any) -> Any:
            async def count(branch: BranchContext) -> int:
                done.append(branch.op)
                return len(done)

            place()
            number = await wf.do(count)
            place()
            await wf.saga(world.bank + OUT, world.bank + OUT_BACK)
            place()
            await wf.tcc({}, *(f"{world.bank}/b/{phase}" for phase in ("try", "confirm", "cancel")))
            place()
            await wf.saga(world.bank + IN, world.bank + IN_BACK)
            place()
            return [number, data]

        return function

    dying = crashing(at)
    workflows = await service.start(dying)
    if at < 5:
        with pytest.raises(Crash):
            await workflows.execute(dying, "payload", gid="g1")
        assert (await world.stored("g1")).status is Status.PREPARED
        await service.start(crashing(99))
        await world.kit.advance(11)
    else:
        assert await workflows.execute(dying, "payload", gid="g1") == [1, "payload"]
    assert (await world.stored("g1")).status is Status.SUCCEED
    assert done == ["action"]
    assert [call.path for call in world.branches.calls] == [OUT, "/b/try", IN, "/b/confirm"]


async def test_a_rollback_that_is_interrupted_goes_on_where_it_was(world: World, service: Service) -> None:
    world.branches.answer(OUT_BACK, Says.BROKEN, Says.FAILURE, Says.SUCCESS)

    async def refuse(wf: Workflow) -> None:
        raise Failure("changed my mind")

    function = transfer(world, refuse)
    workflows = await service.start(function)
    with pytest.raises(DtmError, match="told to break"):
        await workflows.execute(function, {"amount": 30}, gid="g1")
    await world.kit.advance(11)
    assert (await world.stored("g1")).status is Status.PREPARED, "a rollback cannot say no"
    await world.kit.advance(25)  # a callback without a result backs off
    assert (await world.stored("g1")).status is Status.FAILED
    assert world.branches.ops(IN_BACK) == ["rollback"]
    assert world.branches.ops(OUT_BACK) == ["rollback"] * 3


async def test_a_function_may_catch_a_failure_and_take_another_way(world: World, service: Service) -> None:
    world.branches.answer(OUT, Says.FAILURE)

    @workflow("other-way")
    async def function(wf: Workflow, data: Any) -> str:
        try:
            await wf.saga(world.bank + OUT, world.bank + OUT_BACK)
        except Failure:
            await wf.saga(world.bank + IN, world.bank + IN_BACK)
            return "in"
        return "out"

    workflows = await service.start(function)
    assert await workflows.execute(function, gid="g1") == "in"
    assert (await world.stored("g1")).status is Status.SUCCEED


async def test_an_unknown_step_that_the_function_swallows_does_not_become_a_success(
    world: World, service: Service
) -> None:
    world.branches.answer(OUT, Says.BROKEN, Says.SUCCESS)

    @workflow("careless")
    async def function(wf: Workflow, data: Any) -> None:
        with suppress(DtmError):
            await wf.saga(world.bank + OUT, world.bank + OUT_BACK)

    workflows = await service.start(function)
    with pytest.raises(DtmError, match="told to break"):
        await workflows.execute(function, gid="g1")
    await world.kit.advance(11)
    assert (await world.stored("g1")).status is Status.SUCCEED


async def test_steps_at_once_and_one_says_no_the_others_are_undone_after_they_ended(
    world: World, service: Service
) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(call: Any) -> bytes:
        inside.set()
        await go_on.wait()
        return b""

    async def refuse_meanwhile(call: Any) -> Says:
        await inside.wait()
        return Says.FAILURE

    world.branches.answer(OUT, slow)
    world.branches.answer(IN, refuse_meanwhile)

    @workflow("both")
    async def both(wf: Workflow, data: Any) -> None:
        await asyncio.gather(
            wf.saga(world.bank + OUT, world.bank + OUT_BACK), wf.saga(world.bank + IN, world.bank + IN_BACK)
        )

    workflows = await service.start(both)
    running = asyncio.create_task(workflows.execute(both, gid="g1"))
    await world.branches.until_called(IN)
    done, _ = await asyncio.wait({running}, timeout=0.2)
    assert not done, "the slow one may still come to its effect"
    go_on.set()
    with pytest.raises(Failure):
        await running
    assert [call.path for call in world.branches.calls][2:] == [OUT_BACK]


async def test_after_the_function_has_ended_a_branch_of_it_begins_no_further_step(
    world: World, service: Service
) -> None:
    """§7: what begins after the undoing would never be undone."""
    world.branches.answer(IN, Says.FAILURE)
    out_is_called, refused, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    later: list[asyncio.Task[Any]] = []

    async def slow(call: Any) -> bytes:
        out_is_called.set()
        await refused.wait()
        return b""

    world.branches.answer(OUT, slow, op="action")

    @workflow("legs")
    async def legs(wf: Workflow, data: Any) -> None:
        async def long_leg() -> None:
            await wf.saga(world.bank + OUT, world.bank + OUT_BACK)
            await go_on.wait()
            await wf.saga(world.bank + "/bank.Bank/Late", world.bank + OUT_BACK)

        later.append(asyncio.create_task(long_leg()))
        await out_is_called.wait()
        try:
            await wf.saga(world.bank + IN)
        finally:
            refused.set()

    workflows = await service.start(legs)
    with pytest.raises(Failure):
        await workflows.execute(legs, gid="g1")
    go_on.set()
    with pytest.raises(DtmError, match="its function has ended, so step 03 is not begun"):
        await later[0]
    assert [call.path for call in world.branches.calls] == [OUT, IN, OUT_BACK]


async def test_two_chains_of_steps_at_once_are_refused(world: World, service: Service) -> None:
    """§7: after a crash the step numbered 03 would get the result of the other chain's."""

    async def nothing(branch: BranchContext) -> None: ...

    async def chain(wf: Workflow, steps: int) -> None:
        for _ in range(steps):
            await wf.do(nothing)

    @workflow("chains")
    async def chains(wf: Workflow, data: list[int]) -> None:
        await asyncio.gather(*(chain(wf, steps) for steps in data))
        await asyncio.wait_for(chain(wf, 30), timeout=60)
        await asyncio.wait_for(chain(wf, 30), timeout=60)

    workflows = await service.start(chains)
    await workflows.execute(chains, [3, 1, 1])
    with pytest.raises(InvalidUse, match="two chains of steps run at once"):
        await workflows.execute(chains, [2, 2])


async def test_a_step_that_still_runs_is_not_run_a_second_time_beside_itself(
    world: World, service: Service
) -> None:
    """§7: another step's unknown result leaves the workflow open; going on with it waits for what runs."""
    world.branches.answer(IN, Says.BROKEN, Says.SUCCESS)
    started, go_on = asyncio.Event(), asyncio.Event()
    runs = 0

    async def slow(branch: BranchContext) -> None:
        nonlocal runs
        runs += 1
        started.set()
        await go_on.wait()

    @workflow("both")
    async def both(wf: Workflow, data: Any) -> None:
        async def give() -> None:
            await started.wait()
            await wf.saga(world.bank + IN)

        await asyncio.gather(wf.do(slow), give())

    workflows = await service.start(both)
    first = asyncio.create_task(workflows.execute(both, gid="g1"))
    await world.branches.until_called(IN)
    await asyncio.wait({first}, timeout=0.2)
    with pytest.raises(Ongoing, match="is running in this process"):
        await workflows.execute(both, gid="g1")
    go_on.set()
    with pytest.raises(DtmError, match="told to break"):
        await first
    await workflows.execute(both, gid="g1")
    assert runs == 1


async def test_a_connection_without_xa_is_closed_again(world: World, service: Service) -> None:
    opened: list[aiosqlite.Connection] = []

    async def connect() -> aiosqlite.Connection:
        opened.append(await aiosqlite.connect(":memory:"))
        return opened[0]

    async def nothing(connection: Any) -> None:
        raise AssertionError("has no XA")

    @workflow("lite")
    async def lite(wf: Workflow, data: Any) -> None:
        await wf.xa(connect, nothing)

    workflows = await service.start(lite)
    with pytest.raises(InvalidUse, match="SQLite has no XA"):
        await workflows.execute(lite)
    with pytest.raises(ValueError, match=r"[Cc]losed|no active connection"):
        await opened[0].execute("SELECT 1")


async def test_a_local_step_is_undone_by_its_own_function(world: World, service: Service) -> None:
    seen: list[tuple[str, str]] = []

    async def note(branch: BranchContext) -> None:
        seen.append((branch.branch_id, branch.op))

    @workflow("local")
    async def local(wf: Workflow, data: Any) -> None:
        await wf.do(note, rollback=note)
        raise Failure("no")

    workflows = await service.start(local)
    with pytest.raises(Failure):
        await workflows.execute(local, gid="g1")
    assert seen == [("01", "action"), ("01", "rollback")]


async def test_binary_answers_are_recorded_and_come_back(world: World, service: Service) -> None:
    world.branches.answer(OUT, b"\xff\x00")
    world.branches.answer(IN, Says.ONGOING, Says.SUCCESS)
    bodies: list[bytes] = []

    @workflow("binary")
    async def binary(wf: Workflow, data: Any) -> None:
        bodies.append((await wf.saga(world.bank + OUT)).body)
        await wf.saga(world.bank + IN)

    workflows = await service.start(binary)
    with pytest.raises(Ongoing):
        await workflows.execute(binary, gid="g1")
    await workflows.execute(binary, gid="g1")
    assert bodies == [b"\xff\x00"] * 2


async def test_a_gid_that_runs_in_this_process_is_not_run_beside_itself(
    world: World, service: Service
) -> None:
    world.branches.answer(OUT, Says.HANGS)
    function = transfer(world)
    workflows = await service.start(function)
    running = asyncio.create_task(workflows.execute(function, {"amount": 1}, gid="g1"))
    await world.branches.until_called(OUT)
    with pytest.raises(Ongoing, match="running in this process"):
        await workflows.execute(function, {"amount": 1}, gid="g1")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_wrong_use_is_explained(world: World, service: Service) -> None:
    function, stranger = transfer(world), transfer(world)
    workflows = await service.start(function)
    with pytest.raises(InvalidUse, match="not one of those given to Workflows"):
        await workflows.execute(stranger)
    with pytest.raises(InvalidUse, match="cannot be written as JSON"):
        await workflows.execute(function, object())
    with pytest.raises(InvalidUse, match="callback"):
        Workflows(world.dtm, [function], callback="")
    with pytest.raises(DtmError, match="'nobody' is not known here, only transfer"):
        await workflows.resume(BranchContext("g1", "workflow", "00", "nobody"), b"")
