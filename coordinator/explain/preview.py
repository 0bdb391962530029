"""What an action will do, before it is done: who is called, what is undone, what stays as it is. Pure."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from coordinator.backoff import Timing
from coordinator.explain.actions import PLANS, Action, Planned, SkipReason, changed, plan_skip
from coordinator.explain.forecast import Forecast, all_succeed, forecast
from coordinator.explain.play import Called, Held, Rows, as_if_all_had_urls, nothing_is_held, play
from coordinator.explain.sentences import Sentence, sentence
from coordinator.model import Branch, BranchKey, BranchStatus, Op, Status, TransType


class Fate(StrEnum):
    """What becomes of one step, as a sentence about it."""

    CALLED = "will be called"
    DONE = "done"
    UNDONE = "done: will be undone"
    NULL = "may have run: will be undone, which does nothing if it had not"
    REFUSED_UNDONE = "refused: its compensation is called and does nothing"
    NOT_CALLED = "never started: not called"
    KEPT = "done: stays, as nothing is called to undo it"
    MAY_BE_KEPT = "may have run: nothing is called to undo it"
    IS_UNDONE = "undone already"
    SKIPPED = "will be skipped"
    STAYS = "stays done: to be put right by hand"
    MAY_STAY = "may have run: look, and put it right by hand if it did"
    HELD = "stays reserved: to be confirmed or cancelled by hand"
    IN_DOUBT = "stays prepared in its database, with its locks: to be committed or rolled back there by hand"
    NOT_DONE = "will not be done"


_UNDO: Final = frozenset({Op.COMPENSATE, Op.CANCEL, Op.ROLLBACK})
LEFT_BEHIND: Final = frozenset({Fate.STAYS, Fate.MAY_STAY, Fate.HELD, Fate.IN_DOUBT})


@dataclass(frozen=True, slots=True)
class Effect:
    """One step of the transaction, and what becomes of it."""

    branch_id: str
    url: str  # of what was or would be done
    fate: Fate


@dataclass(frozen=True, slots=True)
class Preview:
    """What an action will do. hash: of the rows that it was made of; others, and it may not hold.

    forecast: of the changed rows, if all succeeds. remarks: of what no row shows.
    """

    action: Action
    hash: str
    planned: Planned
    forecast: Forecast
    effects: tuple[Effect, ...]
    remarks: tuple[Sentence, ...] = ()


def hash_of(rows: Rows) -> str:
    """Tells these rows from others that would make another preview. Back-off and leases do not count."""
    digest = hashlib.sha256()
    transaction = rows.transaction
    parts: list[str | bytes] = [
        *(transaction.gid, transaction.trans_type, transaction.status),
        *(transaction.custom_data, transaction.query_prepared, repr(transaction.options)),
    ]
    for branch in rows.branches:
        parts += [branch.branch_id, branch.op, branch.url, branch.status, branch.payload]
    for part in parts:
        written = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(written).to_bytes(8))
        digest.update(written)
    return digest.hexdigest()[:16]


def preview(
    timing: Timing,
    rows: Rows,
    action: Action,
    *,
    now: datetime,
    branch: BranchKey = ("", ""),
    reason: SkipReason = SkipReason.HAPPENED_OUTSIDE,
    held: Held = nothing_is_held,
) -> Preview:
    """What the action will do to these rows. branch, reason: of what is to be skipped.

    Raises Failure where the action is not allowed, and Invalid for a branch that there is not.
    """
    planned = _planned(timing, rows, action, now, branch, reason)
    after = changed(rows, planned)
    coming = forecast(timing, after, all_succeed(), now=now, held=held)
    effects = _effects(timing, rows, action, planned, coming, now)
    return Preview(action, hash_of(rows), planned, coming, effects, tuple(_remarks(rows, action, planned)))


def left_by_stop(timing: Timing, rows: Rows, now: datetime) -> tuple[Effect, ...]:
    """What has become of each step of a transaction that was stopped.

    Of a saga nobody knows any more whether it was going back; what may have run is said to have.
    """
    before = Rows(replace(rows.transaction, status=Status.ABORTING), rows.branches)
    return _effects(timing, before, Action.STOP, Planned(), Forecast(None), now)


def _planned(
    timing: Timing, rows: Rows, action: Action, now: datetime, branch: BranchKey, reason: SkipReason
) -> Planned:
    if action is Action.SKIP:
        return plan_skip(timing, rows, now, branch, reason)
    return PLANS[action](timing, rows, now)


def _effects(
    timing: Timing, rows: Rows, action: Action, planned: Planned, coming: Forecast, now: datetime
) -> tuple[Effect, ...]:
    if rows.transaction.trans_type == TransType.SAGA:
        return _of_saga(timing, rows, action, planned, coming, now)
    return _of_others(rows, action, planned, coming)


def _of_saga(
    timing: Timing, rows: Rows, action: Action, planned: Planned, coming: Forecast, now: datetime
) -> tuple[Effect, ...]:
    steps = _by_step(rows)
    called = {call.branch.key for call in coming.calls}
    skipped = dict(planned.results)
    may_have_run = _would_be_undone(timing, rows, now)
    goes_back = Status.ABORTING in (planned.status, rows.transaction.status)
    effects = []
    for branch_id, ops in steps.items():
        action_row, undo = ops.get(Op.ACTION), ops.get(Op.COMPENSATE)
        if action_row is None or undo is None:  # no rule explains it
            continue
        skips = next((row for row in (action_row, undo) if row.key in skipped), None)
        if skips is not None:
            fate = Fate.SKIPPED
        elif action is Action.STOP:
            fate = _stopped(action_row, undo, branch_id in may_have_run)
        elif (branch_id, Op.COMPENSATE) in called:
            fate = {
                BranchStatus.SUCCEED: Fate.UNDONE,
                BranchStatus.FAILED: Fate.REFUSED_UNDONE,
                BranchStatus.PREPARED: Fate.NULL,
            }[action_row.status]
        elif (
            goes_back and not undo.url and undo.status is BranchStatus.PREPARED and branch_id in may_have_run
        ):
            fate = _kept(action_row)
        elif (branch_id, Op.ACTION) in called:
            fate = Fate.CALLED
        elif undo.status is BranchStatus.SUCCEED:
            fate = Fate.IS_UNDONE
        elif action_row.status is BranchStatus.SUCCEED:
            fate = Fate.DONE
        else:
            fate = Fate.NOT_CALLED
        shown = undo if fate in (Fate.UNDONE, Fate.NULL, Fate.REFUSED_UNDONE, Fate.IS_UNDONE) else action_row
        effects.append(Effect(branch_id, shown.url, fate))
    return tuple(effects)


def _kept(action_row: Branch) -> Fate:
    """Of a step that would be undone, and has no url that does."""
    if action_row.status is BranchStatus.SUCCEED:
        return Fate.KEPT
    return Fate.NOT_DONE if action_row.status is BranchStatus.FAILED else Fate.MAY_BE_KEPT


def _stopped(action_row: Branch, undo: Branch, may_have_run: bool) -> Fate:
    if undo.status is BranchStatus.SUCCEED:
        return Fate.IS_UNDONE
    if action_row.status is BranchStatus.SUCCEED:
        return Fate.STAYS
    if action_row.status is BranchStatus.PREPARED and may_have_run:
        return Fate.MAY_STAY
    return Fate.NOT_DONE if action_row.status is BranchStatus.FAILED else Fate.NOT_CALLED


def _would_be_undone(timing: Timing, rows: Rows, now: datetime) -> frozenset[str]:
    """The steps that a roll-back would undo: all that may have run."""
    if rows.transaction.status is Status.PREPARED:
        return frozenset()
    aborting = Rows(replace(rows.transaction, status=Status.ABORTING), rows.branches)
    try:
        events = list(play(timing, as_if_all_had_urls(aborting), all_succeed(), start=now))
    except ValueError:  # no rule explains the rows
        return frozenset(row.branch_id for row in rows.branches)
    return frozenset(event.branch.branch_id for event in events if isinstance(event, Called))


def _of_others(rows: Rows, action: Action, planned: Planned, coming: Forecast) -> tuple[Effect, ...]:
    called = {call.branch.key for call in coming.calls}
    skipped = dict(planned.results)
    effects = []
    for branch_id, ops in _by_step(rows).items():
        done = [row for row in ops.values() if row.status is BranchStatus.SUCCEED]
        first = next((row for row in ops.values() if row.key in called or row.key in skipped), None)
        if first is not None and first.key in skipped:
            fate = Fate.SKIPPED
        elif action is Action.STOP:
            fate = _left(rows, ops)
            first = done[0] if done else None
        elif first is not None:
            fate = Fate.NULL if first.op in (Op.CANCEL, Op.ROLLBACK) else Fate.CALLED
        elif done:
            fate = Fate.IS_UNDONE if rows.transaction.status is Status.ABORTING else Fate.DONE
        else:
            fate = Fate.NOT_DONE if rows.transaction.trans_type == TransType.MSG else Fate.NOT_CALLED
        effects.append(Effect(branch_id, (first or next(iter(ops.values()))).url, fate))
    return tuple(effects)


def _left(rows: Rows, ops: Mapping[str, Branch]) -> Fate:
    """What a stop leaves of one branch of a message, TCC, XA or workflow."""
    trans_type, status = rows.transaction.trans_type, rows.transaction.status
    done = {row.op for row in ops.values() if row.status is BranchStatus.SUCCEED}
    if done:
        return Fate.STAYS if done.isdisjoint(_UNDO) else Fate.IS_UNDONE
    if any(row.status is BranchStatus.FAILED for row in ops.values()):
        return Fate.NOT_DONE
    match trans_type:
        case TransType.TCC:
            return Fate.HELD
        case TransType.XA:
            return Fate.IN_DOUBT
        case _ if status is Status.PREPARED and trans_type == TransType.MSG:
            return Fate.NOT_DONE
        case _:
            return Fate.MAY_STAY


def _by_step(rows: Rows) -> dict[str, dict[str, Branch]]:
    steps: dict[str, dict[str, Branch]] = {}
    for branch in rows.branches:
        steps.setdefault(branch.branch_id, {})[branch.op] = branch
    return steps


def _remarks(rows: Rows, action: Action, planned: Planned) -> Iterator[Sentence]:
    transaction = rows.transaction
    if transaction.owner and planned.owner == "":
        yield sentence("call_is_out")
    if transaction.trans_type == TransType.MSG and transaction.status is Status.PREPARED and planned.status:
        yield sentence("sender_not_asked")
    if transaction.trans_type == TransType.WORKFLOW and action is Action.STOP:
        yield sentence("client_not_told")
    if transaction.trans_type in (TransType.TCC, TransType.XA) and action is Action.ROLLBACK:
        yield sentence("client_refused")
