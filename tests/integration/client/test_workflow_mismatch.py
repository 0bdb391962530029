"""A workflow that was begun with other code: never another step's result (PROTOCOL §5, §7)."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from coordinator.client import (
    BranchContext,
    Dtm,
    Failure,
    Mismatch,
    Status,
    Workflow,
    WorkflowFunction,
    Workflows,
    workflow,
)
from coordinator.client.transport.base import BranchRegistration
from coordinator.testing import Kit

Body = Callable[[Workflow], Awaitable[Any]]


class Crash(Exception):
    """The process dies here."""


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    async with Kit() as kit:
        yield kit


@pytest.fixture(params=["http", "grpc"])
async def dtm(request: pytest.FixtureRequest, kit: Kit) -> AsyncIterator[Dtm]:
    async with Dtm(kit.http_url if request.param == "http" else kit.grpc_url) as dtm:
        yield dtm


def function_of(body: Body, name: str = "buy") -> WorkflowFunction:
    @workflow(name)
    async def function(wf: Workflow, data: Any) -> Any:
        return await body(wf)

    return function


async def run(dtm: Dtm, body: Body, gid: str = "g1", data: Any = None) -> Any:
    function = function_of(body)
    return (
        await Workflows(dtm, [function], callback="h:1/workflow.Workflow/Execute").execute(
            function, data, gid=gid
        )
        if dtm.coordinator.protocol == "grpc"
        else await Workflows(dtm, [function], callback="http://h:1/workflow").execute(function, data, gid=gid)
    )


class Till:
    """Steps that note what they do."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def charge(self, branch: BranchContext) -> str:
        self.done.append("charge")
        return "charged"

    async def ship(self, branch: BranchContext) -> str:
        self.done.append("ship")
        return "shipped"

    async def ask(self, branch: BranchContext) -> str:
        self.done.append("ask")
        return "asked"


async def test_a_step_that_was_put_before_a_recorded_one_does_not_get_its_result(dtm: Dtm) -> None:
    till = Till()

    async def before(wf: Workflow) -> None:
        await wf.do(till.charge)
        raise Crash

    async def after(wf: Workflow) -> None:
        await wf.do(till.ask)
        await wf.do(till.charge)

    with pytest.raises(Crash):
        await run(dtm, before)
    for _ in range(2):
        with pytest.raises(
            Mismatch, match=r"step 01 was do:charge, and is do:ask now.*begun with other code"
        ):
            await run(dtm, after)
    assert till.done == ["charge"]
    stored = await dtm.query("g1")
    assert stored is not None
    assert stored.status is Status.PREPARED, "left to the right code"


async def test_a_recorded_step_that_is_not_there_any_more_is_a_mismatch(dtm: Dtm) -> None:
    till = Till()

    async def before(wf: Workflow) -> None:
        await wf.do(till.charge)
        await wf.do(till.ship)
        raise Crash

    async def after(wf: Workflow) -> None:
        await wf.do(till.charge)

    async def refuses(wf: Workflow) -> None:
        await wf.do(till.charge)
        raise Failure("no")

    with pytest.raises(Crash):
        await run(dtm, before)
    for body in (after, refuses):
        with pytest.raises(Mismatch, match="step 02 do:ship is recorded, and the function ended without it"):
            await run(dtm, body)


async def test_a_mismatch_that_the_function_swallows_is_one_all_the_same(dtm: Dtm) -> None:
    till = Till()

    async def before(wf: Workflow) -> None:
        await wf.do(till.charge)
        raise Crash

    async def after(wf: Workflow) -> None:
        for step in (till.ask, till.ship):
            try:
                await wf.do(step)
            except Mismatch:
                continue
        raise Failure("no")

    with pytest.raises(Crash):
        await run(dtm, before)
    with pytest.raises(Mismatch):
        await run(dtm, after)
    assert till.done == ["charge"]


async def test_what_a_step_is_called(kit: Kit, dtm: Dtm) -> None:
    """By function, by path whatever the host, or as it is given."""
    till = Till()
    host = kit.branches.http_url

    async def steps(wf: Workflow) -> None:
        await wf.do(till.charge)
        await wf.do(partial(till.ship))
        await wf.do(till.ask, name="ask the warehouse")
        await wf.saga(f"{host}/stock/take?of=pears", f"{host}/stock/give")
        await wf.saga(f"{kit.branches.grpc_url}/bank.Bank/Out")
        await wf.tcc({}, f"{host}/try", f"{host}/confirm", f"{host}/cancel", name="points")

    await run(dtm, steps)
    stored = await kit.dtm.query("g1")
    assert stored is not None
    assert [(one.branch_id, one.op, one.url) for one in stored.branches] == [
        ("01", "action", "do:charge"),
        ("02", "action", "do:ship"),
        ("03", "action", "do:ask the warehouse"),
        ("04", "action", "saga:stock/take"),
        ("05", "action", "saga:bank.Bank/Out"),
        ("06", "action", "tcc:points"),
        ("06", "commit", "tcc:points"),
    ]


