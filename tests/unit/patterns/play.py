"""A pattern played to its end without engine or store: generated answers, late, lost or never.

The loop does what a driver does: it starts what the pattern wants, records what the pattern records, and asks
again. Calls in flight are answered in any order. A round that waits is followed by a new one, which knows
nothing but the rows, as after a crash.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st

from coordinator.model import Branch, BranchKey, BranchStatus, Options, Result, Status, Transaction
from coordinator.patterns.by_type import Pattern
from coordinator.patterns.decision import Abort, Await, Decision, Finish, Round, Run, Submit, Wait

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RETRY_SECONDS = 10
BRANCH_STATUSES = {"p": BranchStatus.PREPARED, "s": BranchStatus.SUCCEED, "f": BranchStatus.FAILED}
ANY_RESULT = st.sampled_from(list(Result))


def transaction_of(
    trans_type: str,
    status: Status = Status.SUBMITTED,
    options: Options | None = None,
    custom_data: str = "",
    query_prepared: str = "http://client/ask",
) -> Transaction:
    """A transaction `g`, created NOW."""
    return Transaction(
        "g",
        trans_type,
        status,
        options=options or Options(),
        custom_data=custom_data,
        query_prepared=query_prepared,
        create_time=NOW,
    )


def registered(ops: tuple[str, str], statuses: str, branch_ids: Sequence[str] = ()) -> tuple[Branch, ...]:
    """The two rows of each branch as they are registered; statuses as letters: p prepared, s succeed."""
    names = branch_ids or [f"{number:02d}" for number in range(1, len(statuses) // 2 + 1)]
    keys = [(name, op) for name in names for op in ops]
    return tuple(
        Branch("g", name, op, f"http://branch/{op}", b"{}", BRANCH_STATUSES[letter])
        for (name, op), letter in zip(keys, statuses, strict=True)
    )


def started(decision: Decision) -> list[BranchKey]:
    """The branches that the decision calls."""
    assert isinstance(decision, Run), decision
    return [branch.key for branch in decision.branches]


@dataclass(frozen=True)
class Called:
    """One call: when it began, the round, what it answered (None: the round was over before)."""

    key: BranchKey
    at: datetime
    round: int
    result: Result | None = None


@dataclass
class Play:
    """Plays one transaction. answers: of a call, given its branch."""

    pattern: Pattern
    transaction: Transaction
    branches: list[Branch]
    data: st.DataObject
    answers: Callable[[Branch], Result]
    now: datetime = NOW
    rounds: int = 0
    calls: list[Called] = field(default_factory=list)
    moves: list[Status] = field(default_factory=list)
    late: Callable[["Play"], None] | None = None  # what a client does just before an abort is stored

    def until_final(self, rounds: int) -> bool:
        """Play so many rounds; True when the transaction has ended, False when it still waits."""
        for _ in range(rounds):
            if self.one_round():
                with pytest.raises(ValueError, match="is"):  # final never changes: nothing can be decided
                    self.pattern.decide(self.transaction, self.branches, Round(), self.now)
                return True
        return False

    def one_round(self) -> bool:
        """Play until the pattern waits or the transaction ends; True when it has ended."""
        self.rounds += 1
        round = Round()
        for _ in range(1000):
            if self.transaction.status.is_final:
                return True
            match self.pattern.decide(self.transaction, self.branches, round, self.now):
                case Run(branches):
                    for branch in branches:
                        self._start(branch, round)
                case Await():
                    self._answer_one(round)
                case Abort(reason):
                    assert reason
                    if self.late is not None:
                        self.late(self)
                    self._move(Status.ABORTING)
                case Submit():
                    self._move(Status.SUBMITTED)
                case Finish(status):
                    assert not round.in_flight, "ended while a call was out"
                    self._move(status)
                case Wait(not_after, until):
                    assert not round.in_flight, "the round ended while a call was out"
                    self._rest(not_after, until)
                    return False
        raise AssertionError("the round does not end")

    def status_of(self, branch_id: str, op: str) -> BranchStatus:
        """Of the row."""
        return next(b.status for b in self.branches if b.key == (branch_id, op))

    def _start(self, branch: Branch, round: Round) -> None:
        assert branch.key not in round.in_flight, f"{branch.key} is called while it is out"
        round.unrecorded.pop(branch.key, None)
        round.in_flight.add(branch.key)
        self.calls.append(Called(branch.key, self.now, self.rounds))

    def _answer_one(self, round: Round) -> None:
        assert round.in_flight, "waits for nothing"
        key = self.data.draw(st.sampled_from(sorted(round.in_flight)))
        self.now += timedelta(seconds=self.data.draw(st.integers(0, 3)))
        round.in_flight.discard(key)
        stored = [b for b in self.branches if b.key == key]
        branch = stored[0] if stored else Branch("g", *key, "")
        result = self.answers(branch)
        index = max(n for n, call in enumerate(self.calls) if call.key == key)
        self.calls[index] = replace(self.calls[index], result=result)
        status = self.pattern.recorded(branch, result)
        if status is None:
            round.unrecorded[key] = result
        else:
            self.branches[self.branches.index(branch)] = replace(branch, status=status)
            if status is BranchStatus.FAILED and not round.failure_reason:
                round.failure_reason = f"{key} said FAILURE"

    def _move(self, status: Status) -> None:
        self.moves.append(status)
        self.transaction = replace(self.transaction, status=status)

    def _rest(self, not_after: datetime | None, until: datetime | None) -> None:
        if until is not None:
            assert until > self.now, "waits for a time that has passed"
            self.now = until
            return
        due = self.now + timedelta(seconds=RETRY_SECONDS)
        self.now = min(due, not_after) if not_after else due
