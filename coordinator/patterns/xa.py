"""XA: the branches' databases hold prepared local transactions; all are committed, or all rolled back.

PROTOCOL §7: as TCC, with `commit` and `rollback`, in order of registration. Pure.
"""

from collections.abc import Sequence
from datetime import datetime

from coordinator.model import Branch, BranchStatus, Op, Result, Transaction
from coordinator.patterns.common import recorded_success
from coordinator.patterns.decision import Decision, Round
from coordinator.patterns.tcc import decide_by


def decide(transaction: Transaction, branches: Sequence[Branch], round: Round, now: datetime) -> Decision:
    """Return the next step of an XA transaction.

    branches: every stored row, first registered first. now: aware, UTC.
    Raises ValueError for a final transaction.
    """
    return decide_by(transaction, branches, round, now, forward=Op.COMMIT, back=Op.ROLLBACK)


def recorded(branch: Branch, result: Result) -> BranchStatus | None:
    """What a call's result makes of its row. FAILURE leaves it prepared: commit never becomes rollback."""
    return recorded_success(result)
