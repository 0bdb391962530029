"""A workflow that sleeps, and what chance gave it: the same for every process that goes on (PROTOCOL §7)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from coordinator.client import (
    BranchContext,
    Dtm,
    DtmError,
    Failure,
    InvalidUse,
    Ongoing,
    Status,
    Workflow,
    Workflows,
    workflow,
)
from coordinator.testing import Kit, Says

DAY = 86_400


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    async with Kit() as kit:
        yield kit


async def status_of(kit: Kit, gid: str = "g1") -> Status:
    await kit.settle()
    found = await kit.dtm.query(gid)
    assert found is not None
    return found.status


class Log:
    """A step that notes when it was done, by the kit's clock."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._begun = kit.clock.now()
        self.at: list[float] = []

    async def note(self, branch: BranchContext) -> None:
        self.at.append((self._kit.clock.now() - self._begun).total_seconds())


async def test_it_is_called_back_when_the_time_is_over_and_not_before(kit: Kit) -> None:
    log, runs = Log(kit), 0

    @workflow("remind")
    async def remind(wf: Workflow, data: str) -> str:
        nonlocal runs
        runs += 1
        await wf.do(log.note)
        await wf.sleep(DAY)
        await wf.do(log.note)
        return data

    workflows = await kit.serve(remind)
    with pytest.raises(Ongoing, match="g1 sleeps until"):
        await workflows.execute(remind, "ann", gid="g1")
    await kit.advance(DAY - 2)
    assert runs == 1, "nobody is called meanwhile"
    await kit.serve(remind)  # another process
    await kit.advance(4)
    assert await status_of(kit) is Status.SUCCEED
    assert log.at == pytest.approx([0, DAY], abs=2)
    assert runs == 2
    assert await workflows.execute(remind, "ann", gid="g1") == "ann"


async def test_who_asks_too_early_does_not_wake_it(kit: Kit) -> None:
    @workflow("wait")
    async def wait(wf: Workflow, data: Any) -> None:
        await wf.sleep(100)

    workflows = await kit.serve(wait)
    for seconds in (40, 40):
        with pytest.raises(Ongoing):
            await workflows.execute(wait, gid="g1")
        await kit.advance(seconds)
    await kit.dtm.retry("g1")
    await kit.advance(10)
    assert await status_of(kit) is Status.PREPARED
    await kit.advance(10)
    assert await status_of(kit) is Status.SUCCEED


async def test_it_may_sleep_again_and_again(kit: Kit) -> None:
    log = Log(kit)

    @workflow("monthly")
    async def monthly(wf: Workflow, data: Any) -> None:
        for _ in range(3):
            await wf.sleep(30 * DAY)
            await wf.do(log.note)

    workflows = await kit.serve(monthly)
    with pytest.raises(Ongoing):
        await workflows.execute(monthly, gid="g1")
    for _ in range(3):
        await kit.advance(30 * DAY)
    assert await status_of(kit) is Status.SUCCEED
    assert [round(at / DAY) for at in log.at] == [30, 60, 90]


async def test_a_moment_that_has_passed_is_not_waited_for(kit: Kit) -> None:
    @workflow("until")
    async def until(wf: Workflow, data: Any) -> str:
        await wf.sleep_until(await wf.now() - timedelta(seconds=1))
        await wf.sleep(0)
        return "done"

    assert await (await kit.serve(until)).execute(until) == "done"


@pytest.mark.parametrize("moment", [datetime(2030, 1, 1), "tomorrow"])  # noqa: DTZ001
async def test_what_is_no_moment_is_refused(kit: Kit, moment: Any) -> None:
    @workflow("until")
    async def until(wf: Workflow, data: Any) -> None:
        await wf.sleep_until(moment)

    with pytest.raises((InvalidUse, AttributeError)):
        await (await kit.serve(until)).execute(until)


async def test_what_catches_everything_does_not_catch_sleep(kit: Kit) -> None:
    done: list[str] = []

    async def charge(branch: BranchContext) -> None:
        done.append("charge")

    @workflow("careless")
    async def careless(wf: Workflow, data: Any) -> None:
        try:
            await wf.sleep(60)
        except BaseException:  # noqa: BLE001
            done.append("caught")
        await wf.do(charge)

    workflows = await kit.serve(careless)
    with pytest.raises(Ongoing):
        await workflows.execute(careless, gid="g1")
    assert done == ["caught"]
    await kit.advance(60)
    assert await status_of(kit) is Status.SUCCEED
    assert done == ["caught", "charge"]


