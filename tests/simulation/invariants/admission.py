"""A call that was not made is no result (PROTOCOL §9), and nothing waits for ever."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from coordinator.backoff import failed_rounds, is_marked
from coordinator.model import BranchStatus, Result, Transaction, TransType
from tests.simulation.invariants.record import Record
from tests.simulation.rows import Write, virtual_time
from tests.simulation.seen import Call
from tests.simulation.world import World

ENDED_SECONDS = 500.0  # after the world has healed: the longest back-off, and a call that hung then
_ANSWERED = {BranchStatus.SUCCEED: Result.SUCCESS, BranchStatus.FAILED: Result.FAILURE}


def check(world: World, records: dict[str, Record]) -> None:
    """Assert it of every transaction."""
    turned_away = [it.after.gid for it in world.rows.history if it.question in world.seen.turned_away]
    assert not turned_away, f"{turned_away[0]}: stored, though its client was turned away"
    for gid, writes in _by_gid(world).items():
        if gid in world.strangers:
            continue
        record = records[gid]
        assert record.ended_at <= world.healed_at + ENDED_SECONDS, (
            f"{gid}: waited for {record.ended_at - world.healed_at:.0f} s in a world that was well"
        )
        _results_were_answered(record)
        for write in writes[1:]:
            assert write.before is not None
            _what_was_not_called_counts_nowhere(record, write, write.before.owner)
            _nothing_is_taken_from_its_driver(write)
            _is_deferred_to_nobody(record, write)


def _by_gid(world: World) -> dict[str, list[Write]]:
    writes: dict[str, list[Write]] = defaultdict(list)
    for write in world.rows.history:
        writes[write.after.gid].append(write)
    return writes


def _results_were_answered(record: Record) -> None:
    if record.end.trans_type == TransType.WORKFLOW:
        return  # its client says what they did
    for branch in record.branches:
        if branch.status is not BranchStatus.PREPARED and branch.url:
            answered = {call.result for call in record.calls if call.key == branch.key}
            assert _ANSWERED[branch.status] in answered, (
                f"{record.gid}: {branch.key} {branch.status}, though it was not called"
            )


def _what_was_not_called_counts_nowhere(record: Record, write: Write, driver: str) -> None:
    """Interval, failed rounds and alert change with what a driver's own calls said, and else never."""
    before, after = write.before, write.after
    assert before is not None
    if write.by != "change" or after.status is not before.status:
        same = (before.next_cron_interval, before.ext_data) == (after.next_cron_interval, after.ext_data)
        by_client = write.question and before.status == "prepared"
        assert same or by_client or write.by == "change", f"{record.gid}: {write.by} counted something"
        return
    called = [call for call in record.calls if call.owner == driver and call.started <= write.at]
    unknown = any(call.result not in (Result.SUCCESS, Result.ONGOING) for call in called)
    succeeded = any(call.result is Result.SUCCESS for call in called)
    name = f"{record.gid}: {driver or 'nobody'} after {_said(called)}"
    interval = (before.next_cron_interval, after.next_cron_interval)
    failed = (failed_rounds(before.ext_data), failed_rounds(after.ext_data))
    may_begin_anew = succeeded or after.trans_type == TransType.WORKFLOW  # which has a pace of its own
    is_anew = may_begin_anew and interval[1] in {*record.first_intervals, *_own_interval(after)}
    if not unknown:
        assert interval[1] <= interval[0] or is_anew, (
            f"{name}: the interval {interval[0]} became {interval[1]}"
        )
        assert failed[1] <= failed[0], f"{name}: failed rounds {failed[0]} became {failed[1]}"
        alerted = is_marked(after.ext_data) and not is_marked(before.ext_data)
        assert not alerted, f"{name}: alerted"
    if not succeeded:
        assert interval[1] >= interval[0] or is_anew, (
            f"{name}: the interval {interval[0]} became {interval[1]}"
        )
        assert failed[1] >= failed[0], f"{name}: failed rounds {failed[0]} became {failed[1]}"
    lets_go = driver and not after.owner  # as every round ends that is not the last
    if lets_go and succeeded and not unknown:
        assert not failed[1], f"{name}: still {failed[1]} failed rounds"


def _nothing_is_taken_from_its_driver(write: Write) -> None:
    """What nobody drives may be claimed before it is due: places came free for what was deferred."""
    before = write.before
    assert before is not None
    if write.by in ("claim", "defer") and before.next_cron_time > virtual_time(write.at):
        assert not before.owner, f"{write.after.gid}: {write.by} while {before.owner} had it"


def _is_deferred_to_nobody(record: Record, write: Write) -> None:
    """And not beyond its own time limit, which may be what it waits for."""
    before, after = write.before, write.after
    assert before is not None
    is_earlier = after.next_cron_time < before.next_cron_time
    if is_earlier and not record.hurried and write.by == "change":
        kept = after.owner and after.owner == before.owner
        assert not kept, f"{record.gid}: let go before its lease was over, and {after.owner} still has it"
    if write.by == "defer":
        assert not after.owner, f"{record.gid}: deferred, and {after.owner} still has it"
        limit = after.create_time + timedelta(seconds=after.options.timeout_to_fail)
        assert after.next_cron_time <= limit or limit <= virtual_time(write.at), (
            f"{record.gid}: deferred beyond its time limit"
        )


def _own_interval(transaction: Transaction) -> set[int]:
    options = transaction.options
    return {options.retry_interval or options.timeout_to_fail} - {0}


def _said(calls: Sequence[Call]) -> str:
    return ", ".join(f"{call.key[0]}/{call.key[1]} {call.result}" for call in calls) or "no call"
