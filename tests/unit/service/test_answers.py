"""What a client that waits is told when the round ends: the table of PROTOCOL §5, process."""

import asyncio
from dataclasses import replace

import pytest

from coordinator.calls.base import SUCCESS, Answer
from coordinator.errors import DtmError, Failure, NoResult, Ongoing
from coordinator.model import Branch, Result, Status, Transaction
from coordinator.service.answers import raise_unless_done
from tests.unit.service.bench import Bench, branch, request, virtually

FAILURE = Answer(Result.FAILURE, "no stock")
ONGOING = Answer(Result.ONGOING, "busy")
UNKNOWN = Answer(Result.UNKNOWN, "boom")
UNAVAILABLE = Answer(Result.UNKNOWN, "nobody listens", grpc_status=14)
NO_RESULT = "wait result not return success: FAILURE"


@pytest.mark.parametrize(
    ("trans_type", "status", "unhappy", "told", "says"),
    [
        # saga not succeeded: 409, the rollback reason, or the sentence where there is none
        ("saga", Status.SUBMITTED, ONGOING, Failure, NO_RESULT),
        ("saga", Status.SUBMITTED, UNKNOWN, Failure, NO_RESULT),
        ("saga", Status.SUBMITTED, None, Failure, NO_RESULT),
        ("saga", Status.ABORTING, UNKNOWN, Failure, "why FAILURE"),
        ("saga", Status.FAILED, FAILURE, Failure, "why FAILURE"),
        # msg ongoing or delayed: 409
        ("msg", Status.SUBMITTED, ONGOING, Failure, NO_RESULT),
        ("msg", Status.SUBMITTED, None, Failure, NO_RESULT),
        ("msg", Status.SUBMITTED, FAILURE, Failure, "no stock FAILURE"),
        # tcc and xa ONGOING: 425, and nothing but that word
        ("tcc", Status.SUBMITTED, ONGOING, Ongoing, "ONGOING"),
        ("xa", Status.SUBMITTED, ONGOING, Ongoing, "ONGOING"),
        ("tcc", Status.ABORTING, None, Ongoing, "ONGOING"),
        # confirm or cancel said FAILURE: 409, the branch's text
        ("tcc", Status.SUBMITTED, FAILURE, Failure, "no stock FAILURE"),
        ("xa", Status.ABORTING, FAILURE, Failure, "no stock FAILURE"),
        # tcc, xa, msg unknown: 500 with what the branch answered, gRPC: the branch's own code
        ("tcc", Status.SUBMITTED, UNKNOWN, NoResult, "boom"),
        ("xa", Status.SUBMITTED, UNAVAILABLE, NoResult, "nobody listens"),
        ("msg", Status.SUBMITTED, UNAVAILABLE, NoResult, "nobody listens"),
        # stopped by an operator meanwhile
        ("tcc", Status.FAILED, None, Failure, "why FAILURE"),
    ],
)
def test_a_round_that_did_not_end_well(
    trans_type: str, status: Status, unhappy: Answer | None, told: type[DtmError], says: str
) -> None:
    """PROTOCOL §5."""
    reason = "" if status is Status.SUBMITTED else "why"
    transaction = Transaction("g", trans_type, status, rollback_reason=reason)
    with pytest.raises(told) as error:
        raise_unless_done(
            transaction, unhappy, Status.SUCCEED if status is not Status.ABORTING else Status.FAILED
        )
    assert (type(error.value), error.value.message) == (told, says)
    codes = {Failure: (409, 10, -32901), Ongoing: (425, 9, -32902), NoResult: (500, 13, -32603)}
    assert (told.http_status, told.grpc_status, told.json_rpc_code) == codes[told]
    if isinstance(error.value, NoResult):
        assert unhappy is not None
        assert error.value.branch_grpc_status == unhappy.grpc_status


@pytest.mark.parametrize("said", ["x" * 100_000, "ü" * 100_000, "€" * 400, "\0" * 5000, "\U0001f600" * 300])
@pytest.mark.parametrize("result", [Result.FAILURE, Result.UNKNOWN])
def test_a_client_is_told_the_beginning_and_the_end_of_a_long_answer(said: str, result: Result) -> None:
    answer = Answer(result, f"begins {said} ends")
    with pytest.raises((Failure, NoResult)) as error:
        raise_unless_done(Transaction("g", "tcc", Status.SUBMITTED), answer, Status.SUCCEED)
    message = error.value.message
    assert message.startswith("begins ") and "…" in message and " ends" in message[-14:]
    assert 1000 <= len(message.encode()) <= 1024


