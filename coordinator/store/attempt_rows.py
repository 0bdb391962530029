"""Attempts, and what is stuck, as rows of `dtm_attempt` and `dtm_stuck`, and back. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from coordinator.attempt import Attempt, Kind, Stuck
from coordinator.model import EPOCH, Result, Status
from coordinator.store.own_rows import OwnRow, OwnRowGone

ATTEMPTS: Final = "dtm_attempt"
STUCK: Final = "dtm_stuck"

_ATTEMPT_COLUMNS: Final = (
    *("gid", "branch_id", "op", "place", "number", "result", "kind", "status", "url", "endpoint", "answer"),
    *("fingerprint", "coordinator", "began", "last", "milliseconds", "times"),
)
_STUCK_COLUMNS: Final = (
    *("gid", "trans_type", "status", "branch_id", "op", "endpoint", "kind", "fingerprint", "error"),
    *("coordinator", "since"),
)


def attempt_row(it: Attempt) -> OwnRow:
    """The row of it, which takes the place of the one that stood there."""
    values = (
        *(it.gid, it.branch_id, it.op, it.place, it.number, it.result.value, it.kind.value, it.status),
        *(it.url, it.endpoint, it.answer, it.fingerprint, it.coordinator),
        *(it.began, it.last, round(it.seconds * 1000), it.times),
    )
    return OwnRow(ATTEMPTS, _ATTEMPT_COLUMNS, values, replaces=True)


def stuck_row(it: Stuck) -> OwnRow:
    """The row of it, in the place of an earlier one."""
    values = (
        *(it.gid, it.trans_type, it.status.value, it.branch_id, it.op, it.endpoint, it.kind.value),
        *(it.fingerprint, it.error, it.coordinator, it.since),
    )
    return OwnRow(STUCK, _STUCK_COLUMNS, values, replaces=True)


def not_stuck(gid: str) -> OwnRowGone:
    """What deletes the row of it, where there is one."""
    return OwnRowGone(STUCK, gid)


def attempt_of(row: Mapping[str, Any], began: datetime | None, last: datetime | None) -> Attempt:
    """The attempt in a row. began, last: its times, aware."""
    return Attempt(
        row["gid"],
        row["branch_id"],
        row["op"],
        row["place"],
        row["number"],
        Result(row["result"]),
        Kind(row["kind"]),
        row["status"],
        row["url"],
        row["endpoint"],
        row["answer"],
        row["fingerprint"],
        row["coordinator"],
        began or EPOCH,
        last or EPOCH,
        row["milliseconds"] / 1000,
        row["times"],
    )


def stuck_of(row: Mapping[str, Any], since: datetime | None) -> Stuck:
    """What a row says is stuck. since: its time, aware."""
    return Stuck(
        row["gid"],
        row["trans_type"],
        Status(row["status"]),
        row["branch_id"],
        row["op"],
        row["endpoint"],
        Kind(row["kind"]),
        row["fingerprint"],
        row["error"],
        row["coordinator"],
        since or EPOCH,
    )
