"""What `query` shows of a stored transaction (PROTOCOL §3)."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from coordinator.client.errors import DtmError
from coordinator.model import BranchStatus, Status


@dataclass(frozen=True, slots=True)
class BranchView:
    """One stored branch call (PROTOCOL §3). Times are aware; None where nothing happened yet."""

    branch_id: str
    op: str
    status: BranchStatus
    url: str
    payload: bytes
    create_time: datetime | None
    finish_time: datetime | None
    rollback_time: datetime | None


@dataclass(frozen=True, slots=True)
class TransactionView:
    """One stored transaction with its branches (PROTOCOL §3), these as they were stored. Times are aware."""

    gid: str
    trans_type: str
    status: Status
    protocol: str
    rollback_reason: str
    result: str
    create_time: datetime | None
    update_time: datetime | None
    finish_time: datetime | None
    rollback_time: datetime | None
    next_cron_time: datetime | None
    branches: tuple[BranchView, ...]
    raw: Mapping[str, Any] = field(repr=False)  # everything the coordinator printed, as decoded JSON

    @property
    def is_final(self) -> bool:
        """True when nothing can change any more."""
        return self.status.is_final


def read_query(answer: Mapping[str, Any], gid: str) -> TransactionView | None:
    """Return the decoded answer as types, None for an unknown gid.

    Raises DtmError where the answer is not what §3 promises.
    """
    row = answer.get("transaction")
    if row is None:
        return None
    try:
        return _transaction(row, answer)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise DtmError(
            f"query of {gid} answered something unexpected: {error!r}", gid=gid, answer=str(answer)
        ) from error


def _transaction(row: Mapping[str, Any], answer: Mapping[str, Any]) -> TransactionView:
    return TransactionView(
        gid=row["gid"],
        trans_type=row["trans_type"],
        status=Status(row["status"]),
        protocol=row.get("protocol", ""),
        rollback_reason=row.get("rollback_reason", ""),
        result=row.get("result", ""),
        create_time=_time(row, "create_time"),
        update_time=_time(row, "update_time"),
        finish_time=_time(row, "finish_time"),
        rollback_time=_time(row, "rollback_time"),
        next_cron_time=_time(row, "next_cron_time"),
        branches=tuple(_branch(branch) for branch in answer.get("branches") or ()),
        raw=answer,
    )


def _branch(row: Mapping[str, Any]) -> BranchView:
    return BranchView(
        branch_id=row["branch_id"],
        op=row["op"],
        status=BranchStatus(row["status"]),
        url=row.get("url", ""),
        payload=base64.b64decode(row.get("bin_data") or ""),
        create_time=_time(row, "create_time"),
        finish_time=_time(row, "finish_time"),
        rollback_time=_time(row, "rollback_time"),
    )


def _time(row: Mapping[str, Any], name: str) -> datetime | None:
    text = row.get(name)
    return datetime.fromisoformat(text) if text else None
