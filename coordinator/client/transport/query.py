"""What `query` shows of a stored transaction (PROTOCOL §3)."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from coordinator.client.errors import DtmError, Failure
from coordinator.client.transport.base import ListFilter
from coordinator.client.transport.checks import check_number, check_text, wrong
from coordinator.client.transport.said import said_in_reason
from coordinator.discovery.logins import shown_url
from coordinator.model import BranchStatus, Status, TransType


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

    @property
    def failure(self) -> Failure | None:
        """Why it is rolled back, or being rolled back, as `submit` would have raised it; None for all else.

        The status of the branch's answer is not stored.
        """
        if self.status not in (Status.ABORTING, Status.FAILED):
            return None
        reason = self.rollback_reason
        failed = [one for one in self.branches if one.status is BranchStatus.FAILED]
        said = said_in_reason(reason)
        if said is not None:
            of_url = [one for one in failed if shown_url(one.url) == said.url]
            if of_url:
                said = replace(said, branch_id=of_url[0].branch_id, op=of_url[0].op)
            elif self.trans_type != TransType.SAGA:
                said = replace(said, op="")
        return Failure(
            reason or f"transaction {self.gid} is {self.status}", gid=self.gid, answer=reason, said=said
        )


@dataclass(frozen=True, slots=True)
class TransactionPage:
    """One page of transactions, newest first, without branches (PROTOCOL §3).

    next_position: "" on the last one.
    """

    transactions: tuple[TransactionView, ...]
    next_position: str


def read_page(answer: Mapping[str, Any]) -> TransactionPage:
    """Return the decoded answer as types. Raises DtmError where it is not what §3 promises."""
    try:
        rows = answer.get("transactions") or ()
        return TransactionPage(
            tuple(_transaction(row, {"transaction": row}) for row in rows), answer["next_position"]
        )
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise DtmError(f"the list is something unexpected: {error!r}", answer=str(answer)) from error


def list_filter(
    status: str,
    trans_type: str,
    created_from: datetime | None,
    created_until: datetime | None,
    limit: int,
    position: str,
) -> ListFilter:
    """Return what `list` is to ask for. Raises InvalidUse for what nobody can be asked for."""
    check_text("status", status)
    check_text("trans_type", trans_type)
    check_text("position", position)
    check_number("limit", limit)
    start, end = _milliseconds("created_from", created_from), _milliseconds("created_until", created_until)
    return ListFilter(status, trans_type, start, end, limit, position)


def _milliseconds(name: str, moment: Any) -> int:
    """Since 1970; 0 for None."""
    if moment is None:
        return 0
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise wrong(name, moment, "give a datetime with a time zone, such as datetime.now(UTC)")
    return int(moment.timestamp() * 1000)


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
