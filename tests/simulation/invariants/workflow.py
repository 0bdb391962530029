"""PROTOCOL §7 over one history: a workflow is only called back, and ends as its client said."""

from coordinator.model import BranchStatus, Result, Status
from tests.simulation.invariants.record import CALLED_BACK, Record


def check(record: Record) -> None:
    gid, story, end = record.gid, record.story, record.end
    other = {call.key for call in record.calls} - {(CALLED_BACK, "transfer")}
    assert not other, f"{gid}: {other} called, but a workflow's client calls its own branches"
    assert story.asked.get("submit", 1e18) <= record.ended_at, f"{gid}: ended, though its client had not"
    fates = [record.fates.get((gid, (f"{n + 1:02d}", "action"))) for n in range(story.steps)]
    wanted = Status.FAILED if Result.FAILURE in fates else Status.SUCCEED
    assert end.status is wanted, f"{gid}: ended {end.status}, but its client said {wanted}"
    assert end.result == wanted, f"{gid}: the result that its client submitted is lost"
    done = {b.key for b in record.branches if b.status is BranchStatus.SUCCEED}
    if wanted is Status.SUCCEED:
        missing = {(f"{n + 1:02d}", "action") for n in range(story.steps)} - done
    else:
        missing = {(b.branch_id, "rollback") for b in record.branches if b.op == "action"} - done
    assert not missing, f"{gid}: ended without the progress of {sorted(missing)}"
    _is_called_back_in_time(record)


def _is_called_back_in_time(record: Record) -> None:
    first = record.story.request.options.retry_interval or record.story.request.options.timeout_to_fail
    first = first or min(record.first_intervals)
    intervals = {state.next_cron_interval for _, state in record.states}
    unknown = sum(call.result in (Result.UNKNOWN, None) for call in record.calls)
    backed_off = {
        base << doublings for base in {first, *record.first_intervals} for doublings in range(unknown + 1)
    } | {300}
    assert intervals <= backed_off, (
        f"{record.gid}: the interval became {sorted(intervals)} after {unknown} calls without a result"
    )
    starts = [call.started for call in record.calls]
    if starts and not record.hurried:
        asked = record.story.asked["prepare"]  # the store may have taken its time
        assert starts[0] >= asked + first, f"{record.gid}: called back before its time"
