"""PROTOCOL §8, row by row: what a two-phase message does next, given its stored rows."""

import json
from dataclasses import replace
from datetime import timedelta

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
    TransactionRequest,
)
from coordinator.patterns import msg
from coordinator.patterns.decision import Await, Decision, Finish, Round, Run, Submit, Wait
from tests.unit.patterns.play import ANY_RESULT, BRANCH_STATUSES, NOW, Play, started, transaction_of

CONCURRENT = '{"concurrent":true}'
QUERY = ("00", "msg")


def rows(statuses: str) -> list[Branch]:
    return [
        Branch("g", f"{number:02d}", "action", "http://branch/do", b"{}", BRANCH_STATUSES[letter])
        for number, letter in enumerate(statuses, start=1)
    ]


def decide(
    statuses: str,
    status: Status = Status.SUBMITTED,
    *,
    custom_data: str = "",
    options: Options | None = None,
    round: Round | None = None,
    seconds: float = 0,
) -> Decision:
    """statuses: of the actions. seconds: since the message was created."""
    transaction = transaction_of("msg", status, options, custom_data)
    return msg.decide(transaction, rows(statuses), round or Round(), NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("statuses", "custom_data", "options", "expected"),
    [
        ("ppp", "", Options(), [("01", "action")]),  # §8: in order
        ("spp", "", Options(), [("02", "action")]),
        ("ppp", CONCURRENT, Options(), [("01", "action"), ("02", "action"), ("03", "action")]),  # §8: at once
        ("psp", "", Options(concurrent=True), [("01", "action"), ("03", "action")]),  # §6: either place
    ],
)
def test_actions_are_called_in_order_or_all_at_once(
    statuses: str, custom_data: str, options: Options, expected: list[BranchKey]
) -> None:
    """PROTOCOL §8."""
    assert started(decide(statuses, custom_data=custom_data, options=options)) == expected


@pytest.mark.parametrize(
    ("statuses", "custom_data"), [("ss", ""), ("ss", CONCURRENT), ("", ""), ("", CONCURRENT)]
)
def test_all_delivered_is_succeed(statuses: str, custom_data: str) -> None:
    """PROTOCOL §8; without steps: §5."""
    assert decide(statuses, custom_data=custom_data) == Finish(Status.SUCCEED)


@pytest.mark.parametrize("result", [Result.FAILURE, Result.ONGOING, Result.UNKNOWN])
@pytest.mark.parametrize("custom_data", ["", CONCURRENT])
def test_an_action_without_success_is_called_again_next_round(result: Result, custom_data: str) -> None:
    """PROTOCOL §8: FAILURE is retried like unknown; a msg never rolls back."""
    asked = Round(unrecorded={("02", "action"): result})
    assert decide("sps", custom_data=custom_data, round=asked) == Wait()
    assert msg.recorded(rows("p")[0], result) is None


def test_calls_in_flight_are_awaited() -> None:
    """PROTOCOL §8."""
    out = Round(in_flight={("01", "action")}, unrecorded={("02", "action"): Result.UNKNOWN})
    assert decide("pp", custom_data=CONCURRENT, round=out) == Await()
    assert decide("pp", round=Round(in_flight={("01", "action")})) == Await()


@pytest.mark.parametrize(
    ("options", "seconds", "expected"),
    [
        (Options(), 34, Wait(until=NOW + timedelta(seconds=35))),  # §8: past timeout_to_fail, on time
        (Options(timeout_to_fail=3), 2, Wait(until=NOW + timedelta(seconds=3))),
    ],
)
def test_a_prepared_message_waits_for_its_sender(options: Options, seconds: int, expected: Decision) -> None:
    """PROTOCOL §8."""
    assert decide("p", Status.PREPARED, options=options, seconds=seconds) == expected


def test_a_sender_that_stays_silent_is_asked() -> None:
    """PROTOCOL §8: query_prepared, branch_id 00, op msg, GET: no payload."""
    decision = decide("p", Status.PREPARED, seconds=35)
    assert isinstance(decision, Run)
    assert [(b.branch_id, b.op, b.url, b.payload) for b in decision.branches] == [
        ("00", "msg", "http://client/ask", b"")
    ]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Result.SUCCESS, Submit()),
        (Result.FAILURE, Finish(Status.FAILED)),  # §8: failed, nothing was called
        (Result.ONGOING, Wait()),  # §8: asked again after the interval
        (Result.UNKNOWN, Wait()),  # §8: back-off
    ],
)
def test_what_the_sender_says_decides(answer: Result, expected: Decision) -> None:
    """PROTOCOL §8."""
    asked = Round(unrecorded={QUERY: answer})
    assert decide("p", Status.PREPARED, round=asked, seconds=35) == expected


