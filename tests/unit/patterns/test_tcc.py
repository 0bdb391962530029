"""PROTOCOL §7, row by row: what a TCC does next, given its stored rows."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.model import Branch, BranchKey, BranchStatus, Options, Result, Status
from coordinator.patterns import tcc
from coordinator.patterns.decision import Abort, Await, Decision, Finish, Round, Wait
from tests.unit.patterns.play import ANY_RESULT, NOW, Play, registered, started, transaction_of

OPS = ("cancel", "confirm")


def decide(
    statuses: str,
    status: Status = Status.SUBMITTED,
    *,
    options: Options | None = None,
    round: Round | None = None,
    seconds: int = 0,
) -> Decision:
    """statuses: of the rows in order [cancel 01, confirm 01, cancel 02 …]. seconds: since the prepare."""
    transaction = transaction_of("tcc", status, options)
    return tcc.decide(
        transaction, registered(OPS, statuses), round or Round(), NOW + timedelta(seconds=seconds)
    )


@pytest.mark.parametrize(
    ("statuses", "status", "expected"),
    [
        ("pppp", Status.SUBMITTED, [("02", "confirm")]),  # §7: last registered first
        ("ppps", Status.SUBMITTED, [("01", "confirm")]),
        ("pp", Status.SUBMITTED, [("01", "confirm")]),
        ("pppp", Status.ABORTING, [("02", "cancel")]),  # §7: the same when going back
        ("ppsp", Status.ABORTING, [("01", "cancel")]),
    ],
)
def test_one_op_is_called_for_every_branch_last_registered_first(
    statuses: str, status: Status, expected: list[BranchKey]
) -> None:
    """PROTOCOL §7."""
    assert started(decide(statuses, status)) == expected


@pytest.mark.parametrize(
    ("statuses", "status", "end"),
    [
        ("psps", Status.SUBMITTED, Status.SUCCEED),  # §7: all confirmed; their cancels stay prepared
        ("spsp", Status.ABORTING, Status.FAILED),  # §7: all cancelled
        ("", Status.SUBMITTED, Status.SUCCEED),  # §5: submit of an unknown gid, without branches
        ("", Status.ABORTING, Status.FAILED),  # §7: given up before the first branch
    ],
)
def test_it_ends_when_every_branch_has_done_its_part(statuses: str, status: Status, end: Status) -> None:
    """PROTOCOL §5, §7."""
    assert decide(statuses, status) == Finish(end)


@pytest.mark.parametrize(
    ("options", "seconds", "expected"),
    [
        (Options(), 34, Wait(until=NOW + timedelta(seconds=35))),  # §7: the coordinator's own TimeoutToFail
        (Options(), 35, Abort("Timeout after 35 seconds")),
        (Options(timeout_to_fail=5), 4, Wait(until=NOW + timedelta(seconds=5))),  # §7: on time
        (Options(timeout_to_fail=5), 5, Abort("Timeout after 5 seconds")),
        (Options(timeout_to_fail=100), 99, Wait(until=NOW + timedelta(seconds=100))),
    ],
)
def test_a_client_that_stays_silent_is_given_up_on_time(
    options: Options, seconds: int, expected: Decision
) -> None:
    """PROTOCOL §7."""
    assert decide("pp", Status.PREPARED, options=options, seconds=seconds) == expected


def test_time_out_counts_only_while_the_client_is_trying() -> None:
    """PROTOCOL §7: what is submitted is confirmed, however late."""
    late = decide("pp", options=Options(timeout_to_fail=5), seconds=10_000)
    assert started(late) == [("01", "confirm")]


@pytest.mark.parametrize("result", [Result.FAILURE, Result.ONGOING, Result.UNKNOWN])
@pytest.mark.parametrize("op", OPS)
def test_without_success_the_branch_is_called_again_next_round(op: str, result: Result) -> None:
    """PROTOCOL §7: FAILURE is retried, never turned into the other."""
    status = Status.SUBMITTED if op == "confirm" else Status.ABORTING
    asked = Round(unrecorded={("02", op): result})
    assert decide("pppp", status, round=asked) == Wait()
    assert started(decide("pppp", status)) == [("02", op)]
    assert tcc.recorded(Branch("g", "02", op, ""), result) is None


def test_success_is_recorded() -> None:
    """PROTOCOL §7."""
    assert tcc.recorded(Branch("g", "01", "confirm", ""), Result.SUCCESS) is BranchStatus.SUCCEED


def test_nothing_is_started_beside_a_call_that_is_out() -> None:
    """PROTOCOL §7: the order of registration, reversed, holds."""
    assert decide("pppp", round=Round(in_flight={("02", "confirm")})) == Await()


def test_ops_that_a_client_invented_are_left_alone() -> None:
    """PROTOCOL §1: clients choose ops; only confirm and cancel are called."""
    own = Branch("g", "01", "try", "http://branch/try")
    assert tcc.decide(transaction_of("tcc"), [own], Round(), NOW) == Finish(Status.SUCCEED)


@pytest.mark.parametrize("status", [Status.SUCCEED, Status.FAILED])
def test_a_final_transaction_has_no_next_step(status: Status) -> None:
    with pytest.raises(ValueError, match="already"):
        decide("pp", status)


BRANCH_IDS = st.lists(st.sampled_from(["01", "02", "0101", "0102", "010101", "03"]), unique=True)


@given(
    names=BRANCH_IDS,
    begins=st.sampled_from([Status.PREPARED, Status.SUBMITTED, Status.ABORTING]),
    late_name=st.sampled_from(["", "09", "0901"]),
    timeout=st.sampled_from([0, 5]),
    unruly_rounds=st.integers(0, 4),
    data=st.data(),
)
def test_any_answers_confirm_all_or_cancel_all(
    names: list[str],
    begins: Status,
    late_name: str,
    timeout: int,
    unruly_rounds: int,
    data: st.DataObject,
) -> None:
    """PROTOCOL §7: nested branches, late and lost answers, a branch registered just before the abort."""

    def answers(_branch: Branch) -> Result:
        return data.draw(ANY_RESULT) if play.rounds <= unruly_rounds + 1 else Result.SUCCESS

    def late(play: Play) -> None:
        if late_name:
            play.branches.extend(registered(OPS, "pp", [late_name]))

    options = Options(timeout_to_fail=timeout)
    transaction = transaction_of("tcc", begins, options)
    rows = registered(OPS, "pp" * len(names), names)
    play = Play(tcc, transaction, list(rows), data, answers, late=late)
    assert play.until_final(40)
    op, other, end = ("confirm", "cancel", Status.SUCCEED)
    if begins is not Status.SUBMITTED:
        op, other, end = ("cancel", "confirm", Status.FAILED)
    assert play.transaction.status is end
    assert play.moves == ([Status.ABORTING, end] if begins is Status.PREPARED else [end])
    assert {call.key[1] for call in play.calls} <= {op}, "confirm became cancel, or the other way round"
    expected = [branch.branch_id for branch in play.branches[::-1] if branch.op == op]
    succeeded = [call.key[0] for call in play.calls if call.result is Result.SUCCESS]
    assert succeeded == expected, "each once, last registered first"
    assert all(play.status_of(name, op) is BranchStatus.SUCCEED for name in expected)
    assert all(play.status_of(name, other) is BranchStatus.PREPARED for name in expected)
    if begins is Status.PREPARED and play.calls:
        assert play.calls[0].at >= NOW + timedelta(seconds=timeout or 35)
