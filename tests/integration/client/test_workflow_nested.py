"""Chains at once, children, time-outs and repeats of a step; a workflow that is cancelled (PROTOCOL §7)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from coordinator.client import (
    BranchContext,
    DtmError,
    Failure,
    InvalidUse,
    Mismatch,
    Ongoing,
    Retry,
    Status,
    Workflow,
    workflow,
)
from coordinator.testing import Kit, Says


class Crash(Exception):
    """The process dies here."""


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    async with Kit() as kit:
        yield kit


async def status_of(kit: Kit, gid: str = "g1") -> Status:
    await kit.settle()
    found = await kit.dtm.query(gid)
    assert found is not None
    return found.status


Work = Callable[[BranchContext], Awaitable[str]]


class Notes:
    """Steps that note what they do, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def do(self, what: str) -> Work:
        async def noting(branch: BranchContext) -> str:
            self.done.append(what if branch.op == "action" else f"undo {what}")
            return what

        noting.__name__ = what
        return noting

    def chain(self, *steps: str, fails: bool = False) -> Callable[[Workflow], Awaitable[str]]:
        async def running(wf: Workflow) -> str:
            for step in steps:
                await wf.do(self.do(step), rollback=self.do(step))
            if fails:
                raise Failure("no")
            return "-".join(steps)

        return running


async def test_chains_at_once_have_numbers_of_their_own(kit: Kit) -> None:
    notes, passed = Notes(), asyncio.Event()

    async def slow(wf: Workflow) -> str:
        await passed.wait()
        return await notes.chain("a", "b")(wf)

    async def quick(wf: Workflow) -> str:
        result = await notes.chain("c", "d")(wf)
        passed.set()
        return result

    @workflow("both")
    async def both(wf: Workflow, data: Any) -> list[str]:
        await wf.do(notes.do("first"))
        results = await wf.run_in_parallel(slow, quick)
        await wf.do(notes.do("last"))
        return results

    workflows = await kit.serve(both)
    assert await workflows.execute(both, gid="g1") == ["a-b", "c-d"]
    assert notes.done == ["first", "c", "d", "a", "b", "last"]
    stored = await kit.dtm.query("g1")
    assert stored is not None
    assert sorted((one.branch_id, one.url) for one in stored.branches) == [
        ("01", "do:first"),
        ("020101", "do:a"),
        ("020102", "do:b"),
        ("020201", "do:c"),
        ("020202", "do:d"),
        ("03", "do:last"),
    ]


async def test_a_chain_that_says_no_undoes_the_others_when_they_have_ended(kit: Kit) -> None:
    notes = Notes()

    @workflow("both")
    async def both(wf: Workflow, data: Any) -> None:
        await wf.do(notes.do("first"), rollback=notes.do("first"))
        await wf.run_in_parallel(notes.chain("a", fails=True), notes.chain("b", "c", "d"))

    workflows = await kit.serve(both)
    with pytest.raises(Failure, match="no"):
        await workflows.execute(both, gid="g1")
    assert notes.done[:1] == ["first"]
    assert sorted(notes.done[1:5]) == ["a", "b", "c", "d"]
    assert notes.done[5:] == ["undo d", "undo c", "undo b", "undo a", "undo first"]


async def test_a_chain_that_sleeps_does_not_hold_up_the_others(kit: Kit) -> None:
    notes = Notes()

    async def sleepy(wf: Workflow) -> str:
        await wf.do(notes.do("a"))
        await wf.sleep(60)
        return await wf.do(notes.do("b"))

    @workflow("both")
    async def both(wf: Workflow, data: Any) -> list[str]:
        return await wf.run_in_parallel(sleepy, notes.chain("c", "d", "e"))

    workflows = await kit.serve(both)
    with pytest.raises(Ongoing):
        await workflows.execute(both, gid="g1")
    assert sorted(notes.done) == ["a", "c", "d", "e"]
    await kit.advance(61)
    assert await status_of(kit) is Status.SUCCEED
    assert notes.done[4:] == ["b"]
    assert await workflows.execute(both, gid="g1") == ["b", "c-d-e"]


