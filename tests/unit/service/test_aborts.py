"""abort: what it does for each type in each status (PROTOCOL §5)."""

import asyncio
from dataclasses import replace

import pytest

from coordinator.calls.base import SUCCESS, Answer
from coordinator.engine.admission import Bounds
from coordinator.errors import Busy, Failure, NotFound, Ongoing
from coordinator.model import Branch, Result, Status
from tests.unit.service.bench import Bench, request, virtually

TYPES = ("saga", "msg", "tcc", "xa", "workflow")
ROLLED_BACK = {
    ("tcc", Status.PREPARED): ["cancel 02", "cancel 01"],
    ("tcc", Status.ABORTING): ["cancel 02", "cancel 01"],
    ("xa", Status.PREPARED): ["rollback 01", "rollback 02"],
    ("xa", Status.ABORTING): ["rollback 01", "rollback 02"],
    ("msg", Status.PREPARED): [],  # §8: failed, nothing is called
}


@virtually
async def test_aborts_beyond_what_a_coordinator_drives_are_not_taken() -> None:
    """Everything is bounded: as many as came were driven, and a coordinator that stops began new ones."""
    released = asyncio.Event()

    async def slow(_branch: Branch) -> Answer:
        await released.wait()
        return SUCCESS

    bench = Bench(slow, bounds=Bounds(transactions_max=1))
    await bench.transactions.submit(replace(request(), gid="running"))
    await bench.put("tcc", Status.PREPARED)
    before = bench.row
    with pytest.raises(Busy, match="the coordinator is full: it drives 1 of 1 transactions"):
        await bench.transactions.abort(request("tcc"))
    assert bench.row == before
    released.set()
    await asyncio.sleep(1)
    await bench.transactions.abort(request("tcc", wait_result=True))
    assert bench.row.status is Status.FAILED


@virtually
async def test_an_abort_again_that_finds_no_room_is_kept_with_its_reason() -> None:
    """What changed the row is not answered as if it had not been taken: who has room will drive it."""
    released = asyncio.Event()

    async def slow(_branch: Branch) -> Answer:
        await released.wait()
        return SUCCESS

    bench = Bench(slow, bounds=Bounds(transactions_max=1))
    await bench.transactions.submit(replace(request(), gid="running"))
    await bench.put("tcc", Status.ABORTING)
    await bench.transactions.abort(replace(request("tcc"), rollback_reason="too late"))
    assert (bench.row.status, bench.row.rollback_reason) == (Status.ABORTING, "too late")
    released.set()
    await asyncio.sleep(1)
    await bench.transactions.abort(request("tcc", wait_result=True))
    assert bench.row.status is Status.FAILED


@virtually
async def test_an_abort_again_of_what_runs_here_needs_no_room() -> None:
    """PROTOCOL §5: it waits for the running one."""
    runs = asyncio.Event()

    async def slow(_branch: Branch) -> Answer:
        runs.set()
        await asyncio.sleep(1)
        return SUCCESS

    bench = Bench(slow, bounds=Bounds(transactions_max=1))
    await bench.put("tcc", Status.PREPARED)
    first = asyncio.create_task(bench.transactions.abort(request("tcc", wait_result=True)))
    await runs.wait()
    await bench.transactions.abort(request("tcc", wait_result=True))
    await first
    assert bench.row.status is Status.FAILED


@pytest.mark.parametrize("trans_type", TYPES)
@pytest.mark.parametrize("status", list(Status))
@virtually
async def test_every_type_in_every_status(trans_type: str, status: Status) -> None:
    """PROTOCOL §5: tcc and xa in prepared or aborting, msg in prepared; else FAILURE, nothing changed."""
    bench = Bench()
    await bench.put(trans_type, status)
    before = bench.row
    asked = replace(request(trans_type, wait_result=True), rollback_reason="no stock")
    if (trans_type, status) in ROLLED_BACK:
        await bench.transactions.abort(asked)
        assert bench.row.status is Status.FAILED
        assert bench.caller.called == ROLLED_BACK[trans_type, status]
        assert bench.row.rollback_reason == ("" if trans_type == "msg" else "no stock")
    else:
        says = f"^trans type: '{trans_type}' current status '{status}', cannot abort. FAILURE$"
        with pytest.raises(Failure, match=says):
            await bench.transactions.abort(asked)
        assert bench.row == before
        assert bench.caller.called == []


@pytest.mark.parametrize("stored", TYPES)
@pytest.mark.parametrize("asked", ["", *TYPES])
@virtually
async def test_the_requests_type_is_not_believed(stored: str, asked: str) -> None:
    """PROTOCOL §5 (better): missing, or not the stored one: FAILURE, so that `tcc` aborts no saga."""
    bench = Bench()
    await bench.put(stored, Status.PREPARED)
    if asked == stored:
        return
    with pytest.raises(
        Failure, match=f"gid 'g' is of trans type '{stored}', not '{asked}', cannot abort. FAILURE"
    ):
        await bench.transactions.abort(replace(request(), trans_type=asked))
    assert bench.row.status is Status.PREPARED


@virtually
async def test_an_unknown_gid_is_not_found() -> None:
    """PROTOCOL §2, §5."""
    with pytest.raises(NotFound, match=r"^no TransGlobal with gid: g found$"):
        await Bench().transactions.abort(request("tcc"))


@virtually
async def test_a_reason_given_later_replaces_the_first_and_none_keeps_it() -> None:
    """PROTOCOL §5."""
    answers = [Answer(Result.ONGOING, "later")] * 3

    async def behaviour(_branch: Branch) -> Answer:
        return answers.pop() if answers else SUCCESS

    bench = Bench(behaviour)
    await bench.put("tcc", Status.PREPARED)
    asked = request("tcc", wait_result=True)
    for given, kept in (("first", "first"), ("", "first"), ("second", "second")):
        with pytest.raises(Ongoing):
            await bench.transactions.abort(replace(asked, rollback_reason=given))
        assert (bench.row.status, bench.row.rollback_reason) == (Status.ABORTING, kept)
    await bench.transactions.abort(asked)
    assert (bench.row.status, bench.row.rollback_reason) == (Status.FAILED, "second")


@virtually
async def test_without_wait_result_the_answer_comes_before_the_calls() -> None:
    """PROTOCOL §5, process."""
    bench = Bench()
    await bench.put("xa", Status.PREPARED)
    await bench.transactions.abort(request("xa"))
    assert bench.row.status is Status.ABORTING
    assert bench.caller.called == []
    assert await bench.after(1) is Status.FAILED


@pytest.mark.parametrize("trans_type", ["tcc", "xa"])
@virtually
async def test_a_submit_and_an_abort_at_the_same_moment_have_one_outcome(trans_type: str) -> None:
    """PROTOCOL §9: compare-and-set on the status: one stands, the other is told."""
    for first in ("submit", "abort"):
        bench = Bench()
        await bench.put(trans_type, Status.PREPARED)
        wishes = {"submit": bench.transactions.submit, "abort": bench.transactions.abort}
        order = [first, *wishes.keys() - {first}]
        asked = request(trans_type, wait_result=True)
        said = await asyncio.gather(*(wishes[name](asked) for name in order), return_exceptions=True)
        stands = [name for name, answer in zip(order, said, strict=True) if answer is None]
        assert stands == (["submit"] if bench.row.status is Status.SUCCEED else ["abort"])
        assert len({call.split()[0] for call in bench.caller.called}) == 1
