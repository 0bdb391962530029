"""What a person may do to a transaction, and the rows that this makes: one table for all who ask. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from coordinator.backoff import Timing
from coordinator.errors import Failure, Invalid
from coordinator.explain.play import SUCCESS, Called, Rows, play
from coordinator.explain.sentences import Sentence, sentence
from coordinator.model import Branch, BranchKey, BranchStatus, Op, Status, Transaction, TransType, later
from coordinator.owner import is_a_drivers


class Action(StrEnum):
    """What may be done."""

    RETRY = "retry"  # bring the next round forward
    ROLLBACK = "rollback"
    STOP = "stop"  # `failed`, nothing more is called
    SKIP = "skip"  # go on without calling one branch


class SkipReason(StrEnum):
    """Why a branch is not to be called any more."""

    HAPPENED_OUTSIDE = "it happened outside"  # somebody did by hand what the call would do
    MUST_NOT_HAPPEN = "must not happen"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Whether it may be done now. against: why not; None where it may. branches: that may be skipped."""

    action: Action
    against: Sentence | None = None
    branches: tuple[BranchKey, ...] = ()

    @property
    def why_not(self) -> str:
        """In English; empty where it may."""
        return self.against.told() if self.against else ""


@dataclass(frozen=True, slots=True)
class Planned:
    """What an action writes, in one commit that is fenced by the status and the owner that were read.

    None leaves a column alone. owner: "" takes the row from whoever drives it, who then makes no other call.
    """

    status: Status | None = None
    rollback_reason: str | None = None
    owner: str | None = None
    next_cron_time: datetime | None = None
    results: tuple[tuple[BranchKey, BranchStatus], ...] = ()


BY_HAND: Final = "rolled back by an operator"

# While which status a roll-back may be asked for: before anything of it could contradict what was promised.
_ROLLS_BACK: Final[Mapping[str, Status]] = {
    TransType.SAGA: Status.SUBMITTED,
    TransType.TCC: Status.PREPARED,
    TransType.XA: Status.PREPARED,
    TransType.MSG: Status.PREPARED,
}
_WHY_NOT: Final[Mapping[str, str]] = {
    TransType.SAGA: "saga_not_submitted",
    TransType.TCC: "tcc_decided",
    TransType.XA: "xa_decided",
    TransType.MSG: "message_committed",
    TransType.WORKFLOW: "client_decides",
}


def allowed_actions(timing: Timing, rows: Rows, now: datetime) -> tuple[Allowed, ...]:
    """Every action, in the order in which they are offered."""
    trans_type, status = rows.transaction.trans_type, rows.transaction.status
    if status.is_final:
        return tuple(Allowed(action, against(action, trans_type, status)) for action in Action)
    skippable = branches_to_skip(timing, rows, now)
    nothing = None if skippable else sentence("nothing_to_skip")
    return (
        Allowed(Action.RETRY),
        Allowed(Action.ROLLBACK, against(Action.ROLLBACK, trans_type, status)),
        Allowed(Action.SKIP, nothing, skippable),
        Allowed(Action.STOP),
    )


def against(action: Action, trans_type: str, status: Status) -> Sentence | None:
    """Why type and status do not allow it; None where they do. A skip depends on the branches as well."""
    if status.is_final:
        return sentence("final_already", status=status.value)
    return _against_rollback(trans_type, status) if action is Action.ROLLBACK else None


def branches_to_skip(timing: Timing, rows: Rows, now: datetime) -> tuple[BranchKey, ...]:
    """The stored branches that will be called, if all succeeds, in that order.

    None while it is prepared: its client may still say what they are.
    """
    if rows.transaction.status not in (Status.SUBMITTED, Status.ABORTING):
        return ()
    stored = {branch.key for branch in rows.branches}
    try:
        events = list(play(timing, rows, lambda _: SUCCESS, start=now))
    except ValueError:  # a row that no rule explains
        return ()
    called = [event.branch.key for event in events if isinstance(event, Called)]
    return tuple(key for key in called if key in stored)


def plan_retry(timing: Timing, rows: Rows, now: datetime) -> Planned:
    """Due now; one that is driven, when its driver's lease is over. Raises Failure."""
    _require(rows, Action.RETRY)
    return Planned(
        next_cron_time=min(soonest(timing, rows.transaction, now), rows.transaction.next_cron_time)
    )


