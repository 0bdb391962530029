"""PROTOCOL §6 for long sagas: the rule says what a plain reading says, at a cost linear in the steps."""

import gc
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.model import Branch, BranchStatus, Op, Options, Result, Status, Transaction
from coordinator.patterns import saga
from coordinator.patterns.decision import Abort, Await, Decision, Finish, Round, Run, Wait
from tests.support.work import calls_counted

NOW = datetime(2026, 1, 1, tzinfo=UTC)


# --- the same rule, read plainly: every question is asked of every row, every time ---


def plainly(transaction: Transaction, branches: Sequence[Branch], round: Round, now: datetime) -> Decision:
    names = list(dict.fromkeys(branch.branch_id for branch in branches))
    for name in names:
        for op in ("action", "compensate"):
            if not any(branch.key == (name, op) for branch in branches):
                raise ValueError(f"a saga's step has no {op} row")
    actions = [[b for b in branches if b.key == (name, "action")][-1] for name in names]
    compensates = [[b for b in branches if b.key == (name, "compensate")][-1] for name in names]
    before = saga.order_of(transaction.custom_data, transaction.options.concurrent, len(names)).before

    def may_start(step: int) -> bool:
        return all(actions[earlier].status is BranchStatus.SUCCEED for earlier in before[step])

    if transaction.status is Status.ABORTING:
        if any(op == "action" for _, op in round.in_flight):
            return Await()
        left = [
            step
            for step in range(len(names))
            if (actions[step].status is not BranchStatus.PREPARED or may_start(step))
            and compensates[step].status is not BranchStatus.SUCCEED
        ]
        if not left:
            return Finish(Status.FAILED)
        ready = tuple(
            compensates[step]
            for step in sorted(left, reverse=True)
            if compensates[step].key not in round.in_flight | set(round.unrecorded)
            and not any(step in before[later] for later in left)
        )
        return Run(ready) if ready else Await() if round.in_flight else Wait()

    for action in actions:
        if action.status is BranchStatus.FAILED:
            return Abort(round.failure_reason or f"url:{action.url} return failed: FAILURE")
    if all(action.status is BranchStatus.SUCCEED for action in actions):
        return Finish(Status.SUCCEED)
    options = transaction.options
    limit = transaction.create_time + timedelta(seconds=options.timeout_to_fail)
    if options.timeout_to_fail and now >= limit:
        return Abort(f"Timeout after {options.timeout_to_fail} seconds")
    startable = [
        action
        for step, action in enumerate(actions)
        if action.status is BranchStatus.PREPARED and may_start(step) and action.key not in round.in_flight
    ]
    fresh = tuple(action for action in startable if action.key not in round.unrecorded)
    if fresh:
        return Run(fresh)
    if startable and options.retry_limit:
        if round.repeats >= options.retry_limit:
            return Abort(f"RetryCount is greater than RetryLimit, RetryLimit: {options.retry_limit}")
        left_over = options.retry_limit - round.repeats
        return Run(tuple(startable[:left_over]), delay=min(0.1 * 2**round.repeats, 1.0))
    return Await() if round.in_flight else Wait(not_after=limit if options.timeout_to_fail else None)


def said(rule: object, *arguments: object) -> object:
    try:
        return rule(*arguments)  # type: ignore[operator]
    except ValueError as error:
        return str(error)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Transaction, list[Branch], Round]:
    """Rows as no driver would leave them, too: any statuses and order, rows missing, doubled or strange."""
    steps = draw(st.integers(0, 5))
    status = st.sampled_from(list(BranchStatus))
    branches = [
        Branch("g", f"{step:02d}", op, f"u{step}", status=draw(status))
        for step in range(1, steps + 1)
        for op in (Op.COMPENSATE, Op.ACTION)
    ]
    match draw(st.integers(0, 9)):
        case 0:
            branches = draw(st.permutations(branches))
        case 1 if branches:
            del branches[draw(st.integers(0, len(branches) - 1))]
        case 2 if branches:
            branches.append(replace(draw(st.sampled_from(branches)), status=draw(status)))
        case 3:
            strange = Branch(
                "g", draw(st.sampled_from(["01", "77"])), draw(st.sampled_from(["try", "action"])), "s"
            )
            branches.insert(draw(st.integers(0, len(branches))), strange)
    keys = st.sampled_from([branch.key for branch in branches] or [("01", "action")])
    earlier = {
        str(step): draw(st.lists(st.integers(0, step - 1), unique=True, max_size=3))
        for step in range(1, steps)
    }
    custom_data = draw(
        st.sampled_from(["", '{"concurrent":true}', json.dumps({"concurrent": True, "orders": earlier}),
                         json.dumps({"orders": earlier})])
    )  # fmt: skip
    options = Options(
        timeout_to_fail=draw(st.sampled_from([0, 5, 20])),
        retry_limit=draw(st.sampled_from([0, 1, 3])),
        concurrent=draw(st.booleans()),
    )
    transaction = Transaction(
        "g", "saga", draw(st.sampled_from([Status.SUBMITTED, Status.ABORTING])),
        options=options, custom_data=custom_data, create_time=NOW,
    )  # fmt: skip
    in_flight = draw(st.sets(keys, max_size=3))
    unrecorded = draw(st.sets(keys, max_size=4)) - in_flight
    round = Round(
        in_flight=in_flight,
        unrecorded=dict.fromkeys(unrecorded, Result.UNKNOWN),
        repeats=draw(st.integers(0, 4)),
        failure_reason=draw(st.sampled_from(["", "no"])),
    )
    return transaction, branches, round


