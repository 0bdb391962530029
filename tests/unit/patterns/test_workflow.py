"""PROTOCOL §7, row by row: an unfinished workflow is called back, and that is all."""

import base64
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.model import Branch, BranchStatus, Options, Result, Status
from coordinator.patterns import workflow
from coordinator.patterns.decision import Await, Decision, Round, Run, Wait
from tests.unit.patterns.play import ANY_RESULT, NOW, Play, transaction_of

CUSTOM = '{"name":"transfer","data":"AAFmb28="}'
RESUME = ("00", "transfer")


def decide(
    *,
    status: Status = Status.PREPARED,
    custom_data: str = CUSTOM,
    options: Options | None = None,
    round: Round | None = None,
    seconds: int = 0,
) -> Decision:
    """seconds: since it was created."""
    transaction = transaction_of("workflow", status, options, custom_data, "http://client/resume")
    done = Branch("g", "01", "action", "", b"", BranchStatus.SUCCEED)
    return workflow.decide(transaction, [done], round or Round(), NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("custom_data", "payload"),
    [
        (CUSTOM, b"\x00\x01foo"),
        ('{"name":"transfer"}', b""),  # §7: GET when its data is empty
        ('{"name":"transfer","data":null}', b""),  # §3: null is as absent
        ('{"name":"transfer","data":""}', b""),
    ],
)
def test_the_client_is_called_back_with_name_and_data(custom_data: str, payload: bytes) -> None:
    """PROTOCOL §7: query_prepared, branch_id 00, op = the workflow's name, body = its data."""
    decision = decide(custom_data=custom_data)
    assert isinstance(decision, Run)
    assert [(b.branch_id, b.op, b.url, b.payload) for b in decision.branches] == [
        (*RESUME, "http://client/resume", payload)
    ]


@pytest.mark.parametrize("result", list(Result))
def test_once_a_round_whatever_it_answers(result: Result) -> None:
    """PROTOCOL §7: no result backs off; the client says itself how it ended."""
    assert decide(round=Round(unrecorded={RESUME: result})) == Wait(doubles=result is Result.UNKNOWN)
    assert workflow.recorded(Branch("g", *RESUME, ""), result) is None


def test_one_call_back_at_a_time() -> None:
    """PROTOCOL §7."""
    assert decide(round=Round(in_flight={RESUME})) == Await()


@pytest.mark.parametrize("seconds", [0, 35, 36, 10**8])
def test_a_workflow_never_times_out(seconds: int) -> None:
    """PROTOCOL §7, timeout_to_fail or not."""
    for options in (Options(), Options(timeout_to_fail=5)):
        assert isinstance(decide(options=options, seconds=seconds), Run)


@pytest.mark.parametrize("status", [Status.SUBMITTED, Status.ABORTING, Status.SUCCEED, Status.FAILED])
def test_a_workflow_that_is_not_prepared_has_no_next_step(status: Status) -> None:
    """PROTOCOL §1: prepared → succeed or failed directly."""
    with pytest.raises(ValueError, match="the workflow g is"):
        decide(status=status)


@pytest.mark.parametrize(
    ("custom_data", "says"),
    [
        ("", "name must be the workflow's name"),
        ("no json", "not JSON"),
        ("[]", "JSON object"),
        ('{"name":""}', "name must be"),
        ('{"name":5}', "name must be"),
        ('{"name":"w","data":5}', "must be text in base64"),
        ('{"name":"w","data":"a"}', "not base64"),
        ('{"name":"w","data":"ab!="}', "not base64"),
    ],
)
def test_custom_data_that_no_workflow_can_have_is_refused(custom_data: str, says: str) -> None:
    """PROTOCOL §3 (better): error at prepare, nothing stored."""
    with pytest.raises(ValueError, match=says):
        workflow.custom_of(custom_data)


@given(
    payload=st.binary(max_size=30),
    timeout=st.sampled_from([0, 5]),
    crashes=st.integers(0, 5),
    ends=st.sampled_from([Status.SUCCEED, Status.FAILED]),
    data=st.data(),
)
def test_any_answers_only_call_it_back_until_its_client_ends_it(
    payload: bytes, timeout: int, crashes: int, ends: Status, data: st.DataObject
) -> None:
    """PROTOCOL §7: no answer moves it, it never times out; after its client's submit it is left alone."""

    def answers(branch: Branch) -> Result:
        if play.rounds > crashes:  # the client went on to its end, and submitted
            play.transaction = replace(play.transaction, status=ends)
        return data.draw(ANY_RESULT)

    custom_data = json.dumps({"name": "w", "data": base64.b64encode(payload).decode()})
    transaction = transaction_of("workflow", Status.PREPARED, Options(timeout_to_fail=timeout), custom_data)
    done = Branch("g", "01", "action", "", b"", BranchStatus.SUCCEED)
    play = Play(workflow, transaction, [done], data, answers)
    assert play.until_final(crashes + 2)
    assert play.moves == [], "the coordinator moved a workflow by itself"
    assert [call.key for call in play.calls] == [("00", "w")] * (crashes + 1), "once a round, nothing else"
    assert play.branches == [done]
