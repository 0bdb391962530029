"""DESIGN's promises as assertions over one finished history."""

from collections import defaultdict
from itertools import pairwise

from coordinator.model import Branch, BranchKey, BranchStatus, Op, Result, Status, Transaction
from tests.simulation.world import Call, Seen, World


def check(world: World) -> None:
    """Assert every promise; the message names the gid."""
    histories: dict[str, list[Transaction]] = defaultdict(list)
    for state in world.rows.history:
        histories[state.gid].append(state)
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in world.seen.calls:
        calls[call.gid].append(call)
    for gid in world.seen.acknowledged:
        assert gid in histories, f"{gid}: acknowledged, but not stored"
    for gid, history in histories.items():
        _moves_only_forward(gid, history)
        _ends_as_its_branches_say(gid, history[-1], world.rows.branches[gid], calls[gid])
        _no_recorded_result_is_asked_again(gid, calls[gid])
        _runs_in_order(gid, calls[gid])
        _one_driver_at_a_time(gid, calls[gid], world.seen)


_NEXT = {
    Status.PREPARED: {Status.PREPARED, Status.SUBMITTED},
    Status.SUBMITTED: {Status.SUBMITTED, Status.ABORTING, Status.SUCCEED},
    Status.ABORTING: {Status.ABORTING, Status.FAILED},
    Status.SUCCEED: set(),
    Status.FAILED: set(),
}


def _moves_only_forward(gid: str, history: list[Transaction]) -> None:
    for before, after in pairwise(history):
        assert after.status in _NEXT[before.status], f"{gid}: {before.status} became {after.status}"
    assert history[-1].status.is_final, f"{gid}: still {history[-1].status} at the end"


def _ends_as_its_branches_say(
    gid: str, end: Transaction, branches: tuple[Branch, ...], calls: list[Call]
) -> None:
    actions = {b.branch_id: b for b in branches if b.op == Op.ACTION}
    compensations = {b.branch_id: b for b in branches if b.op == Op.COMPENSATE}
    failures = [c for c in calls if c.key[1] == Op.ACTION and c.result is Result.FAILURE]
    if end.status is Status.SUCCEED:
        assert all(b.status is BranchStatus.SUCCEED for b in actions.values()), (
            f"{gid}: succeeded without its actions"
        )
        assert not [c for c in calls if c.key[1] == Op.COMPENSATE], f"{gid}: succeeded, yet compensated"
        return
    limited = end.options.timeout_to_fail or end.options.retry_limit
    assert failures or limited, f"{gid}: rolled back although no action said FAILURE"
    called = {c.key[0] for c in calls if c.key[1] == Op.ACTION}
    for branch_id in called:
        assert compensations[branch_id].status is BranchStatus.SUCCEED, (
            f"{gid}: step {branch_id} may have run, not undone"
        )
        first_undo = min(c.started for c in calls if c.key == (branch_id, Op.COMPENSATE))
        assert end.rollback_reason, f"{gid}: no reason"
        assert all(first_undo >= c.started for c in calls if c.key == (branch_id, Op.ACTION)), (
            f"{gid}: late action"
        )


def _no_recorded_result_is_asked_again(gid: str, calls: list[Call]) -> None:
    """A step that started proves its predecessor durable: that is never called again."""
    actions = [c for c in calls if c.key[1] == Op.ACTION]
    for later in actions:
        earlier_id = f"{int(later.key[0]) - 1:02d}"
        again = [c for c in actions if c.key[0] == earlier_id and c.started > later.started]
        assert not again or gid.startswith("concurrent"), (
            f"{gid}: {earlier_id} was called after {later.key[0]} had started"
        )


def _runs_in_order(gid: str, calls: list[Call]) -> None:
    if gid.startswith("concurrent"):
        return
    succeeded_at: dict[BranchKey, float] = {}
    for call in calls:
        if call.result is Result.SUCCESS and call.ended is not None:
            succeeded_at[call.key] = min(succeeded_at.get(call.key, call.ended), call.ended)
    for call in calls:
        step = int(call.key[0])
        if call.key[1] == Op.ACTION and step > 1:
            before = succeeded_at.get((f"{step - 1:02d}", "action"))
            assert before is not None and before <= call.started, (
                f"{gid}: step {step} began before the one before it"
            )


def _one_driver_at_a_time(gid: str, calls: list[Call], seen: Seen) -> None:
    """No two owners call at the same time; a dead coordinator's last call may still be out."""
    for index, call in enumerate(calls):
        for other in calls[index + 1 :]:
            if other.owner == call.owner or call.coordinator in seen.dead or other.coordinator in seen.dead:
                continue
            apart = call.ended is not None and (
                call.ended <= other.started or (other.ended or 1e18) <= call.started
            )
            assert apart, f"{gid}: {call.owner} and {other.owner} called at the same time"