@given(cases())
def test_the_rule_says_what_a_plain_reading_says(case: tuple[Transaction, list[Branch], Round]) -> None:
    now = NOW + timedelta(seconds=10)
    assert said(saga.decide, *case, now) == said(plainly, *case, now)


@given(st.lists(st.lists(st.integers(0, 5), max_size=3), min_size=6, max_size=6))
def test_steps_that_wait_for_each_other_are_found(orders: list[list[int]]) -> None:
    left = set(range(6))
    while free := {step for step in left if not left.intersection(orders[step])}:
        left -= free
    custom_data = json.dumps({"concurrent": True, "orders": {str(n): it for n, it in enumerate(orders)}})
    if left:
        with pytest.raises(ValueError, match=f"steps {sorted(left)} wait".replace("[", r"\[")):
            saga.order_of(custom_data, False, 6)
    else:
        assert saga.order_of(custom_data, False, 6).before == tuple(map(frozenset, orders))


# --- cost ---


def played(steps: int, custom_data: str, *, together: bool) -> tuple[int, float]:
    """Go forward until the last action says FAILURE, then all back: how many calls, processor seconds.

    together: calls are out at the same time, and each answer is followed by a decision of its own.
    """
    rows = [
        Branch("g", f"{step:02d}", op, "u") for step in range(1, steps + 1) for op in ("compensate", "action")
    ]
    place = {branch.key: index for index, branch in enumerate(rows)}
    transaction = Transaction("g", "saga", Status.SUBMITTED, custom_data=custom_data, create_time=NOW)
    round, calls = Round(), 0
    out: list[Branch] = []

    def answer(branch: Branch) -> None:
        failed = branch.key == (f"{steps:02d}", "action")
        status = BranchStatus.FAILED if failed else BranchStatus.SUCCEED
        rows[place[branch.key]] = replace(branch, status=status)
        round.in_flight.discard(branch.key)

    while not transaction.status.is_final:
        match saga.decide(transaction, rows, round, NOW):
            case Run(branches):
                calls += len(branches)
                out += branches
                round.in_flight.update(branch.key for branch in branches)
            case Await():
                pass
            case Abort(_):
                transaction = replace(transaction, status=Status.ABORTING)
                continue
            case Finish(status):
                transaction = replace(transaction, status=status)
                continue
            case other:
                raise AssertionError(other)
        for branch in [out.pop(0)] if together else out:
            answer(branch)
        if not together:
            out = []
    return calls


@pytest.mark.parametrize(
    ("custom_data", "together"),
    [
        ("", False),
        (json.dumps({"orders": {str(step): [step - 2] for step in range(2, 60)}}), False),
        (
            json.dumps({"concurrent": True, "orders": {str(step): [step - 1] for step in range(400, 460)}}),
            True,
        ),
    ],
    ids=["sequential", "sequential with orders", "concurrent with orders"],
)
def test_a_decision_costs_twice_as_much_for_twice_the_steps(custom_data: str, together: bool) -> None:
    with calls_counted() as half:
        played(500, custom_data, together=together)
    with calls_counted() as whole:
        assert played(1000, custom_data, together=together) > 1800
    assert whole.made < 5 * half.made, (
        "twice as many, each twice as dear: 4 times; a rule that looks at pairs takes 8"
    )


def test_orders_that_are_remembered_are_bounded_in_bytes() -> None:
    def alive() -> list[saga.Order]:
        gc.collect()
        return [it for it in gc.get_objects() if isinstance(it, saga.Order)]

    for steps, many in ((32, 300), (1000, 300), (5000, 20)):
        for number in range(many):
            saga.order_of(f'{{"n":{number}}}', False, steps)
    weights = [sum(map(sys.getsizeof, order.before)) for order in alive()]
    assert len(weights) >= 256, "usual ones are remembered"
    assert sum(weights) < 10_000_000
