"""What is known of an operation that was asked for again, or got no answer (PROTOCOL §5). Pure."""

from coordinator.client.errors import Unreachable
from coordinator.client.transport.base import ConnectionProblem, Operation
from coordinator.model import Status, TransactionRequest, TransType

_PREPARED_FIRST = (TransType.TCC, TransType.XA, TransType.WORKFLOW)


def is_done(operation: Operation, found: Status | None, *, asked_before: bool) -> bool:
    """True when what refuses the operation is a status that it has itself reached before.

    asked_before: an attempt of this call was sent, so that the status may be its work. The answer to a submit
    may have been lost by an earlier call, too: what has succeeded is never told as rolled back.
    """
    match operation:
        case Operation.SUBMIT:
            return found is Status.SUCCEED
        case Operation.ABORT:
            return asked_before and found is Status.FAILED
        case Operation.PREPARE:
            return False


def unreachable(
    operation: Operation, request: TransactionRequest, problem: ConnectionProblem, *, sent: bool
) -> Unreachable:
    """Return the error where no answer came. sent: whether the coordinator may have got it."""
    prepared_before = request.trans_type in _PREPARED_FIRST or bool(request.query_prepared)
    match operation:
        case Operation.ABORT:
            known = "not known whether it is aborted" if sent else "it is not aborted yet"
            advice = "the coordinator ends it itself when timeout_to_fail has passed"
        case Operation.SUBMIT if prepared_before:
            known = "not known whether it is submitted" if sent else "it is prepared and not submitted"
            advice = "submit the same gid again, which is safe, or ask query"
        case _ if sent:
            known = "the transaction may or may not exist"
            advice = f"{operation} the same gid again, which is safe, or ask query"
        case _:
            known = "nothing was sent, the transaction does not exist"
            advice = f"check the address and {operation} again"
    gid = request.gid
    return Unreachable(
        f"{known}, gid {gid}: {problem}; {advice}",
        gid=gid,
        may_exist=sent or (operation is not Operation.PREPARE and prepared_before),
    )
