"""PROTOCOL §8 over one history: delivered to all if the sender committed, else to nobody."""

from coordinator.model import BranchStatus, Op, Result, Status
from coordinator.patterns.msg import custom_of
from tests.simulation.invariants.record import Record, one_after_the_other


def check(record: Record) -> None:
    gid, story, end = record.gid, record.story, record.end
    if end.status is Status.FAILED:
        assert not story.committed, f"{gid}: its sender committed, and it was not sent"
        assert not record.of(Op.ACTION), f"{gid}: failed, yet somebody got it"
        assert "submit" not in story.acknowledged, f"{gid}: submitted, acknowledged, yet failed"
        _fails_on_somebodys_word(record)
        return
    assert story.committed, f"{gid}: delivered, though its sender did not commit"
    assert "abort" not in story.acknowledged, f"{gid}: aborted, acknowledged, yet delivered"
    assert all(b.status is BranchStatus.SUCCEED for b in record.branches), f"{gid}: not delivered to all"
    got = {call.key for call in record.of(Op.ACTION) if call.result is Result.SUCCESS}
    assert got == {branch.key for branch in record.branches}, f"{gid}: not delivered to all"
    if not end.options.concurrent:
        one_after_the_other(record, record.of(Op.ACTION), [branch.key for branch in record.branches])
    _is_submitted_on_somebodys_word(record)
    _waits_for_its_delay(record)


def _is_submitted_on_somebodys_word(record: Record) -> None:
    submitted_at = record.became(Status.SUBMITTED)
    assert submitted_at is not None
    yes = [c for c in record.of(Op.MSG) if c.result is Result.SUCCESS and (c.ended or 1e18) <= submitted_at]
    by_client = record.story.asked.get("submit", 1e18) <= submitted_at
    assert yes or by_client, f"{record.gid}: submitted by nobody"


def _fails_on_somebodys_word(record: Record) -> None:
    no = [c for c in record.of(Op.MSG) if c.result is Result.FAILURE]
    assert no or "abort" in record.story.asked, f"{record.gid}: failed on nobody's word"


def _waits_for_its_delay(record: Record) -> None:
    calls = record.of(Op.ACTION)
    delay = custom_of(record.story.request.custom_data).delay
    first = min(call.started for call in calls)
    assert first >= record.created_at + delay - 1, f"{record.gid}: called before its delay"  # whole seconds
    # Stored with the submit, so of a delay that grew it is known that the client's submit stands.
    if custom_of(record.end.custom_data).delay > delay:
        submit = record.story.asked["submit"]
        assert first >= submit + delay, f"{record.gid}: called before its delay, counted from the submit"
