"""PROTOCOL §7 over one history: a workflow is only called back, and ends as its client said."""

from datetime import datetime, timedelta
from itertools import pairwise

from coordinator.backoff import Timing
from coordinator.model import BranchStatus, Result, Status
from tests.simulation.invariants.record import CALLED_BACK, Record
from tests.simulation.twin import START


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
    _is_not_called_back_too_early(record)
    _is_called_back_less_often_while_that_fails(record)


def _is_not_called_back_too_early(record: Record) -> None:
    first = Timing().first_interval(record.story.request.options)
    starts = [call.started for call in record.calls]
    if starts and not record.hurried:
        asked = record.story.asked["prepare"]  # the store may have taken its time
        assert starts[0] >= asked + first, f"{record.gid}: called back before its time"


def _is_called_back_less_often_while_that_fails(record: Record) -> None:
    """PROTOCOL §9: an unknown result doubles the interval, ONGOING keeps it, success takes doublings back."""

    def at(seconds: float) -> datetime:
        return START + timedelta(seconds=seconds)

    timing, options = Timing(), record.story.request.options
    for (_, held), (released_at, released) in pairwise(record.states):
        answers = [call.result for call in record.calls if call.owner == held.owner and call.result]
        if (
            not answers
            or released.owner
            or released.status.is_final
            or released.next_cron_time <= at(released_at)
        ):
            continue  # not its driver letting go
        before = held.next_cron_interval
        match answers[-1]:
            case Result.SUCCESS:
                wanted = timing.first_interval(options)
            case Result.ONGOING:
                wanted = before
            case Result.FAILURE | Result.UNKNOWN:
                wanted = timing.doubled(before, options)
        found = released.next_cron_interval
        assert found == wanted, f"{record.gid}: {answers[-1]} made the interval {found} of {before}"
