"""prepare and submit: which options count, when a row is first looked at, what is refused (PROTOCOL §5)."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from coordinator.calls.base import SUCCESS, Answer
from coordinator.errors import Failure, Invalid
from coordinator.model import Branch, Options, Result, Status, TransactionRequest
from tests.unit.service.bench import Bench, branch, request, virtually

ALL_BUT_WORKFLOW = ("saga", "msg", "tcc", "xa")


@pytest.mark.parametrize("trans_type", [*ALL_BUT_WORKFLOW, "workflow"])
@virtually
async def test_what_is_prepared_has_no_owner(trans_type: str) -> None:
    """PROTOCOL §9: nobody drives it. As the reference stores it."""
    bench = Bench()
    operation = bench.workflows.prepare if trans_type == "workflow" else bench.transactions.prepare
    for _ in range(2):
        await operation(request(trans_type))
        assert (bench.row.status, bench.row.owner) == (Status.PREPARED, "")


@pytest.mark.parametrize("trans_type", ALL_BUT_WORKFLOW)
@virtually
async def test_a_prepare_again_is_success_while_it_is_prepared(trans_type: str) -> None:
    """PROTOCOL §5."""
    bench = Bench()
    await bench.transactions.prepare(request(trans_type))
    before = bench.row, bench.branch_rows
    await bench.transactions.prepare(request(trans_type))
    assert (bench.row, bench.branch_rows) == before
    await bench.transactions.submit(request(trans_type, wait_result=True))
    with pytest.raises(Failure, match=r"^current status 'succeed', cannot prepare. FAILURE$"):
        await bench.transactions.prepare(request(trans_type))


@pytest.mark.parametrize("trans_type", ["tcc", "xa"])
@virtually
async def test_the_submit_of_an_unknown_gid_succeeds_without_branches(trans_type: str) -> None:
    """PROTOCOL §5."""
    bench = Bench()
    await bench.transactions.submit(request(trans_type, wait_result=True))
    assert (bench.row.status, bench.branch_rows, bench.caller.called) == (Status.SUCCEED, [], [])


@pytest.mark.parametrize("trans_type", ["saga", "msg"])
@virtually
async def test_no_steps_is_succeed(trans_type: str) -> None:
    """PROTOCOL §5."""
    bench = Bench()
    await bench.transactions.submit(request(trans_type, 0, wait_result=True))
    assert bench.row.status is Status.SUCCEED


@pytest.mark.parametrize("trans_type", ALL_BUT_WORKFLOW)
@pytest.mark.parametrize("status", [Status.ABORTING, Status.SUCCEED, Status.FAILED])
@virtually
async def test_what_is_past_submitting_is_failure(trans_type: str, status: Status) -> None:
    """PROTOCOL §5."""
    bench = Bench()
    await bench.put(trans_type, status)
    before = bench.row
    with pytest.raises(Failure, match=f"^current status '{status}', cannot sumbmit. FAILURE$"):
        await bench.transactions.submit(request(trans_type))
    assert bench.row == before


@virtually
async def test_a_gid_of_another_type_is_neither_submitted_nor_prepared() -> None:
    """PROTOCOL §5 (better)."""
    bench = Bench()
    await bench.put("tcc", Status.PREPARED)
    with pytest.raises(Failure, match=r"is of trans type 'tcc', not 'saga', cannot sumbmit. FAILURE"):
        await bench.transactions.submit(request("saga"))
    with pytest.raises(Failure, match=r"is of trans type 'tcc', not 'xa', cannot prepare. FAILURE"):
        await bench.transactions.prepare(request("xa"))


@pytest.mark.parametrize("trans_type", ALL_BUT_WORKFLOW)
@virtually
async def test_the_submits_options_and_custom_data_replace_the_prepared_ones(trans_type: str) -> None:
    """PROTOCOL §5: they count, and (better) they are stored."""
    bench = Bench(ongoing)
    await bench.transactions.prepare(request(trans_type, timeout_to_fail=60, request_timeout=9))
    if trans_type in ("tcc", "xa"):
        await bench.branches.register(branch(trans_type))
    headers = {"x-team": "blue"}
    asked = request(trans_type, retry_interval=15, branch_headers=headers, concurrent=True)
    await bench.transactions.submit(replace(asked, custom_data='{"concurrent":true}'))
    await asyncio.sleep(1)
    row = bench.row
    assert row.options == Options(
        timeout_to_fail=60, request_timeout=9, retry_interval=15, branch_headers=headers, concurrent=True
    )
    assert row.custom_data == '{"concurrent":true}'
    assert row.next_cron_interval == 15  # §9: starts as retry_interval
    assert len(bench.caller.called) == (1 if trans_type in ("tcc", "xa") else 2)  # concurrent


HEADERS = {"authorization": "Bearer x"}
PREPARED = Options(
    timeout_to_fail=60, request_timeout=7, retry_interval=15, retry_limit=2, branch_headers=HEADERS
)


@pytest.mark.parametrize(
    ("given", "submitted", "expected"),
    [
        (None, Options(), PREPARED),
        (None, Options(request_timeout=9), replace(PREPARED, request_timeout=9)),
        (None, Options(branch_headers={"a": "b"}), replace(PREPARED, branch_headers={"a": "b"})),
        (None, Options(concurrent=True), replace(PREPARED, concurrent=True)),
        (frozenset({"timeout_to_fail"}), Options(), replace(PREPARED, timeout_to_fail=0)),
        (frozenset({"branch_headers", "retry_limit"}), Options(), replace(PREPARED, retry_limit=0)),
        (frozenset[str](), Options(), PREPARED),
    ],
)
@pytest.mark.parametrize("trans_type", ["saga", "msg", "tcc", "xa"])
@virtually
async def test_what_a_submit_does_not_give_keeps_its_prepared_value(
    trans_type: str, given: frozenset[str] | None, submitted: Options, expected: Options
) -> None:
    """PROTOCOL §5: confirm was called without the headers that it had been prepared with, for ever 401."""
    bench = Bench()
    prepared = replace(request(trans_type), options=PREPARED)
    await bench.transactions.prepare(prepared)
    await bench.transactions.submit(replace(request(trans_type), options=submitted, given=given))
    assert bench.row.options == expected
    assert bench.row.next_cron_interval == 15


@virtually
async def test_wait_result_belongs_to_the_call_and_a_delay_stays() -> None:
    bench = Bench()
    prepared = replace(request("msg"), options=Options(wait_result=True), custom_data='{"delay":5}')
    await bench.transactions.prepare(prepared)
    await asyncio.sleep(2)
    await bench.transactions.submit(request("msg"))
    assert not bench.row.options.wait_result
    assert bench.row.custom_data == '{"delay":7}', "it counts from the submit"


@virtually
async def test_a_submit_uses_the_rows_that_were_prepared() -> None:
    """PROTOCOL §5: its stored branches are used, whatever steps the submit brings."""
    bench = Bench()
    await bench.transactions.prepare(request("msg", 2))
    await bench.transactions.submit(request("msg", 5, wait_result=True))
    assert bench.caller.called == ["action 01", "action 02"]


@pytest.mark.parametrize(
    ("trans_type", "custom_data"), [("saga", '{"orders":{"1":[7]}}'), ("msg", '{"delay":"x"}')]
)
@virtually
async def test_custom_data_that_cannot_be_run_by_leaves_it_prepared(
    trans_type: str, custom_data: str
) -> None:
    """PROTOCOL §3 (better): nothing stored."""
    bench = Bench()
    await bench.transactions.prepare(request(trans_type, 2))
    with pytest.raises(Invalid, match=r"custom_data"):
        await bench.transactions.submit(replace(request(trans_type, 2), custom_data=custom_data))
    assert (bench.row.status, bench.row.custom_data) == (Status.PREPARED, "")


async def ongoing(_branch: Branch) -> Answer:
    return Answer(Result.ONGOING, "later")


@pytest.mark.parametrize("waits", [0.0, 7.3, 30.0])
@virtually
async def test_a_delay_counts_from_the_submit(waits: float) -> None:
    """PROTOCOL §5, §8: Go clients send it only with the submit; it is stored, whatever crashes."""
    bench = Bench()
    await asyncio.sleep(0.4)
    await bench.transactions.prepare(request("msg"))
    await asyncio.sleep(waits)
    submitted = asyncio.get_running_loop().time()
    asked = request("msg", wait_result=True)
    with pytest.raises(Failure, match="wait result not return success: FAILURE"):  # §5: msg delayed
        await bench.transactions.submit(replace(asked, custom_data='{"delay":20}'))
    assert await bench.after(60) is Status.SUCCEED
    assert submitted + 20 <= bench.caller.at[0] <= submitted + 20 + 5  # recovery looks every 3 s


@virtually
async def test_a_delay_without_prepare_counts_from_the_submit_too() -> None:
    """PROTOCOL §8."""
    bench = Bench()
    await asyncio.sleep(0.9)
    submitted = asyncio.get_running_loop().time()
    await bench.transactions.submit(replace(request("msg"), custom_data='{"delay":20}'))
    assert await bench.after(60) is Status.SUCCEED
    assert submitted + 20 <= bench.caller.at[0] <= submitted + 20 + 5


@pytest.mark.parametrize(
    ("trans_type", "options", "seconds"),
    [
        ("tcc", {}, 35),  # §7: the coordinator's own TimeoutToFail
        ("tcc", {"timeout_to_fail": 5}, 5),  # §7: on time, not a RetryInterval later
        ("tcc", {"timeout_to_fail": 50, "retry_interval": 3}, 50),
        ("xa", {}, 35),
        ("xa", {"timeout_to_fail": 5}, 5),
        ("msg", {}, 35),  # §8
        ("msg", {"timeout_to_fail": 8}, 8),
        ("workflow", {}, 10),  # §7: first after retry_interval
        ("workflow", {"retry_interval": 4}, 4),
        ("workflow", {"timeout_to_fail": 50}, 10),
    ],
)
@virtually
async def test_what_is_prepared_is_first_looked_at_when_its_client_had_its_time(
    trans_type: str, options: dict[str, Any], seconds: int
) -> None:
    """PROTOCOL §7, §8: on time; until then nobody is called."""
    bench = Bench(ongoing)
    await asyncio.sleep(0.4)
    prepared = asyncio.get_running_loop().time()
    await bench.transactions.prepare(request(trans_type, **options))
    if trans_type in ("tcc", "xa"):
        await bench.branches.register(branch(trans_type))
    due_in = bench.row.next_cron_time - bench.row.create_time
    assert timedelta(seconds=seconds) <= due_in <= timedelta(seconds=seconds + 1)
    await bench.after(seconds + 5)
    assert prepared + seconds <= bench.caller.at[0] <= prepared + seconds + 5  # recovery looks every 3 s
    first = {"tcc": "cancel 01", "xa": "rollback 01", "msg": "msg 00", "workflow": "transfer 00"}
    assert bench.caller.called[0] == first[trans_type]


@virtually
async def test_a_prepared_saga_is_driven_by_nobody() -> None:
    """PROTOCOL §5."""
    bench = Bench()
    await bench.transactions.prepare(request("saga", timeout_to_fail=5))
    assert await bench.after(10_000) is Status.PREPARED
    assert bench.caller.called == []


@pytest.mark.parametrize(
    ("answer", "ends", "called"),
    [
        (Result.SUCCESS, Status.SUCCEED, ["msg 00", "action 01", "action 02"]),
        (Result.FAILURE, Status.FAILED, ["msg 00"]),
        (Result.ONGOING, Status.PREPARED, ["msg 00"]),
        (Result.UNKNOWN, Status.PREPARED, ["msg 00"]),
    ],
)
@virtually
async def test_a_message_whose_sender_went_away(answer: Result, ends: Status, called: list[str]) -> None:
    """PROTOCOL §8: query_prepared decides."""

    async def behaviour(branch: Branch) -> Answer:
        return Answer(answer) if branch.op == "msg" else SUCCESS

    bench = Bench(behaviour)
    await bench.transactions.prepare(request("msg"))
    assert await bench.after(40) is ends
    assert bench.caller.called == called
    if answer is Result.ONGOING:
        assert bench.row.next_cron_interval == 10  # asked again after the interval
    if answer is Result.UNKNOWN:
        assert bench.row.next_cron_interval == 20  # back-off


@pytest.mark.parametrize("trans_type", ["tcc", "xa"])
@pytest.mark.parametrize("result", [Result.FAILURE, Result.UNKNOWN])
@virtually
async def test_what_was_submitted_is_never_turned_round(trans_type: str, result: Result) -> None:
    """PROTOCOL §7: retried for hours, and not cancelled by any time-out."""
    answers = [Answer(result)] * 12

    async def behaviour(_branch: Branch) -> Answer:
        return answers.pop() if answers else SUCCESS

    bench = Bench(behaviour)
    await bench.transactions.prepare(request(trans_type, timeout_to_fail=5))
    await bench.branches.register(branch(trans_type))
    await bench.transactions.submit(request(trans_type, timeout_to_fail=5))
    assert await bench.after(4000) is Status.SUCCEED
    op = "confirm" if trans_type == "tcc" else "commit"
    assert bench.caller.called == [f"{op} 01"] * 13


Refusal = Callable[[TransactionRequest], TransactionRequest]


@pytest.mark.parametrize(
    ("spoilt", "says"),
    [
        (lambda it: replace(it, gid=""), "no gid specified"),
        (lambda it: replace(it, trans_type="sage"), "unknown trans_type 'sage'"),
        (lambda it: replace(it, payloads=it.payloads[:1]), "2 steps but 1 payload:"),
        (lambda it: replace(it, query_prepared="http://"), "query_prepared 'http://'"),
        (lambda it: replace(it, custom_data="x" * 1025), "custom_data has 1025 characters"),
        (lambda it: replace(it, options=Options(timeout_to_fail=-1)), "timeout_to_fail must be between"),
    ],
)
@pytest.mark.parametrize("operation", ["submit", "prepare"])
@virtually
async def test_what_breaks_a_rule_is_not_stored(spoilt: Refusal, says: str, operation: str) -> None:
    """PROTOCOL §3, §14: a clear error that names the field."""
    bench = Bench()
    with pytest.raises(Invalid, match=says):
        await getattr(bench.transactions, operation)(spoilt(request("msg")))
    assert bench.rows.transactions == {}


@pytest.mark.parametrize("trans_type", ["msg", "workflow"])
@pytest.mark.parametrize("makes_due", ["one", "all"])
@virtually
async def test_a_client_that_is_being_asked_is_not_asked_twice_at_once(
    trans_type: str, makes_due: str
) -> None:
    """PROTOCOL §3, §9: an operator makes it due while another coordinator's call is out."""
    out: list[int] = [0]

    asked = asyncio.Event()

    async def slow(_branch: Branch) -> Answer:
        asked.set()
        out.append(out[-1] + 1)
        await asyncio.sleep(2.5)
        out.append(out[-1] - 1)
        return SUCCESS

    bench = Bench(slow)
    await bench.transactions.prepare(request(trans_type, timeout_to_fail=11))
    other = asyncio.create_task(bench.node().recovery.run())
    await asked.wait()
    operators = bench.operators
    if makes_due == "one":
        await operators.reset_next_cron_time("g")
    else:
        assert await operators.reset_cron_time(timeout=0, limit=10) == (0, False)
    await bench.after(3)
    other.cancel()
    assert max(out) == 1


@pytest.mark.parametrize("trans_type", ["msg", "workflow"])
@virtually
async def test_what_is_prepared_can_be_made_due_now(trans_type: str) -> None:
    """PROTOCOL §3: it waits for its client, nobody drives it."""
    bench = Bench()
    await bench.transactions.prepare(request(trans_type, timeout_to_fail=600, retry_interval=500))
    assert await bench.operators.reset_cron_time(timeout=60, limit=10) == (1, False)
    await bench.after(1)
    # A message's sender has its time-out all the same; a workflow's client is called back.
    assert bench.caller.called == ([] if trans_type == "msg" else ["transfer 00"])
