"""Recorded histories of workflows against changed code: nothing is called (PROTOCOL §7)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from coordinator.client import (
    BranchContext,
    DtmError,
    Failure,
    InvalidUse,
    Mismatch,
    Ongoing,
    Status,
    Workflow,
    WorkflowFunction,
    sync,
    workflow,
)
from coordinator.testing import Kit, Says, replay


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    async with Kit() as kit:
        yield kit


async def history_of(kit: Kit, gid: str = "g1") -> Any:
    await kit.settle()
    found = await kit.dtm.query(gid)
    assert found is not None
    return found.raw


async def charge(branch: BranchContext) -> str:
    if branch.gid == "done":
        raise AssertionError("nothing is done")
    return "charged"


async def refund(branch: BranchContext) -> None:
    return None


def buying(kit: Kit, *, asks: bool = False, patched: bool = False, returns: str = "bought") -> Any:
    @workflow("buy")
    async def buy(wf: Workflow, data: dict[str, int]) -> str:
        await wf.do(charge, rollback=refund)
        if asks and (not patched or await wf.patched("ask")):
            await wf.do(charge, name="ask")
        await wf.sleep(60)
        await wf.saga(f"{kit.branches.http_url}/take", f"{kit.branches.http_url}/give", data)
        return f"{returns} {data['pears']}"

    return buy


async def bought(kit: Kit, function: WorkflowFunction[Any, Any], *, seconds: float = 61) -> Any:
    workflows = await kit.serve(function)
    with pytest.raises(Ongoing):
        await workflows.execute(function, {"pears": 2}, gid="g1")
    await kit.advance(seconds)
    return await history_of(kit)


async def test_the_same_code_comes_to_the_same_end(kit: Kit) -> None:
    history = await bought(kit, buying(kit))
    calls = len(kit.branches.calls)
    replayed = await replay(history, buying(kit))
    assert (replayed.status, replayed.result, replayed.next) == (Status.SUCCEED, "bought 2", "")
    assert len(kit.branches.calls) == calls


async def test_what_has_not_ended_says_what_comes_next(kit: Kit) -> None:
    history = await bought(kit, buying(kit), seconds=0)
    replayed = await replay(history, buying(kit))
    assert (replayed.status, replayed.next) == (None, "03 saga:take")


async def test_changed_code_is_found_out(kit: Kit) -> None:
    history = await bought(kit, buying(kit))
    with pytest.raises(Mismatch, match="step 02 was sleep, and is do:ask now"):
        await replay(history, buying(kit, asks=True))
    with pytest.raises(Mismatch, match="it succeeded with 'bought 2', and succeeded with 'sold 2' now"):
        await replay(history, buying(kit, returns="sold"))
    assert (await replay(history, buying(kit, asks=True, patched=True))).status is Status.SUCCEED


async def test_one_that_was_rolled_back(kit: Kit) -> None:
    kit.branches.answer("/take", Says.FAILURE)
    history = await bought(kit, buying(kit))
    replayed = await replay(history, buying(kit))
    assert replayed.status is Status.FAILED
    assert "told to say failure" in replayed.reason

    @workflow("buy")
    async def swallows(wf: Workflow, data: Any) -> str:
        await wf.do(charge, rollback=refund)
        await wf.sleep(60)
        try:
            await wf.saga(f"{kit.branches.http_url}/take", f"{kit.branches.http_url}/give", data)
        except Failure:
            return "without pears"
        return "with pears"

    with pytest.raises(
        Mismatch, match="the rollback of step 01 do:charge is recorded, and the function does"
    ):
        await replay(history, swallows)


async def test_chains_at_once_and_groups_of_tasks_stop_at_what_is_not_recorded(kit: Kit) -> None:
    kit.branches.answer("/take", Says.BROKEN)

    @workflow("both")
    async def both(wf: Workflow, data: Any) -> None:
        async def chain(it: Workflow) -> None:
            await it.do(charge)
            await it.saga(f"{kit.branches.http_url}/take")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(wf.do(charge))
            tasks.create_task(wf.run_in_parallel(chain))

    workflows = await kit.serve(both)
    with pytest.raises(ExceptionGroup):
        await workflows.execute(both, gid="g1")
    assert (await replay(await history_of(kit), both)).next == "020102 saga:take"


async def test_blocking_functions_are_replayed_in_a_thread(kit: Kit) -> None:
    history = await bought(kit, buying(kit))
    url = f"{kit.branches.http_url}/take"

    @sync.workflow("buy")
    def buy(wf: sync.Workflow, data: dict[str, int]) -> str:
        wf.do(lambda branch: "", name="charge", rollback=lambda branch: None)
        wf.sleep(60)
        wf.saga(url, "", data)
        return f"bought {data['pears']}"

    @sync.workflow("buy")
    def longer(wf: sync.Workflow, data: dict[str, int]) -> str:
        result = buy.function(wf, data)
        wf.do(lambda branch: "", name="more")
        return result

    assert (await replay(history, buy)).status is Status.SUCCEED
    with pytest.raises(Mismatch, match="succeeded with 'bought 2', and goes on with step 04 do:more now"):
        await replay(history, longer)


async def test_what_is_no_history_of_these(kit: Kit) -> None:
    history = await bought(kit, buying(kit))
    masked = {**history, "transaction": {**history["transaction"], "custom_data": ""}}
    for one in (masked, {"transaction": None}, {**history, "transaction": {"trans_type": "saga"}}):
        with pytest.raises(InvalidUse, match="the history is no workflow's of these, buy, with its data"):
            await replay(one, buying(kit))


async def test_what_the_function_raises_is_raised(kit: Kit) -> None:
    @workflow("buy")
    async def breaks(wf: Workflow, data: Any) -> None:
        raise DtmError("a mistake in the code")

    with pytest.raises(DtmError, match="a mistake in the code"):
        await replay(await bought(kit, buying(kit)), breaks)
