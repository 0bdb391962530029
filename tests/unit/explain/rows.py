"""Rows to explain: one transaction of each pattern, at any point."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from coordinator.attempt import Attempt, Kind
from coordinator.backoff import Timing
from coordinator.explain.play import Rows
from coordinator.model import Branch, BranchStatus, Op, Result, Status, Transaction, TransType

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TIMING = Timing()
WORDS = {"p": BranchStatus.PREPARED, "s": BranchStatus.SUCCEED, "f": BranchStatus.FAILED}
OPS: dict[str, Sequence[str]] = {
    TransType.SAGA: (Op.COMPENSATE, Op.ACTION),
    TransType.TCC: (Op.CANCEL, Op.CONFIRM),
    TransType.XA: (Op.ROLLBACK, Op.COMMIT),
}


def rows(trans_type: str, status: Status, letters: str = "", **values: Any) -> Rows:
    """letters: statuses of the rows in order: p prepared, s succeed, f failed. values: of the transaction."""
    ops = OPS.get(trans_type, (Op.ACTION,))
    branches = []
    for at, letter in enumerate(letters):
        op = ops[at % len(ops)]
        branch_id = f"{at // len(ops) + 1:02d}"
        branches.append(Branch("g", branch_id, op, f"http://ledger:8080/{op}", b"{}", WORDS[letter]))
    given = {
        "custom_data": '{"name":"transfer","data":"e30="}' if trans_type == TransType.WORKFLOW else "",
        "query_prepared": "http://client:8080/ask",
        "create_time": NOW - timedelta(hours=1),
        "update_time": NOW - timedelta(minutes=1),
        "next_cron_time": NOW + timedelta(seconds=40),
        "next_cron_interval": 80,
    } | values
    return Rows(Transaction("g", trans_type, status, **given), tuple(branches))


def attempt(branch_id: str, op: str, kind: Kind, status: int | None = None, **values: Any) -> Attempt:
    """A call that gave no success, 20 times."""
    made = Attempt(
        *("g", branch_id, op, 0, 1, Result.UNKNOWN, kind, status),
        *("http://ledger:8080/it", "http://ledger:8080", "boom", "", "a"),
        *(NOW - timedelta(minutes=50), NOW - timedelta(seconds=40), 3.0, 20),
    )
    return replace(made, **values)
