"""Workflows: prepared, looked up again after a crash, ended by their client (PROTOCOL §5, §7)."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from coordinator.calls.base import SUCCESS, Answer
from coordinator.errors import BranchConflict, Failure, Invalid, InvalidBranch, NotFound, WrongState
from coordinator.model import Branch, Result, Status
from tests.unit.service.bench import Bench, Told, branch, ended, request, virtually


@virtually
async def test_a_workflow_that_is_prepared_again_returns_its_progress() -> None:
    """PROTOCOL §5: insert, or return what is stored: the transaction and its branch ops."""
    bench = Bench()
    first = await bench.workflows.prepare(request("workflow"))
    assert (first.transaction.status, first.branches) == (Status.PREPARED, ())
    await bench.branches.register(branch("workflow", "01", b"one"))
    await bench.branches.register(branch("workflow", "02", b"two", op="rollback", status="failed"))
    again = await bench.workflows.prepare(request("workflow"))
    assert replace(again.transaction, id=0) == first.transaction
    assert [(b.branch_id, b.op, b.status, b.payload) for b in again.branches] == [
        ("01", "action", "succeed", b"one"),
        ("02", "rollback", "failed", b"two"),
    ]


@pytest.mark.parametrize(
    ("extra", "reason", "result"),
    [
        ({"status": "succeed", "result": "cGFpZA=="}, "", "cGFpZA=="),
        ({"status": "failed", "rollback_reason": "no stock"}, "no stock", ""),
        ({"status": "failed"}, "", ""),
    ],
)
@virtually
async def test_its_client_says_how_it_ended(extra: dict[str, str], reason: str, result: str) -> None:
    """PROTOCOL §5: status, rollback_reason and result from req_extra."""
    bench = Bench()
    await bench.workflows.prepare(request("workflow"))
    await bench.transactions.submit(ended(**extra))
    row = bench.row
    assert (row.status, row.rollback_reason, row.result) == (extra["status"], reason, result)
    stored = await bench.workflows.prepare(request("workflow"))  # §5: in any status
    assert stored.transaction == row
    assert bench.caller.called == []


@pytest.mark.parametrize("second", ["succeed", "failed"])
@virtually
async def test_a_second_submit_is_refused_and_changes_nothing(second: str) -> None:
    """PROTOCOL §5: any other state: 500 / Internal, no FAILURE of the business."""
    bench = Bench()
    await bench.workflows.prepare(request("workflow"))
    await bench.transactions.submit(ended("succeed", result="first"))
    before = bench.row
    with pytest.raises(WrongState, match=r"^current status 'succeed', cannot sumbmit\.$") as told:
        await bench.transactions.submit(ended(second, result="second"))
    assert (told.value.http_status, told.value.grpc_status) == (500, 13)
    assert bench.row == before


@pytest.mark.parametrize("status", ["", "prepared", "submitted", "aborting", "done"])
@virtually
async def test_only_an_end_can_be_submitted(status: str) -> None:
    """PROTOCOL §5."""
    bench = Bench()
    await bench.workflows.prepare(request("workflow"))
    with pytest.raises(Invalid, match=r"req_extra.status must be succeed or failed"):
        await bench.transactions.submit(ended(status))
    assert bench.row.status is Status.PREPARED


@virtually
async def test_unknown_and_foreign_gids() -> None:
    """PROTOCOL §2, §5."""
    bench = Bench()
    with pytest.raises(NotFound, match=r"^no TransGlobal with gid: g found$"):
        await bench.transactions.submit(ended("succeed"))
    await bench.put("tcc", Status.PREPARED)
    with pytest.raises(Failure, match=r"is of trans type 'tcc', not 'workflow', cannot sumbmit. FAILURE"):
        await bench.transactions.submit(ended("succeed"))
    with pytest.raises(Failure, match=r"is of trans type 'tcc', not 'workflow', cannot prepare. FAILURE"):
        await bench.workflows.prepare(request("workflow"))
    with pytest.raises(Invalid, match="trans_type must be 'workflow' to prepare a workflow, not 'saga'"):
        await bench.workflows.prepare(request("saga"))
    assert bench.row.status is Status.PREPARED


@virtually
async def test_custom_data_that_no_workflow_has_is_refused_at_prepare() -> None:
    """PROTOCOL §3 (better): nothing stored."""
    bench = Bench()
    with pytest.raises(Invalid, match=r"custom_data\.name"):
        await bench.workflows.prepare(replace(request("workflow"), custom_data="{}"))
    assert bench.rows.transactions == {}


@pytest.mark.parametrize("result", [Result.SUCCESS, Result.FAILURE, Result.ONGOING])
@virtually
async def test_an_unfinished_one_is_called_back_again_and_again(result: Result) -> None:
    """PROTOCOL §7: first after retry_interval, then every RetryInterval; never times out."""

    async def behaviour(_branch: Branch) -> Answer:
        return Answer(result)

    bench = Bench(behaviour)
    await bench.workflows.prepare(request("workflow", retry_interval=4, timeout_to_fail=20))
    assert await bench.after(200) is Status.PREPARED
    assert set(bench.caller.called) == {"transfer 00"}
    assert 4 <= bench.caller.at[0] <= 8
    pauses = [later - earlier for earlier, later in zip(bench.caller.at, bench.caller.at[1:], strict=False)]
    assert all(10 <= pause <= 10 * 1.1 + 5 for pause in pauses)  # jitter, and recovery looks every 3 s


@virtually
async def test_a_client_that_is_called_back_ends_it_within_the_call() -> None:
    """PROTOCOL §7: the client runs on from the recorded progress and submits; then it is left alone."""

    async def resumed(_branch: Branch) -> Answer:
        stored = await bench.workflows.prepare(request("workflow"))
        assert [b.branch_id for b in stored.branches] == ["01"]
        await bench.branches.register(branch("workflow", "02"))
        await bench.transactions.submit(ended("succeed"))
        return SUCCESS

    bench = Bench(resumed)
    await bench.workflows.prepare(request("workflow"))
    await bench.branches.register(branch("workflow", "01"))
    assert await bench.after(500) is Status.SUCCEED
    assert bench.caller.called == ["transfer 00"]


@virtually
async def test_of_submits_at_the_same_moment_one_stands() -> None:
    """PROTOCOL §9: compare-and-set."""
    bench = Bench()
    await bench.workflows.prepare(request("workflow"))
    ends = [ended("succeed", result=str(number)) for number in range(5)]
    said = await asyncio.gather(*(bench.transactions.submit(one) for one in ends), return_exceptions=True)
    assert [type(answer) for answer in said].count(WrongState) == 4
    assert bench.row.result == str(said.index(None))


@virtually
async def test_a_callback_that_fails_backs_off_and_is_reported() -> None:
    """PROTOCOL §7, §9: it was called every 12 s for ever, and nobody was told."""

    async def fail(_branch: Branch) -> Answer:
        return Answer(Result.UNKNOWN, "boom")

    told = Told()
    bench = Bench(fail, alerts=told)
    await bench.workflows.prepare(request("workflow", retry_interval=1))
    await bench.after(300)
    assert len(bench.caller.called) <= 8
    gaps = [later - earlier for earlier, later in pairwise(bench.caller.at)]
    assert all(later > 1.3 * earlier for earlier, later in pairwise(gaps[1:])), gaps
    assert [alert.retry_count for alert in told.alerts] == [3, 4, 5, 6, 7, 8]
    await bench.transactions.submit(ended("succeed"))
    assert told.ends == [("g", "succeed", True)]


@virtually
async def test_a_callback_that_is_ongoing_keeps_its_pace() -> None:
    """PROTOCOL §7: the first after its own interval, then every RetryInterval; after failures as before."""
    answers = [Result.ONGOING] * 3 + [Result.UNKNOWN] * 2 + [Result.ONGOING] * 3

    async def answer(_branch: Branch) -> Answer:
        return Answer(answers.pop(0) if answers else Result.ONGOING, "later")

    told = Told()
    bench = Bench(answer, alerts=told)
    await bench.workflows.prepare(request("workflow", retry_interval=1))
    await bench.after(200)
    gaps = [later - earlier for earlier, later in pairwise(bench.caller.at)]
    assert [round(gap, -1) for gap in gaps[:6]] == [10, 10, 10, 20, 40, 40], gaps
    assert told.alerts == []


@virtually
async def test_one_that_sleeps_is_called_back_when_it_says_and_not_before() -> None:
    """Of this server alone: the row of a sleep brings the time of the next call."""
    bench = Bench()
    await bench.workflows.prepare(request("workflow"))
    await bench.branches.register(branch("workflow", "01", b"until", wake_after="1000"))
    await bench.after(999)
    assert bench.caller.called == []
    await bench.after(8)
    assert bench.caller.called == ["transfer 00"]


@virtually
async def test_one_that_falls_asleep_within_its_callback_is_let_go_by_its_driver() -> None:
    """The driver would call again after its interval, whatever was registered meanwhile."""

    async def asleep(_branch: Branch) -> Answer:
        await bench.branches.register(branch("workflow", "01", b"until", wake_after="1000"))
        return SUCCESS

    bench = Bench(asleep)
    await bench.workflows.prepare(request("workflow"))
    await bench.after(900)
    assert bench.caller.called == ["transfer 00"]
    assert bench.row.owner == ""
    await bench.after(1000)
    assert bench.caller.called == ["transfer 00"] * 2, "the identical row again is success, and counts again"


@virtually
async def test_who_sleeps_has_come_further_so_that_its_back_off_is_over() -> None:
    async def fail_then_sleep(_branch: Branch) -> Answer:
        if len(bench.caller.called) < 4:
            return Answer(Result.UNKNOWN, "boom")
        await bench.branches.register(branch("workflow", "01", wake_after="50"))
        return SUCCESS

    bench = Bench(fail_then_sleep, alerts=Told())
    await bench.workflows.prepare(request("workflow"))
    await bench.after(250)
    assert len(bench.caller.called) >= 4
    assert bench.row.next_cron_interval == 10
    assert "failed_rounds" not in bench.row.ext_data


@pytest.mark.parametrize("given", ["-1", "1.5", "soon", "2147483648", "99999999999"])
@virtually
async def test_what_is_no_number_of_seconds_is_refused(given: str) -> None:
    bench = Bench()
    await bench.workflows.prepare(request("workflow"))
    with pytest.raises(InvalidBranch, match=f"wake_after must be seconds, 0 to 2147483647, not '{given}'"):
        await bench.branches.register(branch("workflow", "01", wake_after=given))
    assert (await bench.workflows.prepare(request("workflow"))).branches == ()


@virtually
async def test_a_step_keeps_its_name_and_a_name_is_part_of_what_is_registered() -> None:
    bench = Bench()
    await bench.workflows.prepare(request("workflow"))
    for _ in range(2):
        await bench.branches.register(branch("workflow", "01", url="do:charge"))
    with pytest.raises(BranchConflict):
        await bench.branches.register(branch("workflow", "01", url="do:ship"))
    for name, problem in (("a\nb", "has a control character"), ("x" * 1025, "at most 1024")):
        with pytest.raises(InvalidBranch, match=problem):
            await bench.branches.register(branch("workflow", "02", url=name))
    stored = await bench.workflows.prepare(request("workflow"))
    assert [(row.branch_id, row.url) for row in stored.branches] == [("01", "do:charge")]
