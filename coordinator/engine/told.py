"""What a driver tells people of a transaction: why it is rolled back, what its log lines say and name."""

from typing import Final

from coordinator.calls.base import Answer
from coordinator.discovery.logins import shown_url
from coordinator.errors import ending_with
from coordinator.model import Branch, Result, Transaction, TransType
from coordinator.telemetry.log import log
from coordinator.telemetry.trace_context import trace_field

REASON_LENGTH_MAX: Final = 1024  # characters, column rollback_reason
_SAID_MAX: Final = 500  # characters of an answer that a log line shows


def rollback_reason(url: str, text: str) -> str:
    """`url:<url> return failed: <text> FAILURE`, without a password, cut to fit the column (PROTOCOL §6)."""
    reason = ending_with(f"url:{shown_url(url)} return failed: {text}", "FAILURE")
    if len(reason) <= REASON_LENGTH_MAX:
        return reason
    half = (REASON_LENGTH_MAX - 1) // 2
    return f"{reason[:half]}…{reason[half - REASON_LENGTH_MAX + 1 :]}"


def about(transaction: Transaction) -> dict[str, str]:
    """The fields of a log line about a transaction: its gid, and its trace where it has one."""
    return {"gid": transaction.gid, **trace_field(transaction.ext_data)}


def log_no_result(transaction: Transaction, branch: Branch, answer: Answer) -> None:
    """Say that a branch gave no result and is called again; ONGOING is no trouble."""
    if transaction.trans_type == TransType.WORKFLOW and answer.result is Result.FAILURE:
        return  # so a client that was called back says that it has rolled back: it has ended it
    bound = log.with_fields(**about(transaction))
    write = bound.info if answer.result is Result.ONGOING else bound.warning
    write(
        "no result from {}: {} {}; it will be called again",
        shown_url(branch.url),
        answer.result,
        answer.text[:_SAID_MAX],
        branch=branch.branch_id,
        op=branch.op,
    )
