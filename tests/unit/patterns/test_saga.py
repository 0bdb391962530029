"""PROTOCOL §6, row by row: what a saga does next, given its stored rows."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.model import (
    Branch,
    BranchKey,
    BranchStatus,
    Options,
    Result,
    Status,
    Step,
    Transaction,
    TransactionRequest,
)
from coordinator.patterns import saga
from coordinator.patterns.decision import Abort, Await, Decision, Finish, Round, Run, Wait
from tests.unit.patterns.play import Play

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = {"p": BranchStatus.PREPARED, "s": BranchStatus.SUCCEED, "f": BranchStatus.FAILED}


def rows(statuses: str) -> tuple[Branch, ...]:
    """Rows in order [c1, a1, c2, a2 …] from letters: p prepared, s succeed, f failed."""
    steps = len(statuses) // 2
    request = TransactionRequest(
        "g", "saga", (Step("http://branch/do", "http://branch/undo"),) * steps, (b"{}",) * steps
    )
    return tuple(
        replace(branch, status=WORDS[letter])
        for branch, letter in zip(saga.branches_of(request), statuses, strict=True)
    )


def decide(
    statuses: str,
    status: Status = Status.SUBMITTED,
    *,
    custom_data: str = "",
    options: Options = Options(),  # noqa: B008 - immutable
    round: Round | None = None,
    now: datetime = NOW,
) -> Decision:
    transaction = Transaction("g", "saga", status, options=options, custom_data=custom_data, create_time=NOW)
    return saga.decide(transaction, rows(statuses), round or Round(), now)


def started(decision: Decision) -> list[BranchKey]:
    assert isinstance(decision, Run), decision
    return [branch.key for branch in decision.branches]


CONCURRENT = '{"concurrent":true}'
ORDERED = '{"concurrent":true,"orders":{"1":[0]}}'


@pytest.mark.parametrize(
    ("statuses", "custom_data", "expected"),
    [
        ("pppp", "", [("01", "action")]),  # sequential: one after the other
        ("pspp", "", [("02", "action")]),
        ("pppp", CONCURRENT, [("01", "action"), ("02", "action")]),
        ("pppp", ORDERED, [("01", "action")]),  # step 1 waits for step 0
        ("pspp", ORDERED, [("02", "action")]),
        ("pppp", '{"orders":{"1":[0]}}', [("01", "action")]),  # orders hold without concurrent too
    ],
)
def test_actions_start_when_those_before_them_have_succeeded(
    statuses: str, custom_data: str, expected: list[BranchKey]
) -> None:
    """PROTOCOL §6: sequential, concurrent, orders."""
    assert started(decide(statuses, custom_data=custom_data)) == expected


@pytest.mark.parametrize(
    ("statuses", "custom_data", "expected"),
    [
        ("pspf", "", [("02", "compensate")]),  # the failed step itself first, then backwards
        ("pssf", "", [("01", "compensate")]),
        ("pfpp", "", [("01", "compensate")]),  # a step that could not have started is left alone
        ("pppp", "", [("01", "compensate")]),  # timed out while ongoing: it may have run
        ("pspp", "", [("02", "compensate")]),  # step 2 may have run
        ("pspf", CONCURRENT, [("02", "compensate"), ("01", "compensate")]),
        ("pspf", ORDERED, [("02", "compensate")]),
    ],
)
def test_compensations_run_in_reverse_for_every_step_that_may_have_run(
    statuses: str, custom_data: str, expected: list[BranchKey]
) -> None:
    """PROTOCOL §6: aborting."""
    assert started(decide(statuses, Status.ABORTING, custom_data=custom_data)) == expected


@pytest.mark.parametrize(
    ("statuses", "custom_data"), [("sssf", ""), ("sppp", ""), ("sfpp", ORDERED), ("spsp", CONCURRENT)]
)
def test_all_undone_is_failed(statuses: str, custom_data: str) -> None:
    """PROTOCOL §6: the examples' last rows."""
    assert decide(statuses, Status.ABORTING, custom_data=custom_data) == Finish(Status.FAILED)


def test_all_actions_succeeded_is_succeed_even_after_the_time_limit() -> None:
    """PROTOCOL §6."""
    late = NOW + timedelta(seconds=100)
    assert decide("psps", options=Options(timeout_to_fail=5), now=late) == Finish(Status.SUCCEED)


def test_no_steps_is_succeed() -> None:
    """PROTOCOL §5: no steps → succeed."""
    assert decide("") == Finish(Status.SUCCEED)


def test_a_failed_action_aborts_with_what_it_answered() -> None:
    """PROTOCOL §6."""
    assert decide("pspf", round=Round(failure_reason="no money FAILURE")) == Abort("no money FAILURE")


