"""A transaction played forward on copied rows: its pattern decides, the calls give what is supposed. Pure.

What a driver does, without calls and writes: it starts what the pattern wants, records what the pattern
records, asks again, and where the round must wait, comes back when the row is due. Left out is what chance
adds: the tenth by which a back-off is lengthened, places at endpoints, the time that writes take.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from coordinator.backoff import Timing, failed_rounds, noted, pause_after
from coordinator.model import Branch, Result, Status, Transaction, TransType, later
from coordinator.patterns.by_type import PATTERNS
from coordinator.patterns.decision import Abort, Await, Finish, Round, Run, Submit, Wait

DECISIONS_MAX: Final = 200  # for which the pattern is asked


@dataclass(frozen=True, slots=True)
class Supposed:
    """What a call is supposed to give, and after how many seconds."""

    result: Result
    seconds: float = 0.0


SUCCESS: Final = Supposed(Result.SUCCESS)
Suppose = Callable[[Branch], Supposed]  # asked once for each call
Held = Callable[[Branch], datetime | None]  # until when its endpoint is held; None: it is not


def nothing_is_held(_: Branch) -> None:
    """No endpoint is."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A transaction and its branches, first registered first."""

    transaction: Transaction
    branches: tuple[Branch, ...]


@dataclass(frozen=True, slots=True)
class Called:
    """A call begins. round: counted from 1. Times, here and below, are aware."""

    at: datetime
    round: int
    branch: Branch  # a message's question and a workflow's call back have no row of their own
    supposed: Supposed


@dataclass(frozen=True, slots=True)
class Moved:
    """The transaction moves to another status; reason: of a roll-back."""

    at: datetime
    status: Status
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rested:
    """A round is over without an end; the next one begins at `until`.

    backs_off: because calls gave no success; False: there is nothing to do before, or what is to be called is
    held. limit: a time limit by which it is looked at again, whatever the back-off.
    """

    at: datetime
    until: datetime
    backs_off: bool
    limit: datetime | None
    rows: Rows


@dataclass(frozen=True, slots=True)
class LeftToClient:
    """The client goes on by itself and says how it ends: a workflow that was called back."""

    at: datetime


@dataclass(frozen=True, slots=True)
class CutOff:
    """It would go on, and is not played any further."""

    at: datetime


Event = Called | Moved | Rested | LeftToClient | CutOff


def rounded_up(time: datetime) -> datetime:
    """The first whole second not before it: columns hold no parts of seconds."""
    return time if time.microsecond == 0 else later(time.replace(microsecond=0), 1)


def as_if_all_had_urls(rows: Rows) -> Rows:
    """The same rows, where each is called: whether a step counts does not depend on its url."""
    return Rows(rows.transaction, tuple(replace(row, url=row.url or "-") for row in rows.branches))


def play(
    timing: Timing, rows: Rows, suppose: Suppose, *, start: datetime, held: Held = nothing_is_held
) -> Iterator[Event]:
    """Play rounds from `start` on until the transaction ends, is left to its client, or enough was seen.

    Raises ValueError for rows that no rule explains.
    """
    player = _Player(timing, rows, suppose, start, held)
    for _ in range(DECISIONS_MAX):
        if player.transaction.status.is_final:
            return
        if player.is_left_to_client:
            yield LeftToClient(player.now)
            return
        yield from player.step()
    yield CutOff(player.now)


