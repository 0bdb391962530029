"""Workflow: the client runs the steps and records them; the coordinator asks it to go on (PROTOCOL §7). Pure.

An unfinished workflow that is due is called back with its name and data. The client runs on from the recorded
progress and says itself how it ended.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from coordinator.model import Branch, BranchStatus, Op, Result, Status, Transaction
from coordinator.patterns.common import json_object
from coordinator.patterns.decision import Await, Decision, Round, Run, Wait

RESUME_BRANCH_ID: Final = "00"
SLEEP: Final = "sleep"  # what our client calls a step that waits


@dataclass(frozen=True, slots=True)
class Custom:
    """What custom_data says of a workflow: its name, and the data it was started with."""

    name: str
    data: bytes


@lru_cache(maxsize=1024)
def custom_of(custom_data: str) -> Custom:
    """Read a workflow's custom_data: `{"name","data"(base64)}`. Raises ValueError, with a sentence."""
    given = json_object(custom_data)
    name, data = given.get("name"), given.get("data")
    if not isinstance(name, str) or not name:
        raise ValueError(f"custom_data.name must be the workflow's name, not {name!r}")
    if data is None:
        return Custom(name, b"")
    if not isinstance(data, str):
        raise ValueError(f"custom_data.data must be text in base64, not {data!r}")
    try:
        return Custom(name, base64.b64decode(data, validate=True))
    except binascii.Error as error:
        raise ValueError(f"custom_data.data is not base64: {error}") from error


def decide(transaction: Transaction, branches: Sequence[Branch], round: Round, now: datetime) -> Decision:
    """Return the next step of a workflow: call the client back, once a round.

    One that gives no result backs off like any branch; one that is ongoing is called back at its own pace.
    Raises ValueError for one that is not prepared, and for custom_data that no workflow can have.
    """
    if transaction.status is not Status.PREPARED:
        raise ValueError(f"the workflow {transaction.gid} is {transaction.status}")
    custom = custom_of(transaction.custom_data)
    resume = Branch(
        transaction.gid, RESUME_BRANCH_ID, custom.name, transaction.query_prepared, payload=custom.data
    )
    if resume.key in round.in_flight:
        return Await()
    if resume.key not in round.unrecorded:
        return Run((resume,))
    return Wait(doubles=round.unrecorded[resume.key] is Result.UNKNOWN)


def recorded(branch: Branch, result: Result) -> BranchStatus | None:
    """Nothing: the client records its progress itself, and the call back has no row."""
    return None


def asleep_until(branches: Sequence[Branch], now: datetime) -> datetime | None:
    """When the first sleep of a workflow is over, as its client recorded it; None where it does not sleep."""
    moments = [moment for branch in branches if (moment := _sleep_of(branch)) is not None and moment > now]
    return min(moments, default=None)


def _sleep_of(branch: Branch) -> datetime | None:
    if branch.op != Op.ACTION or branch.url.partition(":")[0] != SLEEP:
        return None
    try:
        moment = datetime.fromisoformat(branch.payload.decode().strip('"'))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
