"""The promises (docs/architecture.md) as assertions over one history: every pattern's, then each one's."""

from collections import defaultdict
from itertools import pairwise

from coordinator.model import Result, Status, TransType
from tests.simulation.invariants import (
    admission,
    attempts,
    confirming,
    holds,
    msg,
    purged,
    saga,
    strangers,
    workflow,
)
from tests.simulation.invariants.record import CALLED_BACK, LEASE_SECONDS, Record
from tests.simulation.seen import Call, Seen
from tests.simulation.world import World

_OWN = {
    TransType.SAGA: saga.check,
    TransType.MSG: msg.check,
    TransType.TCC: confirming.check,
    TransType.XA: confirming.check,
    TransType.WORKFLOW: workflow.check,
}
_FORWARD = {
    Status.PREPARED: {Status.PREPARED, Status.SUBMITTED},
    Status.SUBMITTED: {Status.SUBMITTED, Status.SUCCEED},
    Status.ABORTING: {Status.ABORTING, Status.FAILED},
    Status.SUCCEED: {Status.SUCCEED},
    Status.FAILED: {Status.FAILED},
}
# PROTOCOL §1: what each type may do beside going forward.
_BESIDE = {
    TransType.SAGA: {Status.SUBMITTED: {Status.ABORTING}},
    TransType.MSG: {Status.PREPARED: {Status.FAILED}},
    TransType.TCC: {Status.PREPARED: {Status.ABORTING}},
    TransType.XA: {Status.PREPARED: {Status.ABORTING}},
    TransType.WORKFLOW: {Status.PREPARED: {Status.SUCCEED, Status.FAILED}},
}


def check(world: World) -> None:
    """Assert every promise; the message names the gid."""
    assert not world.seen.problems, world.seen.problems[0]
    strangers.check(world)
    records = _records(world)
    for gid, story in world.stories.items():
        for wish in ("prepare", "submit"):
            assert wish not in story.acknowledged or gid in records, f"{gid}: acknowledged, but not stored"
    for gid, record in records.items():
        _moves_only_forward(record)
        _ends_once_for_all(record)
        _one_driver_at_a_time(record, world.seen)
        _what_was_acknowledged_stands(record)
        _OWN[TransType(record.end.trans_type)](record)
        assert gid == record.gid
    admission.check(world, records)
    holds.check(world)
    purged.check(world)
    attempts.check(world, records)


def _records(world: World) -> dict[str, Record]:
    records: dict[str, Record] = {}
    hurried = world.seen.marks["operator: asked"] > 0
    for write in world.rows.history:
        state = write.after
        if state.gid in world.strangers:
            continue
        record = records.get(state.gid)
        if record is None:
            story = world.stories[state.gid]
            pace = world.pressure.first_intervals
            record = Record(state.gid, story, world.fates, hurried=hurried, first_intervals=pace)
            records[state.gid] = record
        record.states.append((write.at, state))
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in world.seen.calls:
        calls[call.gid].append(call)
    for gid, record in records.items():
        record.calls = calls[gid]
        record.branches = world.rows.branches_of(gid)
    return records


def _moves_only_forward(record: Record) -> None:
    beside = _BESIDE[TransType(record.end.trans_type)]
    for (_, before), (_, after) in pairwise(record.states):
        allowed = _FORWARD[before.status] | beside.get(before.status, set())
        assert after.status in allowed, f"{record.gid}: {before.status} became {after.status}"
    assert record.end.status.is_final, f"{record.gid}: still {record.end.status} at the end"


def _ends_once_for_all(record: Record) -> None:
    final = [state for _, state in record.states if state.status.is_final]
    assert len(final) == 1, f"{record.gid}: changed after its end"
    # Who had just claimed a prepared row may call its client once more; its lease is then over.
    late = LEASE_SECONDS if record.end.trans_type in (TransType.MSG, TransType.WORKFLOW) else 0.0
    for call in record.calls:
        allowed = late if call.key[0] == CALLED_BACK else 0.0
        assert call.started <= record.ended_at + allowed, f"{record.gid}: {call.key} was called after the end"


def _one_driver_at_a_time(record: Record, seen: Seen) -> None:
    """No two owners call at the same time; a dead coordinator's last call may still be out.

    A client that submits or ends what is prepared takes the row over, even while it is being asked about it.
    """
    for index, call in enumerate(record.calls):
        for other in record.calls[index + 1 :]:
            if other.owner == call.owner or call.coordinator in seen.dead or other.coordinator in seen.dead:
                continue
            if (call.key[0] == CALLED_BACK) != (other.key[0] == CALLED_BACK):
                continue
            apart = call.ended is not None and (
                call.ended <= other.started or (other.ended or 1e18) <= call.started
            )
            assert apart, f"{record.gid}: {call.owner} and {other.owner} called at the same time"


def _what_was_acknowledged_stands(record: Record) -> None:
    stored = {branch.key for branch in record.branches}
    lost = record.story.registered - stored
    assert not lost, f"{record.gid}: registered, acknowledged, but not stored: {sorted(lost)}"
    for branch in record.branches:
        answered = [c.result for c in record.calls if c.key == branch.key]
        if answered and branch.status == "succeed":
            assert Result.SUCCESS in answered, f"{record.gid}: {branch.key} succeed, but it never said so"
