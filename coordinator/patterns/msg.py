"""Two-phase message: once its sender has committed, every action is called until it succeeds (PROTOCOL §8).

Prepared before the sender's local transaction, submitted after it. When the submit does not come, the sender
is asked whether it committed. A message never rolls back. Pure.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

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
from coordinator.patterns.common import flag_of, given_up_at, json_object, one_by_one, recorded_success
from coordinator.patterns.decision import Await, Decision, Finish, Round, Run, Submit, Wait

TOPIC_PREFIX: Final = "topic://"
QUERY_BRANCH_ID: Final = "00"
DELAY_SECONDS_MAX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Custom:
    """What custom_data says of a message."""

    delay: float = 0.0  # seconds from the submit to the first call
    concurrent: bool = False


@lru_cache(maxsize=1024)
def custom_of(custom_data: str) -> Custom:
    """Read a message's custom_data: `{"delay":s}`, or nothing. Raises ValueError, with a sentence."""
    data = json_object(custom_data)
    delay = data.get("delay")
    if delay is None:
        delay = 0
    elif isinstance(delay, bool) or not isinstance(delay, int | float):
        raise ValueError(f"custom_data.delay must be a number of seconds, not {delay!r}")
    elif not 0 <= delay <= DELAY_SECONDS_MAX:
        raise ValueError(f"custom_data.delay must be between 0 and {DELAY_SECONDS_MAX} seconds, not {delay}")
    return Custom(delay, flag_of(data, "concurrent"))


def delayed_further(custom_data: str, seconds: float) -> str:
    """custom_data whose delay ends so many seconds later.

    The delay counts from the submit, but what is stored counts from create_time: so it holds after a crash,
    and for a coordinator of another make (PROTOCOL §5). Raises ValueError as custom_of does.
    """
    if not custom_of(custom_data).delay:
        return custom_data
    data = json_object(custom_data)
    delay = min(math.ceil(data["delay"] + max(seconds, 0.0)), DELAY_SECONDS_MAX)
    return json.dumps(data | {"delay": delay}, separators=(",", ":"), ensure_ascii=False)


def topic_of(action: str) -> str | None:
    """The topic that an action names, None for a url."""
    return action.removeprefix(TOPIC_PREFIX) if action.startswith(TOPIC_PREFIX) else None


def branches_of(request: TransactionRequest, subscribers: Mapping[str, Sequence[str]]) -> tuple[Branch, ...]:
    """The rows of a message: one action per step, or per subscriber of the step's topic.

    subscribers: urls of every topic that the steps name; none is empty.
    """
    rows: list[Branch] = []
    for number, (step, payload) in enumerate(zip(request.steps, request.payloads, strict=False), start=1):
        topic = topic_of(step.action)
        urls = (step.action,) if topic is None else subscribers[topic]
        for place, url in enumerate(urls, start=1):
            branch_id = f"{number:02d}-{place:02d}" if len(urls) > 1 else f"{number:02d}"
            rows.append(Branch(request.gid, branch_id, Op.ACTION, url, payload))
    return tuple(rows)


def decide(transaction: Transaction, branches: Sequence[Branch], round: Round, now: datetime) -> Decision:
    """Return the next step of a message.

    branches: every stored row, in order of the steps. now: aware, UTC.
    Raises ValueError for a final transaction, and for custom_data that no message can have.
    """
    match transaction.status:
        case Status.PREPARED:
            return _ask_sender(transaction, round, now)
        case Status.SUBMITTED:
            return _deliver(transaction, branches, round, now)
        case Status.ABORTING | Status.SUCCEED | Status.FAILED:
            raise ValueError(f"the message {transaction.gid} is {transaction.status}")


def recorded(branch: Branch, result: Result) -> BranchStatus | None:
    """What a call's result makes of its row. An action's FAILURE is retried; the query has no row."""
    return None if branch.op == Op.MSG else recorded_success(result)


def _ask_sender(transaction: Transaction, round: Round, now: datetime) -> Decision:
    limit = given_up_at(transaction, round)
    if now < limit:
        return Wait(until=limit)
    query = Branch(transaction.gid, QUERY_BRANCH_ID, Op.MSG, transaction.query_prepared)
    if query.key in round.in_flight:
        return Await()
    match round.unrecorded.get(query.key):
        case None:
            return Run((query,))  # no url given counts as success
        case Result.SUCCESS:
            return Submit()
        case Result.FAILURE:
            return Finish(Status.FAILED)
        case Result.ONGOING | Result.UNKNOWN:
            return Wait()


def _deliver(transaction: Transaction, branches: Sequence[Branch], round: Round, now: datetime) -> Decision:
    custom = custom_of(transaction.custom_data)
    start = later(transaction.create_time, custom.delay)
    if custom.delay and now < start:  # without one not even for a clock that was put back a little
        return Wait(until=start)
    waiting = [branch for branch in branches if branch.status is BranchStatus.PREPARED]
    if not (custom.concurrent or transaction.options.concurrent):
        return one_by_one(waiting, round, then=Status.SUCCEED)
    if not waiting:
        return Finish(Status.SUCCEED)
    fresh = tuple(
        branch
        for branch in waiting
        if branch.key not in round.in_flight and branch.key not in round.unrecorded
    )
    if fresh:
        return Run(fresh)
    return Await() if round.in_flight else Wait()
