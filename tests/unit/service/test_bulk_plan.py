"""What one action asked of many would do, and what has to be agreed to before it is done."""

import pytest

from coordinator.access.permissions import ANYBODY, Permission, Principal
from coordinator.errors import Failure, Invalid
from coordinator.explain.actions import Action
from coordinator.explain.sentences import Sentence, sentence
from coordinator.service.bulk_plan import Group, Plan, Unconfirmed, Wish, check_agreed, check_wish, planned
from coordinator.store.gathering import Match


def match(number: int, status: str = "submitted", trans_type: str = "saga", gid: str = "") -> Match:
    return Match(number, gid or f"g{number}", trans_type, status)


def test_what_is_not_eligible_is_counted_by_its_reason():
    found = [match(1), match(2, "succeed"), match(3, "aborting"), match(4), match(5, "succeed")]
    plan = planned(Wish(Action.ROLLBACK, "type:saga"), 9, found, ANYBODY)
    assert (plan.count, plan.eligible, plan.id_max) == (5, 2, 9)
    assert set(plan.groups) == {
        Group(None, 2, ("g1", "g4")),
        Group(sentence("final_already", status="succeed"), 2, ("g2", "g5")),
        Group(sentence("rolls_back_already"), 1, ("g3",)),
    }


def test_of_many_alike_five_are_named():
    [group] = planned(Wish(Action.STOP), 9, [match(number) for number in range(1, 8)], ANYBODY).groups
    assert (group.count, group.examples) == (7, ("g1", "g2", "g3", "g4", "g5"))


def test_what_is_not_theirs_is_not_eligible():
    shop = Principal("shop", frozenset({Permission.OPERATE}), gid_prefix="shop-")
    plan = planned(Wish(Action.RETRY), 9, [match(1, gid="shop-1"), match(2, gid="bank-1")], shop)
    assert plan.eligible == 1
    assert plan.groups[1].why_not == "shop may use gids that begin with 'shop-' alone"


def test_a_status_that_nobody_knows_is_not_eligible():
    [group] = planned(Wish(Action.STOP), 9, [match(1, "lost")], ANYBODY).groups
    assert group.why_not == "nobody knows the status 'lost'"


def plan_of(count: int, against: Sentence | None = None) -> Plan:
    return Plan(Action.STOP, "", 9, count, (Group(against, count, ()),) if count else ())


@pytest.mark.parametrize(
    ("count", "confirm"), [(1, 0), (100, 0), (100, 100), (437, 437), (437, 447), (4000, 4400), (101, 111)]
)
def test_this_is_agreed(count: int, confirm: int):
    check_agreed(plan_of(count), confirm)


@pytest.mark.parametrize(
    ("count", "confirm"), [(101, 0), (437, 436), (437, 486), (101, 113), (4000, 4445), (3, 2), (3, 14)]
)
def test_this_is_not(count: int, confirm: int):
    with pytest.raises(Unconfirmed, match=f"finds {count} transactions") as refused:
        check_agreed(plan_of(count), confirm)
    assert refused.value.plan.count == count


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (plan_of(0), "there is nothing to do"),
        (
            plan_of(3, sentence("final_already", status="failed")),
            "stop is allowed of none of 3: it is failed already",
        ),
    ],
)
def test_what_would_do_nothing_is_no_job(plan: Plan, said: str):
    with pytest.raises(Failure, match=said):
        check_agreed(plan, 0)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(Action.SKIP), "action: must be one of retry, rollback, stop, not skip"),
        (Wish(Action.STOP, rate=0), "rate: must be from 1 to 1000 transactions a second, but is 0"),
        (Wish(Action.STOP, rate=1001), "rate: must be"),
        (Wish(Action.STOP, reason="x" * 501), "reason: is too long: 501 characters, at most 500"),
    ],
)
def test_what_cannot_be_meant_is_refused(wish: Wish, said: str):
    with pytest.raises(Invalid, match=said):
        check_wish(wish)
