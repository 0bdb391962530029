"""What a driver tells people of a transaction: why it is rolled back, and what its log lines name."""

from typing import Final

from coordinator.discovery.logins import shown_url
from coordinator.errors import ending_with
from coordinator.model import Transaction
from coordinator.telemetry.trace_context import trace_field

REASON_LENGTH_MAX: Final = 1024  # characters, column rollback_reason


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