def plan_rollback(timing: Timing, rows: Rows, now: datetime) -> Planned:
    """Everything that may have been done is undone; a message that is prepared ends. Raises Failure."""
    _require(rows, Action.ROLLBACK)
    transaction = rows.transaction
    if transaction.trans_type == TransType.MSG:
        return Planned(Status.FAILED, BY_HAND, owner="")
    due = soonest(timing, transaction, now)
    return Planned(Status.ABORTING, BY_HAND, owner="", next_cron_time=due)


def plan_stop(timing: Timing, rows: Rows, now: datetime) -> Planned:
    """It ends as `failed` as it stands. Raises Failure."""
    _require(rows, Action.STOP)
    return Planned(Status.FAILED, owner="")


def plan_skip(timing: Timing, rows: Rows, now: datetime, key: BranchKey, reason: SkipReason) -> Planned:
    """It goes on as if that branch had succeeded.

    What must not happen in a saga needs no undoing later either: its compensation counts as done. Raises
    Failure, also for a branch that is not called any more, and Invalid for one that there is not.
    """
    _require(rows, Action.SKIP)
    skippable = branches_to_skip(timing, rows, now)
    if not skippable:
        raise _not_allowed(rows, Action.SKIP, sentence("nothing_to_skip").told())
    if key not in skippable:
        named = ", ".join(f"{branch_id} {op}" for branch_id, op in skippable)
        said = f"branch {key[0]} {key[1]} will not be called; to be skipped are: {named}"
        raise Failure(said) if any(branch.key == key for branch in rows.branches) else Invalid(said)
    skipped = [key]
    if key[1] == Op.ACTION and reason is SkipReason.MUST_NOT_HAPPEN:
        undo = (key[0], Op.COMPENSATE.value)
        skipped += [undo] if any(branch.key == undo for branch in rows.branches) else []
    return Planned(
        owner="",
        next_cron_time=soonest(timing, rows.transaction, now),
        results=tuple((one, BranchStatus.SUCCEED) for one in skipped),
    )


# Of every action that is asked of a whole transaction, and needs none of its branches for it.
PLANS: Final[Mapping[Action, Callable[[Timing, Rows, datetime], Planned]]] = {
    Action.RETRY: plan_retry,
    Action.ROLLBACK: plan_rollback,
    Action.STOP: plan_stop,
}


def changed(rows: Rows, planned: Planned) -> Rows:
    """The rows as they stand once it is written."""
    now, results = rows.transaction, dict(planned.results)
    transaction = replace(
        now,
        status=now.status if planned.status is None else planned.status,
        rollback_reason=now.rollback_reason if planned.rollback_reason is None else planned.rollback_reason,
        owner=now.owner if planned.owner is None else planned.owner,
        next_cron_time=now.next_cron_time if planned.next_cron_time is None else planned.next_cron_time,
    )
    return Rows(transaction, _with_results(rows.branches, results))


def soonest(timing: Timing, transaction: Transaction, now: datetime) -> datetime:
    """When it may be taken up without a second driver beside the first (PROTOCOL §9).

    Columns hold whole seconds, rounded up: of the second that has begun, it is due already. next_cron_time
    may be later by far, as it counts the back-off as well; who takes or renews a lease stamps update_time.
    """
    now = now.replace(microsecond=0)
    if not is_a_drivers(transaction.owner):
        return now
    return max(now, later(transaction.update_time, timing.lease(transaction.options) + 1))


def _require(rows: Rows, action: Action) -> None:
    if problem := against(action, rows.transaction.trans_type, rows.transaction.status):
        raise _not_allowed(rows, action, problem.told())


def _not_allowed(rows: Rows, action: Action, problem: str) -> Failure:
    return Failure(f"{rows.transaction.gid} cannot be asked to {action}: {problem}.")


def _against_rollback(trans_type: str, status: Status) -> Sentence | None:
    if trans_type not in _WHY_NOT:
        return sentence("unknown_type", trans_type=repr(trans_type))
    if _ROLLS_BACK.get(trans_type) is status:
        return None
    return sentence("rolls_back_already" if status is Status.ABORTING else _WHY_NOT[trans_type])


def _with_results(
    branches: Sequence[Branch], results: Mapping[BranchKey, BranchStatus]
) -> tuple[Branch, ...]:
    return tuple(
        branch.with_status(results[branch.key]) if branch.key in results else branch for branch in branches
    )