async def test_rows_without_a_name_are_gone_on_with(kit: Kit) -> None:
    """As Go's clients write them, and as ours did."""
    till = Till()

    async def body(wf: Workflow) -> list[str]:
        return [await wf.do(till.charge), await wf.do(till.ship)]

    async def dies(wf: Workflow) -> None:
        raise Crash

    with pytest.raises(Crash):
        await run(kit.dtm, dies)
    nameless = {"op": "action", "status": "succeed"}
    registration = BranchRegistration("g1", "workflow", "01", nameless, b'"before"')
    await kit.dtm.coordinator.register_branch(registration)
    assert await run(kit.dtm, body) == ["before", "shipped"]


async def test_another_workflow_or_other_data_under_the_gid(dtm: Dtm) -> None:
    async def body(wf: Workflow) -> str:
        return "done"

    async def dies(wf: Workflow) -> None:
        raise Crash

    assert await run(dtm, body, "ended", {"a": 1, "b": 2}) == "done"
    with pytest.raises(Crash):
        await run(dtm, dies, "open", {"a": 1, "b": 2})
    callback = "http://h:1/w" if dtm.coordinator.protocol == "http" else "h:1/workflow.Workflow/Execute"
    other = function_of(body, "sell")
    for gid in ("ended", "open"):
        with pytest.raises(Mismatch, match="was begun with other data"):
            await run(dtm, body, gid, {"a": 2, "b": 2})
        with pytest.raises(Mismatch, match="is a workflow 'buy', not 'sell'"):
            await Workflows(dtm, [other], callback=callback).execute(other, {"a": 1, "b": 2}, gid=gid)
        assert await run(dtm, body, gid, {"b": 2, "a": 1}) == "done", "the same data"


async def test_what_was_undone_in_part_does_not_succeed_with_other_code(kit: Kit) -> None:
    till = Till()
    undone = 0

    async def undo(branch: BranchContext) -> None:
        nonlocal undone
        undone += 1
        if branch.branch_id == "01":
            raise Crash

    async def before(wf: Workflow) -> None:
        await wf.do(till.charge, rollback=undo)
        await wf.do(till.ship, rollback=undo)
        raise Failure("no")

    async def after(wf: Workflow) -> None:
        await wf.do(till.charge, rollback=undo)
        await wf.do(till.ship, rollback=undo)

    with pytest.raises(Crash):
        await run(kit.dtm, before)
    with pytest.raises(
        Mismatch, match="the rollback of step 02 do:ship is recorded, and the function does not"
    ):
        await run(kit.dtm, after)
    assert undone == 2


async def test_a_change_counts_for_those_that_were_not_past_it(dtm: Dtm) -> None:
    till = Till()
    dies = True

    async def before(wf: Workflow) -> None:
        await wf.do(till.charge)
        await wf.do(till.ship)
        raise Crash

    async def after(wf: Workflow) -> None:
        await wf.do(till.charge)
        if await wf.patched("ask first"):
            await wf.do(till.ask)
            if dies:
                raise Crash
        await wf.do(till.ship)

    with pytest.raises(Crash):
        await run(dtm, before, "past it")
    await run(dtm, after, "past it")
    assert till.done == ["charge", "ship"]
    till.done.clear()
    with pytest.raises(Crash):
        await run(dtm, after, "new")
    dies = False
    await run(dtm, after, "new")
    assert till.done == ["charge", "ask", "ship"]


async def test_a_change_inside_a_loop_is_answered_once_in_a_run(kit: Kit) -> None:
    till = Till()
    answers: list[list[bool]] = []

    async def body(wf: Workflow) -> None:
        answers.append([])
        for _ in range(3):
            answers[-1].append(await wf.patched("in the loop"))
            await wf.do(till.charge)
            if len(answers) == 1:
                raise Crash

    for _ in range(2):
        try:
            await run(kit.dtm, body)
        except Crash:
            continue
    assert answers == [[True], [True, True, True]]

    async def older(wf: Workflow) -> None:
        await wf.do(till.charge)
        raise Crash

    answers.append([])  # so that it does not die
    with pytest.raises(Crash):
        await run(kit.dtm, older, "g2")
    await run(kit.dtm, body, "g2")
    assert answers[-1] == [False, False, False]


async def test_what_is_over_may_lose_its_patch(kit: Kit) -> None:
    """When all that began before the change have ended, the question may go; its record disturbs nobody."""
    till = Till()

    async def asking(wf: Workflow) -> None:
        await wf.patched("ask first")
        await wf.do(till.ask)
        raise Crash

    async def without(wf: Workflow) -> None:
        await wf.do(till.ask)

    with pytest.raises(Crash):
        await run(kit.dtm, asking)
    await run(kit.dtm, without)
    assert till.done == ["ask"]


async def test_the_name_never_stands_in_the_result(kit: Kit) -> None:
    """Go's workflows read bin_data."""
    till = Till()

    async def body(wf: Workflow) -> None:
        await wf.do(till.charge)

    await run(kit.dtm, body)
    stored = await kit.dtm.query("g1")
    assert stored is not None
    assert [base64.b64decode(one["bin_data"]) for one in stored.raw["branches"]] == [b'"charged"']
