"""All that is known of one transaction when its history is over."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from coordinator.model import Branch, BranchKey, Result, Status, Transaction
from tests.simulation.seen import Call, Story

CALLED_BACK = "00"  # branch_id of a message's query and a workflow's call back
LEASE_SECONDS = 30.0  # the longest that a simulated transaction is held


@dataclass
class Record:
    """Seconds of virtual time."""

    gid: str
    story: Story
    fates: Mapping[tuple[str, BranchKey], Result]
    hurried: bool  # an operator made things due
    first_intervals: set[int]  # of the coordinators, for what brings none of its own
    states: list[tuple[float, Transaction]] = field(default_factory=list)  # every committed one, when
    branches: tuple[Branch, ...] = ()  # as they stand at the end
    calls: list[Call] = field(default_factory=list)  # in order of their start

    @property
    def end(self) -> Transaction:
        return self.states[-1][1]

    @property
    def created_at(self) -> float:
        return self.states[0][0]

    @property
    def ended_at(self) -> float:
        return self.states[-1][0]

    def became(self, status: Status) -> float | None:
        """When it first had this status; None: it never did."""
        return next((at for at, state in self.states if state.status is status), None)

    def of(self, *ops: str) -> list[Call]:
        """Calls of these ops."""
        return [call for call in self.calls if call.key[1] in ops]

    def succeeded_at(self) -> dict[BranchKey, float]:
        """When each branch's success was first answered."""
        first: dict[BranchKey, float] = {}
        for call in self.calls:
            if call.result is Result.SUCCESS and call.ended is not None:
                first[call.key] = min(first.get(call.key, call.ended), call.ended)
        return first


def one_after_the_other(record: Record, calls: list[Call], order: list[BranchKey]) -> None:
    """Assert that each branch was called only after the one before it, and then no more the one before it.

    A branch that starts proves its predecessor's success durable: whatever crashes, that is not asked again.
    """
    succeeded = record.succeeded_at()
    for before, key in pairwise(order):
        starts = [call.started for call in calls if call.key == key]
        if not starts:
            continue
        assert succeeded.get(before, 1e18) <= min(starts), (
            f"{record.gid}: {key} began before {before} was done"
        )
        again = [call for call in calls if call.key == before and call.started > min(starts)]
        assert not again, f"{record.gid}: {before} was called after {key} had started"
