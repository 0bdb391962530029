"""PROTOCOL §7 over one history, TCC and XA: all branches forward, or all back."""

from coordinator.model import BranchStatus, Op, Status, TransType
from tests.simulation.invariants.record import Record, one_after_the_other

_OPS = {TransType.TCC: (Op.CONFIRM, Op.CANCEL), TransType.XA: (Op.COMMIT, Op.ROLLBACK)}


def check(record: Record) -> None:
    trans_type = TransType(record.end.trans_type)
    forward, back = _OPS[trans_type]
    wanted, other = (forward, back) if record.end.status is Status.SUCCEED else (back, forward)
    assert not record.of(other), f"{record.gid}: {record.end.status}, yet {other} was called"
    # Every branch that is stored, so every one whose registration was acknowledged.
    left = [b.branch_id for b in record.branches if b.op == wanted and b.status is not BranchStatus.SUCCEED]
    assert not left, f"{record.gid}: {record.end.status} without {wanted} of {left}"
    called = {call.key for call in record.of(wanted)}
    order = [branch.key for branch in record.branches if branch.op == wanted]
    assert called == set(order), f"{record.gid}: {sorted(set(order) - called)} not called"
    one_after_the_other(record, record.of(wanted), order[::-1] if trans_type is TransType.TCC else order)
    _ends_as_its_client_said(record)


def _ends_as_its_client_said(record: Record) -> None:
    story, gid = record.story, record.gid
    if record.end.status is Status.SUCCEED:
        assert "submit" in story.asked, f"{gid}: succeeded, though nobody submitted it"
        assert "abort" not in story.acknowledged, f"{gid}: aborted, acknowledged, yet {record.end.status}"
        return
    assert "submit" not in story.acknowledged, f"{gid}: submitted, acknowledged, yet {record.end.status}"
    aborting_at = record.became(Status.ABORTING)
    assert aborting_at is not None
    seconds = record.states[0][1].options.timeout_to_fail or 35
    if "abort" not in story.asked:
        assert aborting_at >= record.created_at + seconds - 1, f"{gid}: rolled back before its time-out"
