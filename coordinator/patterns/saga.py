"""Saga: every step forward, or every step that may have run undone (PROTOCOL §6). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from coordinator.model import Branch, BranchStatus, Op, Result, Status, Transaction, TransactionRequest
from coordinator.patterns.common import flag_of, json_object
from coordinator.patterns.decision import Abort, Await, Decision, Finish, Round, Run, Wait

_FIRST_REPEAT_SECONDS = 0.1
_LONGEST_REPEAT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Order:
    """Which steps must have succeeded before a step may start: `before[i]` for step i, 0-based."""

    before: tuple[frozenset[int], ...]


@dataclass(frozen=True, slots=True)
class _Step:
    action: Branch
    compensate: Branch


def branches_of(request: TransactionRequest) -> tuple[Branch, ...]:
    """The rows of a saga: per step compensate, then action, both with its payload (PROTOCOL §6)."""
    rows: list[Branch] = []
    for index, (step, payload) in enumerate(zip(request.steps, request.payloads, strict=False)):
        branch_id = f"{index + 1:02d}"
        rows.append(Branch(request.gid, branch_id, Op.COMPENSATE, step.compensate, payload))
        rows.append(Branch(request.gid, branch_id, Op.ACTION, step.action, payload))
    return tuple(rows)


@lru_cache(maxsize=1024)
def order_of(custom_data: str, concurrent: bool, steps: int) -> Order:
    """Read a saga's custom_data: `{"concurrent":bool,"orders":{"1":[0]}}`, or nothing (PROTOCOL §6).

    concurrent: what the options say; either place turns it on. steps: how many there are.
    Raises ValueError, with a sentence, for what is not that JSON, an order out of range or a cycle.
    """
    data = json_object(custom_data)
    sequential = not (flag_of(data, "concurrent") or concurrent)
    before = [{index - 1} if sequential and index else set() for index in range(steps)]
    for step, earlier in _orders(data, steps):
        before[step] |= earlier
    _refuse_cycle(before)
    return Order(tuple(frozenset(earlier) for earlier in before))


def decide(transaction: Transaction, branches: Sequence[Branch], round: Round, now: datetime) -> Decision:
    """Return the next step of a saga.

    branches: every stored row, first registered first. now: aware, UTC.
    Raises ValueError for a final transaction, and for rows or custom_data that no saga can have.
    """
    steps = _steps(branches)
    before = order_of(transaction.custom_data, transaction.options.concurrent, len(steps)).before
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
    steps: list[_Step],
    before: Sequence[frozenset[int]],
    round: Round,
    now: datetime,
) -> Decision:
    statuses = [step.action.status for step in steps]
    if BranchStatus.FAILED in statuses:
        failed = steps[statuses.index(BranchStatus.FAILED)].action
        return Abort(round.failure_reason or f"url:{failed.url} return failed: FAILURE")
    if all(status is BranchStatus.SUCCEED for status in statuses):
        return Finish(Status.SUCCEED)
    limit = _time_limit(transaction)
    if limit is not None and now >= limit:
        return Abort(f"Timeout after {transaction.options.timeout_to_fail} seconds")
    startable = [
        step.action
        for index, step in enumerate(steps)
        if step.action.status is BranchStatus.PREPARED
        and step.action.key not in round.in_flight
        and all(statuses[earlier] is BranchStatus.SUCCEED for earlier in before[index])
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


def _backward(steps: list[_Step], before: Sequence[frozenset[int]], round: Round) -> Decision:
    if any(op == Op.ACTION for _, op in round.in_flight):
        return Await()  # an action that answers now still counts as run
    undo = {index for index, step in enumerate(steps) if _may_have_run(step, before[index], steps)}
    left = {index for index in undo if steps[index].compensate.status is not BranchStatus.SUCCEED}
    if not left:
        return Finish(Status.FAILED)
    ready = tuple(
        steps[index].compensate
        for index in sorted(left, reverse=True)
        if steps[index].compensate.key not in round.in_flight
        and steps[index].compensate.key not in round.unrecorded
        and not any(index in before[later] for later in left)
    )
    if ready:
        return Run(ready)
    return Await() if round.in_flight else Wait()


def _may_have_run(step: _Step, before: frozenset[int], steps: list[_Step]) -> bool:
    if step.action.status is not BranchStatus.PREPARED:
        return True
    return all(steps[earlier].action.status is BranchStatus.SUCCEED for earlier in before)


def _time_limit(transaction: Transaction) -> datetime | None:
    seconds = transaction.options.timeout_to_fail
    return transaction.create_time + timedelta(seconds=seconds) if seconds > 0 else None


def _steps(branches: Sequence[Branch]) -> list[_Step]:
    by_id: dict[str, dict[str, Branch]] = {}
    for branch in branches:
        by_id.setdefault(branch.branch_id, {})[branch.op] = branch
    try:
        return [_Step(ops[Op.ACTION], ops[Op.COMPENSATE]) for ops in by_id.values()]
    except KeyError as error:
        raise ValueError(f"a saga's step has no {error.args[0]} row") from error


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
    left = set(range(len(before)))
    while left:
        free = {index for index in left if not before[index] & left}
        if not free:
            raise ValueError(f"custom_data.orders is cyclic: steps {sorted(left)} wait for each other")
        left -= free