def test_the_time_limit_aborts_only_when_given() -> None:
    """PROTOCOL §6: a saga has no default."""
    limited = Options(timeout_to_fail=5)
    assert decide("pp", options=limited, now=NOW + timedelta(seconds=5)) == Abort("Timeout after 5 seconds")
    assert started(decide("pp", options=limited, now=NOW + timedelta(seconds=4)))
    assert started(decide("pp", now=NOW + timedelta(days=400)))


def test_no_result_waits_for_the_next_round_and_for_the_time_limit_at_most() -> None:
    """PROTOCOL §6, §9."""
    asked = Round(unrecorded={("01", "action"): Result.ONGOING})
    assert decide("pp", round=asked) == Wait()
    limited = decide("pp", round=asked, options=Options(timeout_to_fail=5))
    assert limited == Wait(not_after=NOW + timedelta(seconds=5))


@pytest.mark.parametrize(("repeats", "delay"), [(0, 0.1), (1, 0.2), (2, 0.4), (4, 1.0), (60, 1.0)])
def test_retry_limit_repeats_within_the_round_with_growing_pauses(repeats: int, delay: float) -> None:
    """PROTOCOL §6: 0.1, 0.2, 0.4 … s, at most 1 s."""
    asked = Round(unrecorded={("01", "action"): Result.UNKNOWN}, repeats=repeats)
    decision = decide("pp", round=asked, options=Options(retry_limit=100))
    assert isinstance(decision, Run)
    assert decision.delay == pytest.approx(delay)


def test_after_retry_limit_repeats_the_saga_aborts() -> None:
    """PROTOCOL §6."""
    asked = Round(unrecorded={("01", "action"): Result.UNKNOWN}, repeats=3)
    reason = "RetryCount is greater than RetryLimit, RetryLimit: 3"
    assert decide("pp", round=asked, options=Options(retry_limit=3)) == Abort(reason)


def test_repeats_of_all_actions_together_count_towards_the_limit() -> None:
    """PROTOCOL §6: all actions together."""
    asked = Round(unrecorded={("01", "action"): Result.UNKNOWN, ("02", "action"): Result.UNKNOWN})
    decision = decide("pppp", custom_data=CONCURRENT, round=asked, options=Options(retry_limit=1))
    assert started(decision) == [("01", "action")]


def test_calls_in_flight_are_awaited_before_anything_is_undone() -> None:
    """PROTOCOL §6: aborting."""
    assert decide("pfpp", Status.ABORTING, round=Round(in_flight={("02", "action")})) == Await()


def test_a_compensation_without_success_is_asked_again_next_round() -> None:
    """PROTOCOL §6: retried for ever."""
    asked = Round(unrecorded={("01", "compensate"): Result.FAILURE})
    assert decide("pf", Status.ABORTING, round=asked) == Wait()
    compensate, action = rows("pf")
    assert saga.recorded(compensate, Result.FAILURE) is None
    assert saga.recorded(action, Result.FAILURE) is BranchStatus.FAILED


def test_concurrent_counts_in_the_options_too() -> None:
    """PROTOCOL §6: either place."""
    assert len(started(decide("pppp", options=Options(concurrent=True)))) == 2


@pytest.mark.parametrize("status", [Status.SUCCEED, Status.FAILED])
def test_a_final_transaction_has_no_next_step(status: Status) -> None:
    with pytest.raises(ValueError, match="already"):
        decide("pp", status)


@pytest.mark.parametrize(
    ("custom_data", "says"),
    [
        ("no json", "not JSON"),
        ("[1]", "JSON object"),
        ('{"concurrent":"yes"}', "concurrent"),
        ('{"orders":[]}', "orders must be an object"),
        ('{"orders":{"5":[0]}}', "step '5'"),
        ('{"orders":{"x":[0]}}', "step 'x'"),
        ('{"orders":{"1":[7]}}', "step 7"),
        ('{"orders":{"1":[true]}}', "list of step indexes"),
        ('{"orders":{"1":"0"}}', "list of step indexes"),
        ('{"concurrent":true,"orders":{"0":[1],"1":[0]}}', "cyclic"),
        ('{"concurrent":true,"orders":{"1":[1]}}', "cyclic"),
        ('{"orders":{"0":[1]}}', "cyclic"),  # against the sequence
    ],
)
def test_custom_data_that_no_saga_can_run_by_is_refused(custom_data: str, says: str) -> None:
    """PROTOCOL §3 (better): error at submit, nothing stored."""
    with pytest.raises(ValueError, match=says):
        saga.order_of(custom_data, False, 2)


ACTION_RESULTS = st.sampled_from([Result.SUCCESS, Result.FAILURE, Result.ONGOING, Result.UNKNOWN])


