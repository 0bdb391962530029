"""What happens next to a transaction, if nobody does anything: whom it calls, when, and how it ends. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from coordinator.backoff import Timing
from coordinator.explain.play import (
    SUCCESS,
    Called,
    CutOff,
    Held,
    LeftToClient,
    Moved,
    Rested,
    Rows,
    Suppose,
    Supposed,
    nothing_is_held,
    play,
    rounded_up,
)
from coordinator.model import Branch, BranchKey, Status, Transaction, TransType


@dataclass(frozen=True, slots=True)
class Forecast:
    """calls, moves: in order. Without any of either, next_at says when it is looked at, if ever.

    repeats_seconds: the last round comes again and again, so many seconds apart; 0 where it does not. ends:
    the final status, None where it does not end by itself. problem: why no rule explains the rows; then
    nothing is called.
    """

    next_at: datetime | None  # when it is taken up; None: never by itself
    calls: tuple[Called, ...] = ()
    moves: tuple[Moved, ...] = ()
    rests: tuple[Rested, ...] = ()
    ends: Status | None = None
    ends_at: datetime | None = None
    is_left_to_client: bool = False  # its client decides how it ends
    is_cut: bool = False  # it goes on beyond what was looked at
    repeats_seconds: int = 0
    problem: str = ""


def all_succeed() -> Suppose:
    """Every call gives success."""
    return lambda _branch: SUCCESS


def goes_on(failing: Mapping[BranchKey, Supposed]) -> Suppose:
    """These calls give what they gave last, each time; all others give success."""
    return lambda branch: failing.get(branch.key, SUCCESS)


@dataclass(slots=True)
class FirstFails:
    """Whoever is called first gives this each time, and all others success: where no attempt is known."""

    supposed: Supposed
    key: BranchKey | None = field(default=None, init=False)

    def __call__(self, branch: Branch) -> Supposed:
        """See Suppose."""
        if self.key is None:
            self.key = branch.key
        return self.supposed if branch.key == self.key else SUCCESS


def taken_up_at(transaction: Transaction, now: datetime, *, is_driven: bool = False) -> datetime | None:
    """When a driver takes it up; None where none ever does by itself.

    is_driven: by a coordinator that lives; then that is now.
    """
    if transaction.status.is_final or waits_for_submit(transaction):
        return None
    return now if is_driven else max(now, rounded_up(transaction.next_cron_time))


def waits_for_submit(transaction: Transaction) -> bool:
    """Whether nobody drives it before its client has submitted it (PROTOCOL §5)."""
    return transaction.trans_type == TransType.SAGA and transaction.status is Status.PREPARED


def forecast(
    timing: Timing,
    rows: Rows,
    suppose: Suppose,
    *,
    now: datetime,
    is_driven: bool = False,
    held: Held = nothing_is_held,
) -> Forecast:
    """What happens to these rows from `now` on. suppose: always the same of the same branch."""
    start = taken_up_at(rows.transaction, now, is_driven=is_driven)
    if start is None:
        waits = waits_for_submit(rows.transaction)
        ends = rows.transaction.status if rows.transaction.status.is_final else None
        return Forecast(None, ends=ends, is_left_to_client=waits)
    calls, moves, rests = list[Called](), list[Moved](), list[Rested]()
    is_cut = is_left = False
    repeats_seconds = 0
    try:
        for event in play(timing, rows, suppose, start=start, held=held):
            match event:
                case Called():
                    calls.append(event)
                case Moved():
                    moves.append(event)
                case CutOff():
                    is_cut = True
                case LeftToClient():
                    is_left = True
                case Rested():
                    if rests and _is_the_same(rests[-1], event):
                        repeats_seconds = event.rows.transaction.next_cron_interval
                        break
                    rests.append(event)
    except ValueError as error:
        return Forecast(start, problem=str(error))
    end = next((move for move in moves if move.status.is_final), None)
    return Forecast(
        start,
        tuple(calls),
        tuple(moves),
        tuple(rests),
        end.status if end else None,
        end.at if end else None,
        is_left,
        is_cut,
        repeats_seconds,
    )


def _is_the_same(before: Rested, after: Rested) -> bool:
    """Whether every later round is like the last one: nothing has moved, and no time limit is ahead."""
    return (
        after.backs_off
        and before.backs_off
        and after.limit is None
        and before.rows.branches == after.rows.branches
        and before.rows.transaction.status is after.rows.transaction.status
        and before.rows.transaction.next_cron_interval == after.rows.transaction.next_cron_interval
    )