@pytest.mark.parametrize("group", [False, True])
async def test_steps_beside_a_sleep_are_done_and_the_earliest_of_two_counts(kit: Kit, group: bool) -> None:
    log = Log(kit)

    @workflow("both")
    async def both(wf: Workflow, data: Any) -> None:
        beside = (wf.sleep(60), wf.do(log.note), wf.sleep(20))
        if not group:
            await asyncio.gather(*beside)
        else:
            async with asyncio.TaskGroup() as tasks:
                for one in beside:
                    tasks.create_task(one)
        await wf.do(log.note)

    workflows = await kit.serve(both)
    with pytest.raises(Ongoing):
        await workflows.execute(both, gid="g1")
    await kit.advance(20)
    assert log.at == [0]
    await kit.advance(40)
    assert await status_of(kit) is Status.SUCCEED
    assert log.at == [0, 60]


async def test_a_step_beside_a_sleep_whose_result_nobody_knows_is_asked_again_before(kit: Kit) -> None:
    kit.branches.answer("/pay", Says.BROKEN, Says.SUCCESS)

    @workflow("both")
    async def both(wf: Workflow, data: Any) -> None:
        await asyncio.gather(wf.sleep(DAY), wf.saga(f"{kit.branches.http_url}/pay"))

    workflows = await kit.serve(both)
    with pytest.raises(DtmError, match="told to break"):
        await workflows.execute(both, gid="g1")
    await kit.advance(11)
    assert kit.branches.ops() == ["action", "action"]
    await kit.advance(DAY)
    assert await status_of(kit) is Status.SUCCEED
    assert kit.branches.ops() == ["action", "action"]


async def test_a_failure_after_a_sleep_undoes_what_was_before_it(kit: Kit) -> None:
    undone: list[str] = []

    async def reserve(branch: BranchContext) -> None:
        return None

    async def release(branch: BranchContext) -> None:
        undone.append(branch.branch_id)

    @workflow("expire")
    async def expire(wf: Workflow, data: Any) -> None:
        await wf.do(reserve, rollback=release)
        await wf.sleep(60)
        raise Failure("nobody has paid")

    workflows = await kit.serve(expire)
    with pytest.raises(Ongoing):
        await workflows.execute(expire, gid="g1")
    await kit.advance(60)
    assert await status_of(kit) is Status.FAILED
    assert undone == ["01"]


async def test_a_sleep_takes_back_what_went_wrong_before_it(kit: Kit) -> None:
    """It has come further: back-off, alert and the row of what is stuck are over."""
    fails = 4

    @workflow("late")
    async def late(wf: Workflow, data: Any) -> None:
        nonlocal fails
        if fails:
            fails -= 1
            raise DtmError("not yet")
        await wf.sleep(DAY)
        fails = 1 if fails == 0 else fails

    workflows = await kit.serve(late)
    with pytest.raises(DtmError):
        await workflows.execute(late, gid="g1")
    await kit.advance(200)
    found = await kit.dtm.query("g1")
    assert found is not None
    row = found.raw["transaction"]
    assert row["next_cron_interval"] == 10
    assert row.get("owner", "") == ""
    due = datetime.fromisoformat(row["next_cron_time"])
    assert due - kit.clock.now() > timedelta(seconds=DAY - 200)


async def test_time_and_chance_are_what_they_were(kit: Kit) -> None:
    seen: list[tuple[datetime, float, UUID]] = []

    @workflow("draw")
    async def draw(wf: Workflow, data: Any) -> None:
        seen.append((await wf.now(), await wf.random(), await wf.uuid()))
        await wf.sleep(5)

    workflows = await kit.serve(draw)
    with pytest.raises(Ongoing):
        await workflows.execute(draw, gid="g1")
    await kit.advance(5)
    assert await status_of(kit) is Status.SUCCEED
    assert len(seen) == 2
    assert seen[0] == seen[1]
    now, drawn, uuid = seen[0]
    assert now == kit.clock.now() - timedelta(seconds=5)
    assert 0 <= drawn < 1
    assert isinstance(uuid, UUID)
    stored = await kit.dtm.query("g1")
    assert stored is not None
    assert [one.url for one in stored.branches] == ["now", "random", "uuid", "sleep"]


async def test_over_grpc_too(kit: Kit) -> None:
    @workflow("wait")
    async def wait(wf: Workflow, data: Any) -> None:
        await wf.sleep(60)

    async with Dtm(kit.grpc_url) as dtm:
        workflows = Workflows(
            dtm, [wait], callback="127.0.0.1:1/workflow.Workflow/Execute", now=kit.clock.now
        )
        with pytest.raises(Ongoing):
            await workflows.execute(wait, gid="g1")
        row = (await dtm.query("g1")).raw["transaction"]  # type: ignore[union-attr]
        due = datetime.fromisoformat(row["next_cron_time"])
        assert timedelta(seconds=58) <= due - kit.clock.now() <= timedelta(seconds=61)
