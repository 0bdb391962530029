"""Saga: every step forward, or every step that may have run undone (PROTOCOL §6). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from graphlib import TopologicalSorter
from typing import Any

from coordinator.light import light
from coordinator.model import (
    Branch,
    BranchStatus,
    Op,
    Result,
    Status,
    Transaction,
    TransactionRequest,
    later,
)
from coordinator.patterns.common import flag_of, json_object
from coordinator.patterns.decision import Abort, Await, Decision, Finish, Round, Run, Wait
from coordinator.results import marked, plain_url, stored_payload, undo_of

_FIRST_REPEAT_SECONDS = 0.1
_LONGEST_REPEAT_SECONDS = 1.0

# A step's order takes about 240 bytes: 256 x 32 x 240 and 4 x 4,096 x 240 are 6 MB.
_STEPS_USUAL = 32
_STEPS_REMEMBERED = 4096
_CHARACTERS_REMEMBERED = 1024  # what the column holds


@dataclass(frozen=True, slots=True)
class Order:
    """Which steps must have succeeded before a step may start: `before[i]` for step i, 0-based."""

    before: tuple[frozenset[int], ...]


@light
@dataclass(frozen=True, slots=True)
class _Steps:
    """The rows of each step, in order, and which actions have succeeded."""

    actions: Sequence[Branch]
    compensates: Sequence[Branch]
    done: set[int]


def branches_of(request: TransactionRequest) -> tuple[Branch, ...]:
    """The rows of a saga: per step compensate, then action, both with its payload (PROTOCOL §6).

    Raises ValueError for places that a payload does not have.
    """
    rows: list[Branch] = []
    for index, (step, payload) in enumerate(zip(request.steps, request.payloads, strict=False)):
        new = partial(Branch, request.gid, f"{index + 1:02d}")
        if step.is_plain:
            rows.append(new(Op.COMPENSATE, step.compensate, payload))
            rows.append(new(Op.ACTION, step.action, payload))
            continue
        undo_payload, undo_places = undo_of(step, payload)
        action = marked(step.action, keeps=step.keep_result, uses=bool(step.from_results))
        undo = marked(step.compensate, uses=bool(undo_places))
        rows.append(new(Op.COMPENSATE, undo, stored_payload(undo_payload, undo_places)))
        rows.append(new(Op.ACTION, action, stored_payload(payload, step.from_results)))
    return tuple(rows)


def steps_before(order: Order) -> list[int]:
    """Of each step those that have succeeded whenever it starts, as bits: 1 << index."""
    reached = [0] * len(order.before)
    for step in TopologicalSorter(dict(enumerate(order.before))).static_order():
        for earlier in order.before[step]:
            reached[step] |= reached[earlier] | 1 << earlier
    return reached


def order_of(custom_data: str, concurrent: bool, steps: int) -> Order:
    """Read a saga's custom_data: `{"concurrent":bool,"orders":{"1":[0]}}`, or nothing (PROTOCOL §6).

    concurrent: what the options say; either place turns it on. steps: how many there are.
    Raises ValueError, with a sentence, for what is not that JSON, an order out of range or a cycle.
    What was read is remembered, in a few megabytes at most: of usual sagas many, of long ones few.
    """
    if len(custom_data) > _CHARACTERS_REMEMBERED or steps > _STEPS_REMEMBERED:
        return _read_order(custom_data, concurrent, steps)
    read = _read_usual if steps <= _STEPS_USUAL else _read_long
    return read(custom_data, concurrent, steps)


def _read_order(custom_data: str, concurrent: bool, steps: int) -> Order:
    data = json_object(custom_data)
    sequential = not (flag_of(data, "concurrent") or concurrent)
    before = [{index - 1} if sequential and index else set() for index in range(steps)]
    for step, earlier in _orders(data, steps):
        before[step] |= earlier
    _refuse_cycle(before)
    return Order(tuple(frozenset(earlier) for earlier in before))


_read_usual = lru_cache(maxsize=256)(_read_order)
_read_long = lru_cache(maxsize=4)(_read_order)


def decide(transaction: Transaction, branches: Sequence[Branch], round: Round, now: datetime) -> Decision:
    """Return the next step of a saga.

    branches: every stored row, first registered first. now: aware, UTC.
    Raises ValueError for a final transaction, and for rows or custom_data that no saga can have.
    """
    steps = _steps(branches)
    before = order_of(transaction.custom_data, transaction.options.concurrent, len(steps.actions)).before
    match transaction.status:
        case Status.PREPARED:  # the client has not submitted it; nobody drives it
            return Wait()
        case Status.SUBMITTED:
            return _forward(transaction, steps, before, round, now)
        case Status.ABORTING:
            return _backward(steps, before, round)
        case Status.SUCCEED | Status.FAILED:
            raise ValueError(f"gid {transaction.gid} is already {transaction.status}")


def recorded(branch: Branch, result: Result) -> BranchStatus | None:
    """What a call's result makes of its row; None leaves it prepared, so that it is called again.

    A compensation that says FAILURE is asked again for ever: what was done must be undone.
    """
    if result is Result.SUCCESS:
        return BranchStatus.SUCCEED
    if result is Result.FAILURE and branch.op == Op.ACTION:
        return BranchStatus.FAILED
    return None


def _forward(
    transaction: Transaction,
    steps: _Steps,
    before: Sequence[frozenset[int]],
    round: Round,
    now: datetime,
) -> Decision:
    failed = [action for action in steps.actions if action.status is BranchStatus.FAILED]
    if failed:
        return Abort(round.failure_reason or f"url:{plain_url(failed[0].url)} return failed: FAILURE")
    if len(steps.done) == len(steps.actions):
        return Finish(Status.SUCCEED)
    limit = _time_limit(transaction)
    if limit is not None and now >= limit:
        return Abort(f"Timeout after {transaction.options.timeout_to_fail} seconds")
    startable = [
        action
        for action, earlier in zip(steps.actions, before, strict=True)
        if action.status is BranchStatus.PREPARED
        and earlier <= steps.done
        and action.key not in round.in_flight
    ]
    fresh = tuple(action for action in startable if action.key not in round.unrecorded)
    if fresh:
        return Run(fresh)
    again = tuple(action for action in startable if action.key in round.unrecorded)
    if again and transaction.options.retry_limit > 0:
        return _repeat(again, transaction.options.retry_limit, round.repeats)
    return Await() if round.in_flight else Wait(not_after=limit)


def _repeat(again: tuple[Branch, ...], limit: int, repeats: int) -> Decision:
    left = limit - repeats
    if left <= 0:
        return Abort(f"RetryCount is greater than RetryLimit, RetryLimit: {limit}")
    # 2 ** repeats would grow without need for a large limit
    delay = min(_FIRST_REPEAT_SECONDS * 2 ** min(repeats, 10), _LONGEST_REPEAT_SECONDS)
    return Run(again[:left], delay=delay)


def _backward(steps: _Steps, before: Sequence[frozenset[int]], round: Round) -> Decision:
    if any(op == Op.ACTION for _, op in round.in_flight):
        return Await()  # an action that answers now still counts as run
    left = [
        index
        for index, compensate in enumerate(steps.compensates)
        if compensate.status is not BranchStatus.SUCCEED
        # What is prepared may have run all the same, once everything before it had succeeded.
        and (steps.actions[index].status is not BranchStatus.PREPARED or before[index] <= steps.done)
    ]
    if not left:
        return Finish(Status.FAILED)
    waiting = frozenset[int]().union(*[before[later] for later in left])  # for a later one to be undone
    ready = tuple(
        compensate
        for index in reversed(left)
        if index not in waiting
        and (compensate := steps.compensates[index]).key not in round.in_flight
        and compensate.key not in round.unrecorded
    )
    if ready:
        return Run(ready)
    return Await() if round.in_flight else Wait()


def _time_limit(transaction: Transaction) -> datetime | None:
    seconds = transaction.options.timeout_to_fail
    return later(transaction.create_time, seconds) if seconds > 0 else None


def _steps(branches: Sequence[Branch]) -> _Steps:
    compensates, actions = branches[::2], branches[1::2]
    ids = [action.branch_id for action in actions]
    if (
        ids != [compensate.branch_id for compensate in compensates]
        or len(set(ids)) != len(ids)
        or [action.op for action in actions].count(Op.ACTION) != len(ids)
        or [compensate.op for compensate in compensates].count(Op.COMPENSATE) != len(ids)
    ):  # not as `branches_of` writes them: another program did
        compensates, actions = _sorted_out(branches)
    done = {index for index, action in enumerate(actions) if action.status is BranchStatus.SUCCEED}
    return _Steps(actions, compensates, done)


def _sorted_out(branches: Sequence[Branch]) -> tuple[Sequence[Branch], Sequence[Branch]]:
    """The compensations and the actions, step by step, of rows in any order."""
    by_id: dict[str, dict[str, Branch]] = {}
    for branch in branches:
        by_id.setdefault(branch.branch_id, {})[branch.op] = branch
    try:
        pairs = [(ops[Op.ACTION], ops[Op.COMPENSATE]) for ops in by_id.values()]
    except KeyError as error:
        raise ValueError(f"a saga's step has no {error.args[0]} row") from error
    return [compensate for _, compensate in pairs], [action for action, _ in pairs]


def _orders(data: dict[str, Any], steps: int) -> list[tuple[int, set[int]]]:
    orders = data.get("orders")
    if orders is None:
        return []
    if not isinstance(orders, dict):
        raise ValueError("custom_data.orders must be an object: step index to the indexes before it")
    return [(_index(key, steps), _indexes(key, earlier, steps)) for key, earlier in orders.items()]


def _index(key: str, steps: int) -> int:
    if not (key.isascii() and key.isdigit()) or int(key) >= steps:
        raise ValueError(f"custom_data.orders has step {key!r}, but the saga has the steps 0 to {steps - 1}")
    return int(key)


def _indexes(key: str, earlier: object, steps: int) -> set[int]:
    if earlier is None:
        return set()
    if not isinstance(earlier, list) or any(type(index) is not int for index in earlier):
        raise ValueError(f"custom_data.orders[{key}] must be a list of step indexes, not {earlier!r}")
    for index in earlier:
        if not 0 <= index < steps:
            raise ValueError(f"custom_data.orders[{key}] names step {index}; the steps are 0 to {steps - 1}")
    return set(earlier)


def _refuse_cycle(before: list[set[int]]) -> None:
    after: list[list[int]] = [[] for _ in before]
    for step, earlier in enumerate(before):
        for one in earlier:
            after[one].append(step)
    waits_for = [len(earlier) for earlier in before]
    free = [step for step, number in enumerate(waits_for) if not number]
    while free:
        for step in after[free.pop()]:
            waits_for[step] -= 1
            if not waits_for[step]:
                free.append(step)
    if left := [step for step, number in enumerate(waits_for) if number]:
        raise ValueError(f"custom_data.orders is cyclic: steps {left} wait for each other")
