"""TCC: all branches confirmed, or all cancelled (PROTOCOL §7). Pure.

The client calls every try itself; it registers a branch, two rows, before it does.
"""

from collections.abc import Sequence
from datetime import datetime

from coordinator.model import Branch, BranchStatus, Op, Result, Status, Transaction
from coordinator.patterns.common import given_up_at, one_by_one, recorded_success, seconds_to_fail
from coordinator.patterns.decision import Abort, Decision, Round, Wait


def decide(transaction: Transaction, branches: Sequence[Branch], round: Round, now: datetime) -> Decision:
    """Return the next step of a TCC transaction.

    branches: every stored row, first registered first. now: aware, UTC.
    Raises ValueError for a final transaction.
    """
    return decide_by(transaction, branches[::-1], round, now, forward=Op.CONFIRM, back=Op.CANCEL)


def recorded(branch: Branch, result: Result) -> BranchStatus | None:
    """What a call's result makes of its row. FAILURE leaves it prepared: confirm never becomes cancel."""
    return recorded_success(result)


def decide_by(
    transaction: Transaction,
    branches: Sequence[Branch],
    round: Round,
    now: datetime,
    *,
    forward: Op,
    back: Op,
) -> Decision:
    """The rule that TCC and XA share: one op for all branches, or another. branches: in order of calling."""
    match transaction.status:
        case Status.PREPARED:  # the client is still trying
            limit = given_up_at(transaction, round)
            if now < limit:
                return Wait(until=limit)
            return Abort(f"Timeout after {seconds_to_fail(transaction, round)} seconds")
        case Status.SUBMITTED:
            return one_by_one(_waiting(branches, forward), round, then=Status.SUCCEED)
        case Status.ABORTING:
            return one_by_one(_waiting(branches, back), round, then=Status.FAILED)
        case Status.SUCCEED | Status.FAILED:
            raise ValueError(f"gid {transaction.gid} is already {transaction.status}")


def _waiting(branches: Sequence[Branch], op: Op) -> list[Branch]:
    return [branch for branch in branches if branch.op == op and branch.status is BranchStatus.PREPARED]
