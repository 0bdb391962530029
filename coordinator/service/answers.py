"""What the end of a round means for the client that waits for it (PROTOCOL §5, process). Pure."""

from typing import Final

from coordinator.calls.base import Answer
from coordinator.engine.told import told
from coordinator.errors import BranchAnswer, Failure, NoResult, Ongoing
from coordinator.model import Result, Status, Transaction, TransType

_NO_RESULT: Final = "wait result not return success:"


def raise_unless_done(
    transaction: Transaction, unhappy: Answer | None, wanted: Status, branch: BranchAnswer | None = None
) -> None:
    """Return when the transaction reached the wanted end, else raise what the client is told.

    transaction: as it stands after the round. unhappy: the last answer that was not success, None where
    nobody knows. branch: the answer that the error comes from, where it comes from one. FAILURE does not mean
    rolled back: the transaction may still be running.
    """
    if transaction.status is wanted:
        return
    if transaction.trans_type == TransType.SAGA or transaction.status.is_final:
        raise Failure(told(transaction.rollback_reason) or _NO_RESULT).because_of(branch)
    match unhappy.result if unhappy else None:
        case Result.FAILURE if unhappy:
            raise Failure(told(unhappy.text)).because_of(branch)
        case Result.UNKNOWN if unhappy:
            raise NoResult(told(unhappy.text), unhappy.grpc_status).because_of(branch)
        case _ if transaction.trans_type == TransType.MSG:
            raise Failure(_NO_RESULT).because_of(branch)
        case _:
            raise Ongoing().because_of(branch)
