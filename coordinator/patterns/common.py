"""What several patterns share: calls one after the other, a time limit, reading custom_data. Pure."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from coordinator.model import Branch, BranchStatus, Result, Status, Transaction, later
from coordinator.patterns.decision import Await, Decision, Finish, Round, Run, Wait


def one_by_one(waiting: Sequence[Branch], round: Round, *, then: Status) -> Decision:
    """Call these in order; one that gives no success ends the round. then: the status when none is left."""
    if not waiting:
        return Finish(then)
    if round.in_flight:
        return Await()
    return Wait() if waiting[0].key in round.unrecorded else Run((waiting[0],))


def given_up_at(transaction: Transaction, round: Round) -> datetime:
    """When a prepared transaction has waited long enough for its client (PROTOCOL §7, §8)."""
    return later(transaction.create_time, seconds_to_fail(transaction, round))


def seconds_to_fail(transaction: Transaction, round: Round) -> int:
    """timeout_to_fail, the coordinator's own where the transaction has none."""
    return transaction.options.timeout_to_fail or round.timeout_to_fail


def recorded_success(result: Result) -> BranchStatus | None:
    """What a call's result makes of its row where only success counts: all else is called again."""
    return BranchStatus.SUCCEED if result is Result.SUCCESS else None


def json_object(custom_data: str) -> dict[str, Any]:
    """Read custom_data that must be a JSON object, or nothing. Raises ValueError, with a sentence."""
    if not custom_data:
        return {}
    try:
        data = json.loads(custom_data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"custom_data is not JSON: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ValueError(f"custom_data must be a JSON object, not {custom_data[:40]!r}")
    return data


def flag_of(data: dict[str, Any], name: str) -> bool:
    """The boolean of this name in custom_data, False when absent. Raises ValueError."""
    given = data.get(name)
    if given is not None and not isinstance(given, bool):
        raise ValueError(f"custom_data.{name} must be true or false, not {given!r}")
    return bool(given)
