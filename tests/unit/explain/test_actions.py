"""What may be done to a transaction, and what that makes of its rows: the table that everybody asks."""

from dataclasses import replace

import pytest

from coordinator.errors import Failure, Invalid
from coordinator.explain.actions import (
    Action,
    SkipReason,
    allowed_actions,
    branches_to_skip,
    changed,
    plan_rollback,
    plan_skip,
)
from coordinator.explain.play import Rows
from coordinator.explain.preview import Fate, hash_of, preview
from coordinator.model import BranchStatus, Op, Status
from tests.unit.explain.rows import NOW, TIMING, rows

PREPARED, SUBMITTED, ABORTING = Status.PREPARED, Status.SUBMITTED, Status.ABORTING
RETRY, ROLLBACK, STOP, SKIP = Action.RETRY, Action.ROLLBACK, Action.STOP, Action.SKIP


@pytest.mark.parametrize(
    ("trans_type", "status", "letters", "expected"),
    [
        ("saga", PREPARED, "pppp", {RETRY, STOP}),
        ("saga", SUBMITTED, "pspp", {RETRY, ROLLBACK, STOP, SKIP}),
        ("saga", ABORTING, "pspf", {RETRY, STOP, SKIP}),
        ("msg", PREPARED, "pp", {RETRY, ROLLBACK, STOP}),
        ("msg", SUBMITTED, "sp", {RETRY, STOP, SKIP}),
        ("tcc", PREPARED, "pp", {RETRY, ROLLBACK, STOP}),
        ("tcc", SUBMITTED, "pp", {RETRY, STOP, SKIP}),
        ("tcc", ABORTING, "pp", {RETRY, STOP, SKIP}),
        ("xa", PREPARED, "pp", {RETRY, ROLLBACK, STOP}),
        ("xa", SUBMITTED, "pp", {RETRY, STOP, SKIP}),
        ("xa", ABORTING, "pp", {RETRY, STOP, SKIP}),
        ("workflow", PREPARED, "s", {RETRY, STOP}),  # its client decides how it ends
        ("strange", SUBMITTED, "p", {RETRY, STOP}),
        ("saga", SUBMITTED, "ssp", {RETRY, ROLLBACK, STOP}),  # rows that no rule explains
        *(
            (trans_type, status, "pp", set())
            for trans_type in ("saga", "msg", "tcc", "xa", "workflow")
            for status in (Status.SUCCEED, Status.FAILED)
        ),
    ],
)
def test_what_is_allowed(trans_type: str, status: Status, letters: str, expected: set[Action]) -> None:
    answer = allowed_actions(TIMING, rows(trans_type, status, letters), NOW)
    assert {it.action for it in answer} == set(Action)
    assert {it.action for it in answer if not it.why_not} == expected


def test_what_is_not_allowed_is_refused_with_the_reason() -> None:
    with pytest.raises(Failure, match="its sender has committed: a message never rolls back"):
        plan_rollback(TIMING, rows("msg", SUBMITTED, "p"), NOW)


@pytest.mark.parametrize(
    ("trans_type", "status", "letters", "expected"),
    [
        ("saga", SUBMITTED, "pspp", [("02", "action")]),
        ("saga", ABORTING, "pspf", [("02", "compensate"), ("01", "compensate")]),
        ("saga", ABORTING, "pspfpp", [("02", "compensate"), ("01", "compensate")]),  # 03 never started
        ("tcc", SUBMITTED, "pppp", [("02", "confirm"), ("01", "confirm")]),
        ("xa", ABORTING, "pppp", [("01", "rollback"), ("02", "rollback")]),
        ("msg", SUBMITTED, "sp", [("02", "action")]),
        ("tcc", PREPARED, "pp", []),
    ],
)
def test_what_may_be_skipped_is_what_will_be_called(
    trans_type: str, status: Status, letters: str, expected: list[tuple[str, str]]
) -> None:
    assert list(branches_to_skip(TIMING, rows(trans_type, status, letters), NOW)) == expected


def test_an_action_that_happened_outside_is_undone_like_any_other_later() -> None:
    before = rows("saga", SUBMITTED, "pppp")
    planned = plan_skip(TIMING, before, NOW, ("01", Op.ACTION), SkipReason.HAPPENED_OUTSIDE)
    assert planned.results == ((("01", Op.ACTION), BranchStatus.SUCCEED),)
    assert branches_to_skip(TIMING, changed(before, planned), NOW) == (("02", Op.ACTION),)


def test_an_action_that_must_not_happen_needs_no_undoing_either() -> None:
    before = rows("saga", SUBMITTED, "pppp")
    planned = plan_skip(TIMING, before, NOW, ("01", Op.ACTION), SkipReason.MUST_NOT_HAPPEN)
    assert [key for key, _ in planned.results] == [("01", "action"), ("01", "compensate")]