def test_the_sender_is_asked_once_at_a_time() -> None:
    """PROTOCOL §8."""
    assert decide("p", Status.PREPARED, round=Round(in_flight={QUERY}), seconds=35) == Await()


def test_the_senders_answer_has_no_row() -> None:
    """PROTOCOL §8: an action's success is recorded, the query's is not."""
    assert msg.recorded(rows("p")[0], Result.SUCCESS) is BranchStatus.SUCCEED
    assert msg.recorded(Branch("g", "00", "msg", ""), Result.SUCCESS) is None


@pytest.mark.parametrize(("seconds", "starts"), [(0, False), (4.9, False), (5, True), (500, True)])
def test_no_branch_is_called_before_the_delay_has_passed(seconds: float, starts: bool) -> None:
    """PROTOCOL §8."""
    decision = decide("p", custom_data='{"delay":5}', seconds=seconds)
    if starts:
        assert started(decision) == [("01", "action")]
    else:
        assert decision == Wait(until=NOW + timedelta(seconds=5))


@pytest.mark.parametrize("custom_data", ["", '{"delay":0}'])
def test_a_message_without_delay_is_sent_though_the_clock_was_put_back(custom_data: str) -> None:
    """PROTOCOL §8; the clock follows the database's, which may step back a few milliseconds."""
    assert isinstance(decide("p", custom_data=custom_data, seconds=-0.01), Run)


@pytest.mark.parametrize("status", [Status.ABORTING, Status.SUCCEED, Status.FAILED])
def test_a_message_that_cannot_go_on_has_no_next_step(status: Status) -> None:
    """PROTOCOL §1: a msg is never aborting."""
    with pytest.raises(ValueError, match="the message g is"):
        decide("p", status)


@pytest.mark.parametrize(
    ("custom_data", "says"),
    [
        ("no json", "not JSON"),
        ("[5]", "JSON object"),
        ('{"delay":"5"}', "delay must be a number"),
        ('{"delay":true}', "delay must be a number"),
        ('{"delay":-1}', "delay must be between"),
        ('{"delay":2147483648}', "delay must be between"),
        ('{"delay":NaN}', "delay must be between"),
        ('{"delay":Infinity}', "delay must be between"),
        ('{"concurrent":1}', "concurrent must be true or false"),
    ],
)
def test_custom_data_that_no_message_can_have_is_refused(custom_data: str, says: str) -> None:
    """PROTOCOL §3 (better): error at submit, nothing stored."""
    with pytest.raises(ValueError, match=says):
        msg.custom_of(custom_data)


@pytest.mark.parametrize(
    ("custom_data", "seconds", "expected"),
    [
        ("", 7, ""),
        ('{"delay":0}', 7, '{"delay":0}'),  # no delay stays none
        ('{"delay":5}', 7.2, '{"delay":13}'),  # whole seconds, never too early
        ('{"delay":0.5}', 0, '{"delay":1}'),
        ('{"delay":5}', -60, '{"delay":5}'),  # the clock was put back
        ('{"delay":5,"concurrent":true}', 1, '{"delay":6,"concurrent":true}'),
        ('{"delay":2147483647}', 9, '{"delay":2147483647}'),  # what is stored can still be read
        ('{"delay":1,"note":"中"}', 1, '{"delay":2,"note":"中"}'),  # no longer than it came
    ],
)
def test_a_delay_counts_from_the_submit(custom_data: str, seconds: float, expected: str) -> None:
    """PROTOCOL §5: stored as seconds since create_time."""
    moved = msg.delayed_further(custom_data, seconds)
    assert moved == expected
    msg.custom_of(moved)