def test_a_client_is_told_a_saga_s_reason_within_the_same_bound() -> None:
    reason = f"url:http://b/ return failed: {'€' * 900} FAILURE"
    with pytest.raises(Failure) as error:
        raise_unless_done(
            Transaction("g", "saga", Status.FAILED, rollback_reason=reason), None, Status.SUCCEED
        )
    assert error.value.message.startswith("url:http://b/ return failed: €")
    assert error.value.message.endswith("€ FAILURE")
    assert len(error.value.message.encode()) <= 1024


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no stock", "no stock"),
        ('{\r\n "why": "no stock"\r\n}', '{\n "why": "no stock"\n}'),
        ("\x1b[2Jno stock\x07", "\\x1b[2Jno stock\\x07"),
        ("kcots on\u202e", "kcots on\\u202e"),
        ("no\0stock", "no\\x00stock"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_a_client_is_told_nothing_that_a_terminal_would_obey(said: str, told: str) -> None:
    with pytest.raises(NoResult) as error:
        raise_unless_done(
            Transaction("g", "msg", Status.SUBMITTED), Answer(Result.UNKNOWN, said), Status.SUCCEED
        )
    assert error.value.message == told


@pytest.mark.parametrize("wanted", [Status.SUCCEED, Status.FAILED])
def test_the_wanted_end_is_success_whatever_was_answered_before(wanted: Status) -> None:
    """PROTOCOL §5."""
    raise_unless_done(Transaction("g", "tcc", wanted), UNKNOWN, wanted)


@pytest.mark.parametrize(
    ("trans_type", "answer", "told", "ends"),
    [
        ("saga", FAILURE, Failure, Status.FAILED),
        ("saga", ONGOING, Failure, Status.SUCCEED),  # FAILURE here does not mean rolled back
        ("msg", FAILURE, Failure, Status.SUCCEED),
        ("msg", ONGOING, Failure, Status.SUCCEED),
        ("msg", UNAVAILABLE, NoResult, Status.SUCCEED),
        ("tcc", FAILURE, Failure, Status.SUCCEED),
        ("tcc", ONGOING, Ongoing, Status.SUCCEED),
        ("xa", UNKNOWN, NoResult, Status.SUCCEED),
    ],
)
@virtually
async def test_what_a_waiting_client_hears_and_how_it_ends(
    trans_type: str, answer: Answer, told: type[DtmError], ends: Status
) -> None:
    """PROTOCOL §5: the first call answers so, all later ones with success."""
    answers = [answer]

    async def behaviour(_branch: Branch) -> Answer:
        return answers.pop() if answers else SUCCESS

    bench = Bench(behaviour)
    if trans_type in ("tcc", "xa"):
        await bench.transactions.prepare(request(trans_type))
        await bench.branches.register(branch(trans_type))
    with pytest.raises(told) as error:
        await bench.transactions.submit(request(trans_type, wait_result=True))
    assert type(error.value) is told
    assert bench.row.status is (Status.FAILED if ends is Status.FAILED else Status.SUBMITTED)
    assert await bench.after(60) is ends


async def slow(_branch: Branch) -> Answer:
    await asyncio.sleep(0.7)
    return SUCCESS


@pytest.mark.parametrize("trans_type", ["saga", "msg", "tcc", "xa"])
@virtually
async def test_a_second_submit_hears_how_the_running_round_ended(trans_type: str) -> None:
    """PROTOCOL §5: already submitted → success again, no second driver; with wait_result from this round."""
    bench = Bench(slow)
    await bench.transactions.prepare(request(trans_type))
    if trans_type in ("tcc", "xa"):
        await bench.branches.register(branch(trans_type))
    await bench.transactions.submit(request(trans_type))
    await bench.transactions.submit(request(trans_type))
    await bench.transactions.submit(request(trans_type, wait_result=True))
    assert bench.row.status is Status.SUCCEED
    assert len(bench.caller.called) == len(set(bench.caller.called))
    with pytest.raises(Failure, match=r"^current status 'succeed', cannot sumbmit. FAILURE$"):
        await bench.transactions.submit(request(trans_type))


@virtually
async def test_a_submit_at_another_coordinator_waits_for_the_one_that_drives() -> None:
    """PROTOCOL §5: answered from the stored row."""
    bench = Bench(slow)
    other = bench.node().operations.transactions
    asked = request("msg", wait_result=True)
    running = asyncio.create_task(bench.transactions.submit(asked))
    await asyncio.sleep(0.1)
    await other.submit(replace(asked, steps=asked.steps[:1], payloads=asked.payloads[:1]))
    await running
    assert bench.caller.called == ["action 01", "action 02"]


@virtually
async def test_two_submits_of_one_gid_have_one_driver_and_one_answer() -> None:
    """PROTOCOL §5: no second driver while the first holds its lease."""

    async def slow(_branch: Branch) -> Answer:
        await asyncio.sleep(1)
        return SUCCESS

    bench = Bench(slow)
    await asyncio.gather(*(bench.transactions.submit(request("saga", wait_result=True)) for _ in range(5)))
    assert bench.caller.called == ["action 01", "action 02"]


@virtually
async def test_only_the_answer_of_wait_result_is_bounded() -> None:
    """PROTOCOL §5: at most RequestTimeout + 2 s; the driver goes on."""

    async def slow(_branch: Branch) -> Answer:
        await asyncio.sleep(2.5)
        return SUCCESS

    bench = Bench(slow)
    started = asyncio.get_running_loop().time()
    with pytest.raises(Failure, match="wait result not return success: FAILURE"):
        await bench.transactions.submit(request("saga", 4, wait_result=True))
    assert asyncio.get_running_loop().time() - started == pytest.approx(5, abs=0.1)
    await asyncio.sleep(20)
    assert bench.row.status is Status.SUCCEED