def test_what_will_not_be_called_cannot_be_skipped() -> None:
    """One that was done meanwhile is refused by state; one that there is not, is asked for by mistake."""
    done = rows("saga", SUBMITTED, "pspp")
    with pytest.raises(Failure, match="branch 01 action will not be called; to be skipped are: 02 action"):
        plan_skip(TIMING, done, NOW, ("01", "action"), SkipReason.MUST_NOT_HAPPEN)
    with pytest.raises(Invalid, match="branch 07 action will not be called; to be skipped are: 02 action"):
        plan_skip(TIMING, done, NOW, ("07", "action"), SkipReason.MUST_NOT_HAPPEN)


def test_a_row_is_taken_from_its_driver_when_its_call_must_be_over() -> None:
    """PROTOCOL §9: no second driver beside the first."""
    driven = rows("saga", SUBMITTED, "pppp", owner="a/1/1", update_time=NOW)
    planned = plan_rollback(TIMING, driven, NOW)
    assert planned.owner == ""
    assert planned.next_cron_time is not None
    assert (planned.next_cron_time - NOW).total_seconds() == TIMING.lease(driven.transaction.options) + 1


@pytest.mark.parametrize(
    ("action", "trans_type", "status", "letters", "fates"),
    [
        (ROLLBACK, "saga", SUBMITTED, "pspppp", [Fate.UNDONE, Fate.NULL, Fate.NOT_CALLED]),
        (RETRY, "saga", SUBMITTED, "pspp", [Fate.DONE, Fate.CALLED]),
        (RETRY, "saga", ABORTING, "pssfpp", [Fate.UNDONE, Fate.IS_UNDONE, Fate.NOT_CALLED]),
        (RETRY, "saga", ABORTING, "pspfpp", [Fate.UNDONE, Fate.REFUSED_UNDONE, Fate.NOT_CALLED]),
        (STOP, "saga", SUBMITTED, "pspppp", [Fate.STAYS, Fate.MAY_STAY, Fate.NOT_CALLED]),
        (STOP, "saga", ABORTING, "pssfpp", [Fate.STAYS, Fate.IS_UNDONE, Fate.NOT_CALLED]),
        (STOP, "saga", PREPARED, "pp", [Fate.NOT_CALLED]),
        (ROLLBACK, "tcc", PREPARED, "pppp", [Fate.NULL, Fate.NULL]),
        (STOP, "tcc", SUBMITTED, "pspp", [Fate.STAYS, Fate.HELD]),
        (STOP, "xa", SUBMITTED, "pspp", [Fate.STAYS, Fate.IN_DOUBT]),
        (STOP, "msg", SUBMITTED, "sp", [Fate.STAYS, Fate.MAY_STAY]),
        (ROLLBACK, "msg", PREPARED, "p", [Fate.NOT_DONE]),
        (STOP, "workflow", PREPARED, "sf", [Fate.STAYS, Fate.NOT_DONE]),
    ],
)
def test_what_becomes_of_each_step(
    action: Action, trans_type: str, status: Status, letters: str, fates: list[Fate]
) -> None:
    shown = preview(TIMING, rows(trans_type, status, letters), action, now=NOW)
    assert [effect.fate for effect in shown.effects] == fates


def test_what_nothing_undoes_is_said_to_stay() -> None:
    full = rows("saga", SUBMITTED, "pspp")
    bare = Rows(
        full.transaction, tuple(replace(it, url="") if it.op == Op.COMPENSATE else it for it in full.branches)
    )
    shown = preview(TIMING, bare, ROLLBACK, now=NOW)
    assert [effect.fate for effect in shown.effects] == [Fate.KEPT, Fate.MAY_BE_KEPT]
    assert shown.forecast.calls == ()


def test_a_message_that_is_given_up_may_have_been_meant() -> None:
    shown = preview(TIMING, rows("msg", PREPARED, "p"), ROLLBACK, now=NOW)
    assert any("will never be delivered" in remark.told() for remark in shown.remarks)
    assert shown.forecast.calls == ()
    assert shown.forecast.ends is Status.FAILED


def test_the_hash_tells_rows_apart_by_what_a_preview_says_and_not_by_their_back_off() -> None:
    one = rows("saga", SUBMITTED, "pspp")
    assert hash_of(one) == hash_of(rows("saga", SUBMITTED, "pspp", next_cron_interval=160, owner="a/1/2"))
    others = [
        rows("saga", SUBMITTED, "psps"),
        rows("saga", ABORTING, "pspp"),
        rows("saga", SUBMITTED, "pspp", custom_data='{"concurrent":true}'),
        rows("saga", SUBMITTED, "psppps"),
    ]
    assert len({hash_of(it) for it in [one, *others]}) == 5


def test_rows_that_no_rule_explains_can_still_be_stopped() -> None:
    shown = preview(TIMING, rows("saga", SUBMITTED, "ssp"), STOP, now=NOW)
    assert shown.forecast.ends is Status.FAILED
    assert preview(TIMING, rows("strange", SUBMITTED, "s"), STOP, now=NOW).effects[0].fate is Fate.STAYS