class _Player:
    def __init__(
        self, timing: Timing, rows: Rows, suppose: Suppose, start: datetime, held: Held = nothing_is_held
    ) -> None:
        pattern = PATTERNS.get(rows.transaction.trans_type)
        if pattern is None:
            raise ValueError(f"its trans_type is {rows.transaction.trans_type!r}")
        self._pattern = pattern
        self._timing = timing
        self._suppose = suppose
        self._held = held
        self.transaction = rows.transaction
        self._branches = list(rows.branches)
        self.now = start
        self._rounds = 0
        self._begin()

    def _begin(self) -> None:
        """A driver takes the row up: it knows what is stored and nothing else."""
        self._rounds += 1
        self._round = Round(timeout_to_fail=self._timing.timeout_to_fail)
        self._out: list[tuple[datetime, Branch, Result]] = []  # calls in flight, in the order they began
        self._succeeded = False
        self._failing = False

    @property
    def is_left_to_client(self) -> bool:
        """Whether a workflow's client has answered: it has ended the workflow before it did."""
        results = self._round.unrecorded.values()
        told = Result.SUCCESS in results or Result.FAILURE in results
        return self.transaction.trans_type == TransType.WORKFLOW and told

    def step(self) -> Iterator[Event]:
        """Ask the pattern once and do what it says."""
        decision = self._pattern.decide(self.transaction, self._branches, self._round, self.now)
        match decision:
            case Run():
                yield from self._run(decision)
            case Await():
                self._settle_until(min(end for end, _, _ in self._out))
            case Abort(reason):
                yield self._move(Status.ABORTING, reason)
            case Submit():
                yield self._move(Status.SUBMITTED)
            case Finish(status):
                yield self._move(status)
            case Wait():
                yield self._rest(decision)

    def _move(self, status: Status, reason: str = "") -> Moved:
        self.transaction = replace(
            self.transaction, status=status, rollback_reason=reason or self.transaction.rollback_reason
        )
        return Moved(self.now, status, reason)

    def _run(self, run: Run) -> Iterator[Event]:
        if run.delay:
            until = self.now + timedelta(seconds=run.delay)
            if self._settle_until(until):
                return  # the pattern may think otherwise now
            self.now = until
        free = [branch for branch in run.branches if self._held_until(branch) <= self.now]
        if not free:
            yield from self._wait_for_release(run)
            return
        is_alone = len(run.branches) == 1 and not self._round.in_flight and not self._round.unrecorded
        for branch in free:
            if self._round.unrecorded.pop(branch.key, None) is not None:
                self._round.repeats += 1
            supposed = self._suppose(branch) if branch.url else SUCCESS  # nothing is called without a url
            if branch.url:
                yield Called(self.now, self._rounds, branch, supposed)
            self._round.in_flight.add(branch.key)
            self._out.append((self.now + timedelta(seconds=supposed.seconds), branch, supposed.result))
        if is_alone:
            self._settle_until(self._out[0][0])

    def _held_until(self, branch: Branch) -> datetime:
        until = self._held(branch) if branch.url else None
        return self.now if until is None else until

    def _wait_for_release(self, run: Run) -> Iterator[Event]:
        """Nobody may be called. What is in flight ends; without any, the round is over."""
        if self._out:
            self._settle_until(min(end for end, _, _ in self._out))
            return
        limit = self._timing.fails_at(self.transaction, self.now)
        if self._round.unrecorded:
            yield self._rest(Wait(not_after=limit))
            return
        until = min(self._held_until(branch) for branch in run.branches)
        yield self._rest(Wait(until=until if limit is None else min(until, limit)))

    def _settle_until(self, until: datetime) -> bool:
        """Let time pass until a call in flight ends, not later; whether one did."""
        first = min((end for end, _, _ in self._out), default=until)
        if not self._out or first > until:
            return False
        ended = [one for one in self._out if one[0] == first]
        self._out = [one for one in self._out if one[0] != first]
        self.now = max(self.now, first)
        for _, branch, result in ended:
            self._round.in_flight.discard(branch.key)
            self._settle(branch, result)
        return True

    def _settle(self, branch: Branch, result: Result) -> None:
        status = self._pattern.recorded(branch, result)
        if status is None:
            self._round.unrecorded[branch.key] = result
            self._failing = self._failing or result not in (Result.SUCCESS, Result.ONGOING)
        else:
            index = next(at for at, row in enumerate(self._branches) if row.key == branch.key)
            self._branches[index] = branch.with_status(status)
        self._succeeded = self._succeeded or result is Result.SUCCESS

    def _rest(self, wait: Wait) -> Rested:
        at, before = self.now, failed_rounds(self.transaction.ext_data)
        if wait.until is not None:
            due, failed = wait.until, 0 if self._succeeded else before
            interval = self.transaction.next_cron_interval
            if self._succeeded:
                interval = self._timing.first_interval(self.transaction.options)
        else:
            pause = pause_after(
                self._timing,
                self.transaction,
                failed_before=before,
                succeeded=self._succeeded,
                unknown=self._failing and wait.doubles,
                doubles=wait.doubles,
            )
            interval, failed = pause.interval, pause.failed_rounds
            due = later(at, interval)
            due = due if wait.not_after is None else min(due, wait.not_after)
        due = rounded_up(due)
        self.transaction = replace(
            self.transaction,
            next_cron_interval=interval,
            next_cron_time=due,
            owner="",
            ext_data=noted(self.transaction.ext_data, failed=failed, alerted=False),
        )
        self.now = max(at, due)
        self._begin()
        rows = Rows(self.transaction, tuple(self._branches))
        return Rested(at, self.now, wait.until is None, wait.not_after, rows)


def first_calls(timing: Timing, rows: Rows, *, start: datetime) -> tuple[Called, ...] | Rested | Moved | None:
    """Whom the next round calls first; how it rests or ends where it calls nobody; None: nothing can happen.

    Raises ValueError for rows that no rule explains.
    """
    player = _Player(timing, rows, lambda _: SUCCESS, start)
    while not player.transaction.status.is_final:
        events = list(player.step())
        calls = tuple(event for event in events if isinstance(event, Called))
        if calls:
            return calls
        for event in events:
            if isinstance(event, Rested) or (isinstance(event, Moved) and event.status.is_final):
                return event
    return None