@given(
    steps=st.integers(1, 5),
    concurrent=st.booleans(),
    data=st.data(),
)
def test_any_answers_lead_to_an_end_that_the_rows_justify(
    steps: int, concurrent: bool, data: st.DataObject
) -> None:
    """PROTOCOL §6: unknown never rolls back; every step that may have run is compensated."""
    branches = list(rows("pp" * steps))
    transaction = Transaction(
        "g", "saga", Status.SUBMITTED, options=Options(concurrent=concurrent), create_time=NOW
    )
    asked, failed = set(), False
    round = Round()
    for _ in range(200):
        decision = saga.decide(transaction, branches, round, NOW)
        match decision:
            case Run(calls):
                for branch in calls:
                    asked.add(branch.key)
                    result = data.draw(ACTION_RESULTS) if branch.op == "action" else Result.SUCCESS
                    failed = failed or result is Result.FAILURE
                    status = saga.recorded(branch, result)
                    if status is None:
                        round.unrecorded[branch.key] = result
                    else:
                        branches[branches.index(branch)] = replace(branch, status=status)
            case Abort():
                assert failed
                transaction = replace(transaction, status=Status.ABORTING)
            case Wait():
                round = Round()
            case Finish(status):
                break
    else:
        return  # only ever ONGOING and unknown: still submitted, never rolled back
    by_key = {branch.key: branch.status for branch in branches}
    if status is Status.SUCCEED:
        assert not failed
        assert all(by_key[f"{i + 1:02d}", "action"] is BranchStatus.SUCCEED for i in range(steps))
    else:
        assert failed
        assert all(by_key[key[0], "compensate"] is BranchStatus.SUCCEED for key in asked)


@given(
    steps=st.integers(1, 5),
    concurrent=st.booleans(),
    limits=st.sampled_from([Options(), Options(timeout_to_fail=25), Options(retry_limit=2)]),
    unruly_rounds=st.integers(0, 3),
    data=st.data(),
)
def test_any_orders_hold_forwards_and_backwards(
    steps: int, concurrent: bool, limits: Options, unruly_rounds: int, data: st.DataObject
) -> None:
    """PROTOCOL §6: orders, late and lost answers, limits; what may have run is undone, in reverse."""
    earlier = {
        step: data.draw(st.lists(st.integers(0, step - 1), unique=True), label=f"before {step}")
        for step in range(1, steps)
    }
    custom_data = json.dumps({"concurrent": concurrent, "orders": {str(k): v for k, v in earlier.items()}})
    fates: dict[BranchKey, Result] = {}

    def answers(branch: Branch) -> Result:
        if branch.key not in fates:  # what a barrier has said once it says for ever
            fails = branch.op == "action" and data.draw(st.integers(0, 4)) == 0
            fates[branch.key] = Result.FAILURE if fails else Result.SUCCESS
        if play.rounds > unruly_rounds:
            return fates[branch.key]
        return data.draw(st.sampled_from([fates[branch.key], Result.ONGOING, Result.UNKNOWN]))

    transaction = Transaction(
        "g", "saga", Status.SUBMITTED, options=limits, custom_data=custom_data, create_time=NOW
    )
    play = Play(saga, transaction, list(rows("pp" * steps)), data, answers)
    assert play.until_final(60)

    before = saga.order_of(custom_data, False, steps).before
    called = {op: [c for c in play.calls if c.key[1] == op] for op in ("action", "compensate")}
    done: dict[tuple[int, str], int] = {}  # when each step was first done, as a place in the order of calls
    for place, call in enumerate(play.calls):
        if call.result is Result.SUCCESS:
            done.setdefault((int(call.key[0]) - 1, call.key[1]), place)
    for place, call in enumerate(play.calls):
        step = int(call.key[0]) - 1
        if call.key[1] == "action":
            assert all(done.get((one, "action"), place) < place for one in before[step]), "before its order"
    undone = {int(c.key[0]) - 1 for c in called["compensate"]}
    for place, call in enumerate(play.calls):
        if call.key[1] == "compensate":
            later = [one for one in undone if int(call.key[0]) - 1 in before[one]]
            assert all(done[one, "compensate"] < place for one in later), "not in reverse"
    if play.transaction.status is Status.SUCCEED:
        assert not undone
        assert play.moves == [Status.SUCCEED]
    else:
        failed = any(c.result is Result.FAILURE for c in called["action"])
        assert failed or limits != Options(), "unknown rolled back"
        assert undone >= {int(c.key[0]) - 1 for c in called["action"]}, "may have run, not undone"
        assert play.moves == [Status.ABORTING, Status.FAILED]


def test_rows_are_written_in_the_order_that_clients_know() -> None:
    """PROTOCOL §6: per step compensate, then action, both with the step's payload."""
    request = TransactionRequest("g", "saga", (Step("a1", "c1"), Step("a2", "c2")), (b"1", b"2"))
    written: Sequence[Branch] = saga.branches_of(request)
    assert [(b.branch_id, b.op, b.url, b.payload) for b in written] == [
        ("01", "compensate", "c1", b"1"),
        ("01", "action", "a1", b"1"),
        ("02", "compensate", "c2", b"2"),
        ("02", "action", "a2", b"2"),
    ]