def request(*actions: str) -> TransactionRequest:
    return TransactionRequest(
        "g", "msg", tuple(Step(action) for action in actions), tuple(b"%d" % n for n in range(len(actions)))
    )


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        (["http://a"], [("01", "http://a", b"0")]),
        (["http://a", "http://b"], [("01", "http://a", b"0"), ("02", "http://b", b"1")]),
        (["topic://one"], [("01", "http://s1", b"0")]),  # §1: with one subscriber plain 01
        (["topic://two"], [("01-01", "http://s1", b"0"), ("01-02", "http://s2", b"0")]),
        (
            ["http://a", "topic://two", "topic://one"],
            [
                ("01", "http://a", b"0"),
                ("02-01", "http://s1", b"1"),
                ("02-02", "http://s2", b"1"),
                ("03", "http://s1", b"2"),
            ],
        ),
    ],
)
def test_rows_one_action_per_step_or_subscriber(
    actions: list[str], expected: list[tuple[str, str, bytes]]
) -> None:
    """PROTOCOL §1, §8."""
    topics = {"one": ["http://s1"], "two": ["http://s1", "http://s2"]}
    made = msg.branches_of(request(*actions), topics)
    assert [(b.branch_id, b.url, b.payload) for b in made] == expected
    assert {b.op for b in made} == {"action"}


TOPICS = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.lists(st.sampled_from(["http://s1", "http://s2", "http://s3"]), min_size=1, unique=True),
    min_size=2,
)


@given(
    actions=st.lists(st.sampled_from(["http://x", "topic://a", "topic://b", ""]), max_size=4),
    topics=TOPICS,
    concurrent=st.sampled_from(["no", "options", "custom_data"]),
    begins=st.sampled_from([Status.PREPARED, Status.SUBMITTED]),
    delay=st.sampled_from([0, 3, 100]),
    timeout=st.sampled_from([0, 5]),
    unruly_rounds=st.integers(0, 4),
    data=st.data(),
)
def test_any_answers_deliver_to_all_or_are_never_sent(
    actions: list[str],
    topics: dict[str, list[str]],
    concurrent: str,
    begins: Status,
    delay: int,
    timeout: int,
    unruly_rounds: int,
    data: st.DataObject,
) -> None:
    """PROTOCOL §8: steps, topics, concurrent, delay; late and lost answers; the sender's word."""
    said: list[Result] = []

    def answers(branch: Branch) -> Result:
        unruly = play.rounds <= unruly_rounds
        if branch.op != "msg":
            return data.draw(ANY_RESULT) if unruly else Result.SUCCESS
        sure = st.sampled_from([Result.SUCCESS, Result.FAILURE])
        said.append(data.draw(ANY_RESULT if unruly else sure))
        return said[-1]

    custom_data = json.dumps({"delay": delay} | ({"concurrent": True} if concurrent == "custom_data" else {}))
    options = Options(timeout_to_fail=timeout, concurrent=concurrent == "options")
    transaction = transaction_of("msg", begins, options, custom_data)
    play = Play(msg, transaction, list(msg.branches_of(request(*actions), topics)), data, answers)
    assert play.until_final(40)

    asked = [call for call in play.calls if call.key == QUERY]
    actions_called = [call for call in play.calls if call.key != QUERY]
    if begins is Status.SUBMITTED:
        assert not asked, "a submitted message's sender is not asked"
        assert play.moves == [Status.SUCCEED], "a message never rolls back once it is submitted"
    else:
        assert asked[0].at >= NOW + timedelta(seconds=timeout or 35)
        if said[-1] is Result.FAILURE:
            assert play.moves == [Status.FAILED]
            assert not actions_called, "failed, but somebody was called"
        else:
            assert play.moves == [Status.SUBMITTED, Status.SUCCEED]
            assert said[-1] is Result.SUCCESS
        # Unknown and ONGOING never decide anything.
        assert all(one in (Result.ONGOING, Result.UNKNOWN) for one in said[:-1])
    assert all(call.at >= NOW + timedelta(seconds=delay) for call in actions_called), "before its delay"
    if play.transaction.status is Status.SUCCEED:
        succeeded = [call.key for call in actions_called if call.result is Result.SUCCESS]
        keys = [branch.key for branch in play.branches]
        assert sorted(succeeded) == sorted(keys), "each delivered, and not again"
        if concurrent == "no":
            assert succeeded == keys, "in order"


def test_a_message_that_is_submitted_by_its_sender_meanwhile_is_delivered_from_its_rows() -> None:
    """PROTOCOL §8: the query of an earlier round says nothing any more."""
    transaction = replace(transaction_of("msg", Status.PREPARED), status=Status.SUBMITTED)
    asked = Round(unrecorded={QUERY: Result.SUCCESS})
    assert started(msg.decide(transaction, rows("p"), asked, NOW)) == [("01", "action")]
