"""What is told of a transaction: why it is rolled back, what a branch said, what log lines say and name."""

from typing import Final

from coordinator.calls.answers import said
from coordinator.calls.base import Answer
from coordinator.discovery.logins import shown_url
from coordinator.engine.alerts import Alert
from coordinator.errors import BranchAnswer, ending_with
from coordinator.explain.why import code_of
from coordinator.model import GRPC_REFUSALS, HTTP_REFUSALS, Branch, Result, Transaction, TransType
from coordinator.results import plain_url
from coordinator.telemetry.log import log
from coordinator.telemetry.shown import shown
from coordinator.telemetry.trace_context import trace_field

REASON_LENGTH_MAX: Final = 1024  # characters, column rollback_reason
_TOLD_BYTES_MAX: Final = 1016  # of what a branch said; the word that ends a message makes it 1,024
_GAP: Final = "…"
_SAID_MAX: Final = 500  # characters of an answer that a log line shows


def rollback_reason(url: str, text: str) -> str:
    """`url:<url> return failed: <text> FAILURE`, without a password, cut to fit the column (PROTOCOL §6)."""
    reason = ending_with(f"url:{shown_url(plain_url(url))} return failed: {text}", "FAILURE")
    if len(reason) <= REASON_LENGTH_MAX:
        return reason
    half = (REASON_LENGTH_MAX - 1) // 2
    return f"{reason[:half]}{_GAP}{reason[half - REASON_LENGTH_MAX + 1 :]}"


def told(said: str) -> str:
    """What a branch said, as others are told it: nothing that a terminal would obey, the middle cut out."""
    if len(said) > 2 * _TOLD_BYTES_MAX:  # an answer may have a megabyte
        said = f"{said[:_TOLD_BYTES_MAX]}{_GAP}{said[-_TOLD_BYTES_MAX:]}"
    text = "\n".join(map(shown, said.splitlines()))
    written = text.encode()
    if len(written) <= _TOLD_BYTES_MAX:
        return text
    half = (_TOLD_BYTES_MAX - len(_GAP.encode())) // 2
    return f"{written[:half].decode(errors='ignore')}{_GAP}{written[-half:].decode(errors='ignore')}"


def branch_answer(branch: Branch, answer: Answer) -> BranchAnswer:
    """What a client that waits is told of a branch that gave no success."""
    status = answer.grpc_status if answer.http_status is None else answer.http_status
    return BranchAnswer(
        shown_url(plain_url(branch.url)), branch.branch_id, branch.op, status, told(said(answer))
    )


def alert_of(transaction: Transaction, branch: Branch, answer: Answer, failed: int) -> Alert:
    """What is posted of a branch that gave no result, in so many rounds in a row."""
    code = code_of(answer.kind, answer.status)
    return Alert(
        transaction.gid, transaction.status, shown_url(plain_url(branch.url)), told(answer.text), failed, code
    )


def about(transaction: Transaction) -> dict[str, str]:
    """The fields of a log line about a transaction: its gid, and its trace where it has one."""
    return {"gid": transaction.gid, **trace_field(transaction.ext_data)}


def log_no_result(transaction: Transaction, branch: Branch, answer: Answer) -> None:
    """Say that a branch gave no result and is called again; ONGOING is no trouble."""
    if transaction.trans_type == TransType.WORKFLOW and answer.result is Result.FAILURE:
        return  # so a client that was called back says that it has rolled back: it has ended it
    bound = log.with_fields(**about(transaction))
    write = bound.info if answer.result is Result.ONGOING else bound.warning
    then = "it will be called again"
    if _is_refused(answer):
        write = bound.error
        then += (
            ", which helps only once the branch takes what it refuses now: correct the branch, or stop the"
            " transaction (forceStop); a saga may have such a status count as FAILURE with failure_statuses"
        )
    write(
        "no result from {}: {} {}; {}",
        shown_url(plain_url(branch.url)),
        answer.result,
        answer.text[:_SAID_MAX],
        then,
        branch=branch.branch_id,
        op=branch.op,
        code=code_of(answer.kind, answer.status),
    )


def _is_refused(answer: Answer) -> bool:
    """Whether the branch refuses the request itself, as frameworks do with a body that does not fit (422)."""
    if answer.result is not Result.UNKNOWN:
        return False
    return answer.http_status in HTTP_REFUSALS or answer.grpc_status in GRPC_REFUSALS