async def test_a_step_in_the_place_of_chains_is_a_mismatch_and_the_other_way_round(kit: Kit) -> None:
    notes = Notes()
    as_chains, dies = True, True

    @workflow("both")
    async def both(wf: Workflow, data: Any) -> None:
        if as_chains:
            await wf.run_in_parallel(notes.chain("a"))
        else:
            await wf.do(notes.do("a"))
        if dies:
            raise Crash

    workflows = await kit.serve(both)
    for gid, before in (("g1", True), ("g2", False)):
        as_chains = before
        with pytest.raises(Crash):
            await workflows.execute(both, gid=gid)
        as_chains = not before
        with pytest.raises(Mismatch, match=r"step 01 (had steps inside|was do:a, and is parallel now)"):
            await workflows.execute(both, gid=gid)
    assert notes.done == ["a", "a"]


async def test_a_child_is_part_of_the_whole(kit: Kit) -> None:
    notes = Notes()

    @workflow("pack")
    async def pack(wf: Workflow, order: dict[str, int]) -> int:
        await notes.chain("fetch", "wrap")(wf)
        return order["pears"]

    @workflow("buy")
    async def buy(wf: Workflow, order: dict[str, int]) -> int:
        await wf.do(notes.do("charge"), rollback=notes.do("charge"))
        packed = await wf.child(pack, {"pears": order["pears"] * 2})
        if packed > 5:
            raise Failure("too heavy")
        return packed

    workflows = await kit.serve(buy)
    assert await workflows.execute(buy, {"pears": 2}) == 4
    notes.done.clear()
    with pytest.raises(Failure, match="too heavy"):
        await workflows.execute(buy, {"pears": 3})
    assert notes.done == ["charge", "fetch", "wrap", "undo wrap", "undo fetch", "undo charge"]


async def test_a_child_that_says_no_is_undone_before_its_parent_goes_another_way(kit: Kit) -> None:
    notes = Notes()
    dies = True

    @workflow("air")
    async def air(wf: Workflow, data: None) -> None:
        await notes.chain("fly", fails=True)(wf)

    @workflow("travel")
    async def travel(wf: Workflow, data: None) -> str:
        try:
            await wf.child(air, None)
        except Failure:
            await wf.do(notes.do("drive"))
            if dies:
                raise Crash from None
            return "by road"
        return "by air"

    workflows = await kit.serve(travel)
    with pytest.raises(Crash):
        await workflows.execute(travel, None, gid="g1")
    dies = False
    assert await workflows.execute(travel, None, gid="g1") == "by road"
    assert notes.done == ["fly", "undo fly", "drive"]


async def test_a_step_is_repeated_at_once_where_nobody_knows(kit: Kit) -> None:
    kit.branches.answer("/pay", Says.BROKEN, Says.LOST, Says.SUCCESS)
    kit.branches.answer("/ask", Says.BROKEN, Says.FAILURE, Says.SUCCESS)
    tries = 0

    async def flaky(branch: BranchContext) -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionError("not yet")
        return tries

    @workflow("stubborn")
    async def stubborn(wf: Workflow, data: Any) -> int:
        quick = Retry(attempts=3, first_pause=0.01)
        await wf.saga(f"{kit.branches.http_url}/pay", retry=quick)
        with pytest.raises(Failure):
            await wf.saga(f"{kit.branches.http_url}/ask", retry=quick)
        return await wf.do(flaky, retry=quick)

    workflows = await kit.serve(stubborn)
    assert await workflows.execute(stubborn) == 3
    assert len(kit.branches.calls) == 5


async def test_a_step_may_take_so_long_and_no_longer(kit: Kit) -> None:
    kit.branches.answer("/slow", Says.HANGS)

    async def hangs(branch: BranchContext) -> None:
        await asyncio.Event().wait()

    @workflow("slow")
    async def slow(wf: Workflow, data: bool) -> None:
        if data:
            await wf.do(hangs, timeout=0.05)
        await wf.saga(f"{kit.branches.http_url}/slow", timeout=0.05)

    workflows = await kit.serve(slow)
    with pytest.raises(DtmError, match=r"did not answer within 0\.1 s: not known"):
        await workflows.execute(slow, False)
    with pytest.raises(TimeoutError):
        await workflows.execute(slow, True)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"timeout": -1}, "timeout=-1"),
        ({"timeout": "3"}, "timeout='3'"),
        ({"name": "a\nb"}, "control character"),
    ],
)
async def test_what_is_no_policy_is_refused_before_anything_runs(
    kit: Kit, arguments: dict[str, Any], problem: str
) -> None:
    @workflow("wrong")
    async def wrong(wf: Workflow, data: Any) -> None:
        await wf.saga(f"{kit.branches.http_url}/pay", **arguments)

    with pytest.raises(InvalidUse, match=problem):
        await (await kit.serve(wrong)).execute(wrong)
    with pytest.raises(InvalidUse, match="attempts=0"):
        Retry(attempts=0)
    assert kit.branches.calls == []


