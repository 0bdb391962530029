"""The rules of the barrier, whatever the database (PROTOCOL §12). Pure: no await, no SQL."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from coordinator.client.errors import BarrierError
from coordinator.client.transport.context import BranchContext
from coordinator.model import Op

# The operation that each of these undoes: if it never ran, there is nothing to undo, and it must not run
# later.
ORIGIN_OF: Final = {"cancel": "try", "compensate": "action", "rollback": "action"}

SENDER_BRANCH: Final = "00"  # of a message: whose local transaction decides
FIRST_BARRIER: Final = "01"
GIVEN_UP: Final = Op.ROLLBACK.value  # the reason in the row of a message whose sender never committed

# Widths of the barrier table's columns. MySQL's INSERT IGNORE cuts longer values without a word.
LENGTH_MAX: Final = {"trans_type": 45, "gid": 128, "branch_id": 128, "op": 45, "barrier_id": 45, "reason": 45}


@dataclass(frozen=True, slots=True)
class BarrierRow:
    """One row of the barrier table (PROTOCOL §12, §14); (gid, branch_id, op, barrier_id) is unique."""

    trans_type: str
    gid: str
    branch_id: str
    op: str
    barrier_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class BarrierPlan:
    """The rows to insert, in this order, each ignored when it is there already.

    origin: the row of the operation that this one undoes; None for an operation that undoes nothing.
    """

    origin: BarrierRow | None
    own: BarrierRow


class Outcome(Enum):
    """What the two inserts say about this call (PROTOCOL §12)."""

    RUN = "run"  # the first call: do the business
    EMPTY = "empty"  # undoes something that never ran: nothing to undo, and the original is now shut out
    REPEATED = "repeated"  # was done before, or comes too late: nothing to do, and that is a success


def plan(branch: BranchContext, barrier_id: str) -> BarrierPlan:
    """Return the rows for one barrier of a branch call.

    barrier_id: `01`, `02`, … within the request. Raises BarrierError for a value longer than its column.
    """
    own = _row(branch, branch.op, barrier_id)
    origin = ORIGIN_OF.get(branch.op)
    return BarrierPlan(origin=_row(branch, origin, barrier_id) if origin else None, own=own)


def plan_query(branch: BranchContext) -> BarrierRow:
    """Return the row that shuts out the sender of a message whose transaction is not committed yet.

    Raises BarrierError for a value longer than its column.
    """
    return checked(
        BarrierRow(branch.trans_type, branch.gid, SENDER_BRANCH, Op.MSG, FIRST_BARRIER, Op.ROLLBACK)
    )


def judge(*, origin_inserted: bool, own_inserted: bool) -> Outcome:
    """Return what to do. origin_inserted: False too where there was no origin to insert."""
    if origin_inserted:
        return Outcome.EMPTY
    return Outcome.RUN if own_inserted else Outcome.REPEATED


def _row(branch: BranchContext, op: str, barrier_id: str) -> BarrierRow:
    return checked(BarrierRow(branch.trans_type, branch.gid, branch.branch_id, op, barrier_id, branch.op))


def checked(row: BarrierRow) -> BarrierRow:
    """Return the row if each value fits its column; raise BarrierError otherwise."""
    for name, length_max in LENGTH_MAX.items():
        length = len(getattr(row, name))
        if length > length_max:
            raise BarrierError(
                f"{name} has {length} characters, the barrier table takes {length_max}: choose shorter ones",
                gid=row.gid,
            )
    return row
