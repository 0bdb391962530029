"""PROTOCOL §6 over one history."""

from coordinator.model import BranchStatus, Op, Result, Status
from tests.simulation.invariants.record import Record, one_after_the_other


def check(record: Record) -> None:
    _ends_as_its_branches_say(record)
    if not record.end.options.concurrent:
        order = [branch.key for branch in record.branches if branch.op == Op.ACTION]
        one_after_the_other(record, record.of(Op.ACTION), order)


def _ends_as_its_branches_say(record: Record) -> None:
    gid, end = record.gid, record.end
    actions = {b.branch_id: b for b in record.branches if b.op == Op.ACTION}
    compensations = {b.branch_id: b for b in record.branches if b.op == Op.COMPENSATE}
    if end.status is Status.SUCCEED:
        assert all(b.status is BranchStatus.SUCCEED for b in actions.values()), (
            f"{gid}: succeeded without its actions"
        )
        assert not record.of(Op.COMPENSATE), f"{gid}: succeeded, yet compensated"
        return
    failures = [call for call in record.of(Op.ACTION) if call.result is Result.FAILURE]
    limited = end.options.timeout_to_fail or end.options.retry_limit
    assert failures or limited, f"{gid}: rolled back although no action said FAILURE"
    assert end.rollback_reason, f"{gid}: no reason"
    for branch_id in {call.key[0] for call in record.of(Op.ACTION)}:
        assert compensations[branch_id].status is BranchStatus.SUCCEED, (
            f"{gid}: step {branch_id} may have run, not undone"
        )
        first_undo = min(c.started for c in record.calls if c.key == (branch_id, Op.COMPENSATE))
        assert all(first_undo >= c.started for c in record.calls if c.key == (branch_id, Op.ACTION)), (
            f"{gid}: late action"
        )
