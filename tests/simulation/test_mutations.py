"""The invariants can fail: with a promise broken on purpose, some history is found that shows it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from coordinator.calls.base import Answer
from coordinator.engine.drive import Drive
from coordinator.model import Branch, BranchStatus, Result, Status, Transaction
from coordinator.patterns import msg, tcc, workflow, xa
from coordinator.patterns.decision import Abort, Decision, Finish, Round, Submit
from coordinator.service import branches as registration
from coordinator.service import workflows
from coordinator.store.base import Assign, Change, Changed
from tests.simulation.history import ALL_TYPES
from tests.simulation.noticed import assert_noticed
from tests.simulation.twin import TwinStore

Patch = pytest.MonkeyPatch
Decide = Callable[[Transaction, Sequence[Branch], Round, datetime], Decision]


def results_are_written_only_at_the_end(patch: Patch) -> None:
    write = Drive._write

    async def forgetful(drive: Drive, assign: Assign) -> None:
        if assign != Assign():
            await write(drive, assign)

    patch.setattr(Drive, "_write", forgetful)


def the_owner_is_not_compared(patch: Patch) -> None:
    apply = TwinStore._apply
    patch.setattr(TwinStore, "_apply", lambda store, change: apply(store, replace(change, owner=None)))


def an_answer_comes_before_the_commit(patch: Patch) -> None:
    insert = TwinStore.insert
    lost = iter(range(1_000_000))

    async def hasty(store: TwinStore, transaction: Transaction, branches: Any, *, timeout: float) -> bool:
        if next(lost) % 7 == 3:
            return True
        return await insert(store, transaction, branches, timeout=timeout)

    patch.setattr(TwinStore, "insert", hasty)


def branches_are_not_read_again_after_an_abort(patch: Patch) -> None:
    async def skip(_drive: Drive) -> None:
        pass

    patch.setattr(Drive, "_read_branches", skip)


def branches_are_registered_after_the_end(patch: Patch) -> None:
    patch.setattr(registration, "_PREPARED", frozenset(Status))


def a_registration_is_acknowledged_and_not_stored(patch: Patch) -> None:
    change = TwinStore.change

    async def hasty(store: TwinStore, asked: Change, *, timeout: float) -> Changed:
        return Changed.APPLIED if asked.added else await change(store, asked, timeout=timeout)

    patch.setattr(TwinStore, "change", hasty)


def _instead(patch: Patch, pattern: Any, wanted: Callable[..., Decision | None]) -> None:
    """Let the pattern say what `wanted` returns, where that is not None."""
    decide: Decide = pattern.decide

    def mutated(
        transaction: Transaction, branches: Sequence[Branch], round: Round, now: datetime
    ) -> Decision:
        return wanted(transaction, branches, round, now) or decide(transaction, branches, round, now)

    patch.setattr(pattern, "decide", mutated)


def a_submitted_tcc_times_out(patch: Patch) -> None:
    def give_up(transaction: Transaction, _b: Any, _r: Round, now: datetime) -> Decision | None:
        late = now > transaction.create_time + timedelta(seconds=10)
        return Abort("late") if transaction.status is Status.SUBMITTED and late else None

    _instead(patch, tcc, give_up)


def a_prepared_xa_is_given_up_too_early(patch: Patch) -> None:
    patch.setattr(xa, "decide_by", _early(xa.decide_by))


def _early(decide_by: Callable[..., Decision]) -> Callable[..., Decision]:
    def early(
        transaction: Transaction, branches: Sequence[Branch], round: Round, now: datetime, **ops: Any
    ) -> Decision:
        if transaction.status is Status.PREPARED:
            return Abort("early")
        return decide_by(transaction, branches, round, now, **ops)

    return early


def any_answer_to_a_confirm_counts(patch: Patch) -> None:
    patch.setattr(tcc, "recorded", lambda _branch, _result: BranchStatus.SUCCEED)


def confirms_are_called_first_registered_first(patch: Patch) -> None:
    decide = tcc.decide
    patch.setattr(tcc, "decide", lambda t, branches, round, now: decide(t, branches[::-1], round, now))


def a_tcc_ends_with_its_last_branch_left_out(patch: Patch) -> None:
    decide = tcc.decide
    patch.setattr(tcc, "decide", lambda t, branches, round, now: decide(t, branches[2:], round, now))


def an_unknown_answer_of_the_sender_is_a_no(patch: Patch) -> None:
    def no(transaction: Transaction, _b: Any, round: Round, _now: datetime) -> Decision | None:
        unknown = round.unrecorded.get(("00", "msg")) is Result.UNKNOWN
        return Finish(Status.FAILED) if transaction.status is Status.PREPARED and unknown else None

    _instead(patch, msg, no)


def a_silent_sender_is_not_asked(patch: Patch) -> None:
    def yes(transaction: Transaction, _b: Any, _r: Round, _now: datetime) -> Decision | None:
        return Submit() if transaction.status is Status.PREPARED else None

    _instead(patch, msg, yes)


def a_message_that_is_refused_fails(patch: Patch) -> None:
    def fail(transaction: Transaction, _b: Any, round: Round, _now: datetime) -> Decision | None:
        refused = transaction.status is Status.SUBMITTED and Result.FAILURE in round.unrecorded.values()
        return Finish(Status.FAILED) if refused and ("00", "msg") not in round.unrecorded else None

    _instead(patch, msg, fail)


def a_message_ends_with_one_left_out(patch: Patch) -> None:
    decide = msg.decide
    patch.setattr(msg, "decide", lambda t, branches, round, now: decide(t, branches[1:], round, now))


def a_delay_is_not_kept(patch: Patch) -> None:
    read = msg.custom_of
    patch.setattr(msg, "custom_of", lambda custom_data: replace(read(custom_data), delay=0.0))


def a_workflow_times_out(patch: Patch) -> None:
    def give_up(transaction: Transaction, _b: Any, _r: Round, now: datetime) -> Decision | None:
        late = now > transaction.create_time + timedelta(seconds=20)
        return Finish(Status.FAILED) if transaction.status is Status.PREPARED and late else None

    _instead(patch, workflow, give_up)


def a_workflows_interval_is_doubled_whatever_it_said(patch: Patch) -> None:
    release = Drive._release

    async def doubling(drive: Drive, wait: Any) -> None:
        drive._failing = drive._failing or (drive._branches[0], Answer(Result.UNKNOWN))
        await release(drive, replace(wait, doubles=True))

    patch.setattr(Drive, "_release", doubling)


def a_workflow_can_be_submitted_twice(patch: Patch) -> None:
    patch.setattr(workflows, "_PREPARED", frozenset({Status.PREPARED, Status.SUCCEED, Status.FAILED}))


def a_workflows_progress_is_forgotten(patch: Patch) -> None:
    find = TwinStore.find

    async def forgetful(store: TwinStore, gid: str) -> Any:
        stored = await find(store, gid)
        if stored is None or stored.transaction.trans_type != "workflow":
            return stored
        return replace(stored, branches=())

    patch.setattr(TwinStore, "find", forgetful)


@pytest.mark.parametrize(
    ("trans_types", "broken", "noticed"),
    [
        # every pattern
        (
            ALL_TYPES,
            results_are_written_only_at_the_end,
            "was called after .* had started|was called after the end",
        ),
        (
            "tcc xa",
            the_owner_is_not_compared,
            "called at the same time|was called after .* had started|nobody after .*: the interval",
        ),
        ("msg workflow", an_answer_comes_before_the_commit, "acknowledged, but not stored"),
        # §7: TCC and XA
        ("tcc xa", branches_are_not_read_again_after_an_abort, "without (cancel|rollback)|began before"),
        (
            "tcc xa",
            branches_are_registered_after_the_end,
            "changed after its end|without (confirm|commit|cancel|rollback)|began before|branch clashed",
        ),
        (
            "tcc xa",
            a_registration_is_acknowledged_and_not_stored,
            "registered, acknowledged, but not stored|is gone",
        ),
        ("tcc xa", a_submitted_tcc_times_out, "submitted became aborting"),
        ("tcc xa", a_prepared_xa_is_given_up_too_early, "rolled back before its time-out"),
        ("tcc xa", any_answer_to_a_confirm_counts, "succeed, but it never said so"),
        ("tcc xa", confirms_are_called_first_registered_first, "began before"),
        ("tcc xa", a_tcc_ends_with_its_last_branch_left_out, "without (confirm|cancel)"),
        # §8: messages
        (
            "msg",
            an_unknown_answer_of_the_sender_is_a_no,
            "committed, and it was not sent|failed on nobody's word",
        ),
        ("msg", a_silent_sender_is_not_asked, "submitted by nobody|did not commit"),
        ("msg", a_message_that_is_refused_fails, "submitted became failed"),
        ("msg", a_message_ends_with_one_left_out, "not delivered to all"),
        ("msg", a_delay_is_not_kept, "called before its delay"),
        # §7: workflows
        (
            "workflow",
            a_workflow_times_out,
            "ended, though its client had not|but its client said|stranger.* changed",
        ),
        ("workflow", a_workflows_interval_is_doubled_whatever_it_said, "the interval .*became"),
        ("workflow", a_workflow_can_be_submitted_twice, "changed after its end"),
        ("workflow", a_workflows_progress_is_forgotten, "acknowledged and is gone"),
    ],
)
@pytest.mark.usefixtures("quiet")
def test_a_broken_promise_is_noticed(
    monkeypatch: Patch, trans_types: str, broken: Callable[[Patch], None], noticed: str
) -> None:
    broken(monkeypatch)
    assert_noticed(noticed, trans_types=trans_types)
