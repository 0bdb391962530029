"""PROTOCOL §7, row by row: what an XA does next, where it differs from a TCC: its ops, and their order."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.model import Branch, BranchKey, BranchStatus, Result, Status
from coordinator.patterns import xa
from coordinator.patterns.decision import Abort, Await, Decision, Finish, Round, Wait
from tests.unit.patterns.play import ANY_RESULT, NOW, Play, registered, started, transaction_of

OPS = ("rollback", "commit")


def decide(
    statuses: str, status: Status = Status.SUBMITTED, *, round: Round | None = None, seconds: int = 0
) -> Decision:
    """statuses: of the rows in order [rollback 01, commit 01, rollback 02 …]."""
    now = NOW + timedelta(seconds=seconds)
    return xa.decide(transaction_of("xa", status), registered(OPS, statuses), round or Round(), now)


@pytest.mark.parametrize(
    ("statuses", "status", "expected"),
    [
        ("pppp", Status.SUBMITTED, [("01", "commit")]),  # §7: in order of registration
        ("pspp", Status.SUBMITTED, [("02", "commit")]),
        ("pppp", Status.ABORTING, [("01", "rollback")]),
        ("sppp", Status.ABORTING, [("02", "rollback")]),
    ],
)
def test_one_op_is_called_for_every_branch_in_order_of_registration(
    statuses: str, status: Status, expected: list[BranchKey]
) -> None:
    """PROTOCOL §7."""
    assert started(decide(statuses, status)) == expected


@pytest.mark.parametrize(
    ("statuses", "status", "end"),
    [
        ("psps", Status.SUBMITTED, Status.SUCCEED),  # §7
        ("spsp", Status.ABORTING, Status.FAILED),  # §7
        ("", Status.SUBMITTED, Status.SUCCEED),  # §5: submit of an unknown gid
    ],
)
def test_it_ends_when_every_branch_has_done_its_part(statuses: str, status: Status, end: Status) -> None:
    """PROTOCOL §5, §7."""
    assert decide(statuses, status) == Finish(end)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(34, Wait(until=NOW + timedelta(seconds=35))), (35, Abort("Timeout after 35 seconds"))],
)
def test_a_client_that_stays_silent_is_given_up_on_time(seconds: int, expected: Decision) -> None:
    """PROTOCOL §7: prepared past timeout_to_fail."""
    assert decide("pp", Status.PREPARED, seconds=seconds) == expected


@pytest.mark.parametrize("result", [Result.FAILURE, Result.ONGOING, Result.UNKNOWN])
@pytest.mark.parametrize("op", OPS)
def test_without_success_the_branch_is_called_again_next_round(op: str, result: Result) -> None:
    """PROTOCOL §7: commit never becomes rollback."""
    status = Status.SUBMITTED if op == "commit" else Status.ABORTING
    assert decide("pppp", status, round=Round(unrecorded={("01", op): result})) == Wait()
    assert xa.recorded(Branch("g", "01", op, ""), result) is None


def test_success_is_recorded() -> None:
    """PROTOCOL §7."""
    assert xa.recorded(Branch("g", "01", "commit", ""), Result.SUCCESS) is BranchStatus.SUCCEED


def test_nothing_is_started_beside_a_call_that_is_out() -> None:
    """PROTOCOL §7: the order of registration holds."""
    assert decide("pppp", round=Round(in_flight={("01", "commit")})) == Await()


@pytest.mark.parametrize("status", [Status.SUCCEED, Status.FAILED])
def test_a_final_transaction_has_no_next_step(status: Status) -> None:
    with pytest.raises(ValueError, match="already"):
        decide("pp", status)


@given(
    branches=st.integers(0, 5),
    begins=st.sampled_from([Status.PREPARED, Status.SUBMITTED, Status.ABORTING]),
    late=st.booleans(),
    unruly_rounds=st.integers(0, 4),
    data=st.data(),
)
def test_any_answers_commit_all_or_roll_back_all(
    branches: int, begins: Status, late: bool, unruly_rounds: int, data: st.DataObject
) -> None:
    """PROTOCOL §7: late and lost answers, a branch registered just before the abort."""

    def answers(_branch: Branch) -> Result:
        return data.draw(ANY_RESULT) if play.rounds <= unruly_rounds + 1 else Result.SUCCESS

    def register(play: Play) -> None:
        if late:
            play.branches.extend(registered(OPS, "pp", ["09"]))

    rows = registered(OPS, "pp" * branches)
    play = Play(xa, transaction_of("xa", begins), list(rows), data, answers, late=register)
    assert play.until_final(40)
    op, end = ("commit", Status.SUCCEED) if begins is Status.SUBMITTED else ("rollback", Status.FAILED)
    assert play.transaction.status is end
    assert {call.key[1] for call in play.calls} <= {op}, "commit became rollback, or the other way round"
    succeeded = [call.key[0] for call in play.calls if call.result is Result.SUCCESS]
    assert succeeded == [branch.branch_id for branch in play.branches if branch.op == op]
