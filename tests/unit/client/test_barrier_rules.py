"""The rules of the barrier as a table (PROTOCOL §12)."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.client import BarrierError, BranchContext, Outcome
from coordinator.client.barriers.rules import judge, plan


def branch(op: str) -> BranchContext:
    return BranchContext(gid="g1", trans_type="saga", branch_id="01", op=op)


@pytest.mark.parametrize(
    ("op", "origin"),
    [
        ("action", None),
        ("try", None),
        ("confirm", None),
        ("commit", None),
        ("msg", None),
        ("compensate", "action"),
        ("cancel", "try"),
        ("rollback", "action"),
    ],
)
def test_which_operation_undoes_which(op: str, origin: str | None) -> None:  # §12.1
    made = plan(branch(op), "01")
    assert (made.origin.op if made.origin else None) == origin
    assert made.own.op == op


def test_both_rows_carry_the_operation_that_was_called_as_reason() -> None:  # §12.2, 3
    made = plan(branch("compensate"), "02")
    assert made.origin is not None
    assert {made.origin.reason, made.own.reason} == {"compensate"}
    assert {made.origin.barrier_id, made.own.barrier_id} == {"02"}


@pytest.mark.parametrize(
    ("origin_inserted", "own_inserted", "outcome"),
    [
        (False, True, Outcome.RUN),
        (False, False, Outcome.REPEATED),  # §12.5
        (True, True, Outcome.EMPTY),  # §12.4
    ],
)
def test_what_the_inserts_say(origin_inserted: bool, own_inserted: bool, outcome: Outcome) -> None:
    assert judge(origin_inserted=origin_inserted, own_inserted=own_inserted) is outcome


@pytest.mark.parametrize("field", ["gid", "trans_type", "branch_id", "op"])
def test_a_value_longer_than_its_column_is_refused_and_not_cut(field: str) -> None:  # §14
    values = {"gid": "g1", "trans_type": "saga", "branch_id": "01", "op": "action", field: "x" * 129}
    with pytest.raises(BarrierError, match=rf"{field} has 129 characters"):
        plan(BranchContext(**values), "01")


def test_each_barrier_of_a_request_has_its_own_number() -> None:
    context = branch("action")
    assert [context.next_barrier_id() for _ in range(3)] == ["01", "02", "03"]


@given(st.lists(st.sampled_from(["action", "compensate"]), max_size=8))
def test_any_order_of_calls_has_at_most_one_effect_and_one_undoing(calls: Sequence[str]) -> None:
    """The barrier against the plainest database there is: a set of keys."""
    keys: set[tuple[str, str, str, str]] = set()
    effects: list[str] = []

    def inserted(row: object) -> bool:
        key = tuple(getattr(row, name) for name in ("gid", "branch_id", "op", "barrier_id"))
        fresh = key not in keys
        keys.add(key)  # type: ignore[arg-type]
        return fresh

    for op in calls:
        made = plan(branch(op), "01")
        origin_inserted = inserted(made.origin) if made.origin else False
        if judge(origin_inserted=origin_inserted, own_inserted=inserted(made.own)) is Outcome.RUN:
            effects.append(op)
    assert effects in ([], ["action"], ["action", "compensate"])
    if "compensate" in calls:
        assert effects in ([], ["action", "compensate"]), "what was undone must not stay done"