async def test_one_that_sleeps_is_cancelled_by_its_client(kit: Kit) -> None:
    notes = Notes()

    @workflow("expire")
    async def expire(wf: Workflow, data: Any) -> None:
        await notes.chain("a", "b")(wf)
        await wf.sleep(86_400)
        await notes.chain("c")(wf)

    workflows = await kit.serve(expire)
    with pytest.raises(Ongoing):
        await workflows.execute(expire, gid="g1")
    await workflows.cancel("g1", reason="the customer has called")
    assert await status_of(kit) is Status.FAILED
    assert notes.done == ["a", "b", "undo c", "undo b", "undo a"]
    for _ in range(2):
        with pytest.raises(Failure, match="cancelled: the customer has called"):
            await workflows.execute(expire, gid="g1")
        await workflows.cancel("g1")
    await kit.advance(100_000)
    assert notes.done == ["a", "b", "undo c", "undo b", "undo a"]


async def test_one_that_runs_here_is_cancelled_after_the_step_that_runs(kit: Kit) -> None:
    notes, inside, go_on = Notes(), asyncio.Event(), asyncio.Event()

    async def slow(branch: BranchContext) -> str:
        inside.set()
        await go_on.wait()
        return ""

    @workflow("long")
    async def long(wf: Workflow, data: Any) -> str:
        await wf.do(slow, rollback=notes.do("slow"))
        try:
            await notes.chain("next")(wf)
        except Failure:  # nobody gets out of it
            return "as if nothing had been"
        return "done"

    workflows = await kit.serve(long)
    running = asyncio.create_task(workflows.execute(long, gid="g1"))
    await inside.wait()
    await workflows.cancel("g1")
    go_on.set()
    with pytest.raises(Failure, match="cancelled"):
        await running
    assert notes.done == ["undo next", "undo slow"]


async def test_a_step_under_way_in_another_process_is_undone_and_stops_that_one(kit: Kit) -> None:
    """Its record comes too late: the place is taken."""
    notes, inside, go_on = Notes(), asyncio.Event(), asyncio.Event()

    async def charge(branch: BranchContext) -> str:
        inside.set()
        await go_on.wait()
        notes.done.append("charge")
        return ""

    @workflow("long")
    async def long(wf: Workflow, data: Any) -> None:
        await wf.do(charge, rollback=notes.do("charge"))
        await wf.do(notes.do("ship"))

    there = await kit.serve(long)
    running = asyncio.create_task(there.execute(long, gid="g1"))
    await inside.wait()
    here = await kit.serve(long)
    await here.cancel("g1")
    assert notes.done == ["undo charge"]
    go_on.set()
    with pytest.raises(DtmError):
        await running
    assert notes.done == ["undo charge", "charge"], "as a barrier would have kept it from"
    assert await status_of(kit) is Status.FAILED


async def test_what_cannot_be_cancelled(kit: Kit) -> None:
    @workflow("quick")
    async def quick(wf: Workflow, data: Any) -> str:
        return "done"

    workflows = await kit.serve(quick)
    await workflows.execute(quick, gid="g1")
    with pytest.raises(DtmError, match="g1 has succeeded: too late"):
        await workflows.cancel("g1")
    await kit.dtm.saga("g2").add(f"{kit.branches.http_url}/a").submit()
    for gid in ("g2", "nobody"):
        with pytest.raises(InvalidUse, match=f"{gid} is no workflow of these, only quick"):
            await workflows.cancel(gid)


async def test_a_cancelling_that_was_interrupted_goes_on(kit: Kit) -> None:
    notes, dies = Notes(), True

    async def undo(branch: BranchContext) -> None:
        if dies:
            raise Crash
        notes.done.append("undone")

    @workflow("wait")
    async def wait(wf: Workflow, data: Any) -> None:
        await wf.do(notes.do("a"), rollback=undo)
        await wf.sleep(86_400)

    workflows = await kit.serve(wait)
    with pytest.raises(Ongoing):
        await workflows.execute(wait, gid="g1")
    with pytest.raises(Crash):
        await workflows.cancel("g1")
    dies = False
    await kit.advance(70)
    assert await status_of(kit) is Status.FAILED
    assert notes.done == ["a", "undone"]
