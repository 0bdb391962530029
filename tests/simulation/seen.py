"""What happened in a history: for the invariants, and to prove that it reached what it was made for."""

from collections import Counter
from dataclasses import dataclass, field

from coordinator.model import BranchKey, Result, TransactionRequest


@dataclass(frozen=True)
class Call:
    """One call that reached a branch. Seconds of virtual time; ended is None while it is out."""

    gid: str
    key: BranchKey
    owner: str
    coordinator: str
    endpoint: str
    started: float
    ended: float | None = None
    result: Result | None = None
    returned: bool = False  # whether its driver was told


@dataclass
class Seen:
    """By all coordinators, branches and clients together."""

    calls: list[Call] = field(default_factory=list)
    payloads: dict[tuple[str, BranchKey], set[bytes]] = field(
        default_factory=dict
    )  # that branches were given
    marks: Counter[str] = field(default_factory=Counter)
    dead: set[str] = field(default_factory=set)  # coordinators that crashed
    problems: list[str] = field(default_factory=list)  # what must never be, seen while it was
    turned_away: set[int] = field(default_factory=set)  # questions answered with Busy, by their number


@dataclass
class Story:
    """What one client did with its transaction, and what it was told. Seconds of virtual time."""

    request: TransactionRequest
    steps: int = 0  # of a workflow; branches of a TCC or XA
    payload: bytes = b"{}"  # of each of those branches
    asked: dict[str, float] = field(default_factory=dict)  # submit, abort, prepare: first asked
    acknowledged: dict[str, float] = field(default_factory=dict)  # and first answered with success
    registered: set[BranchKey] = field(default_factory=set)  # branches whose registration was
    committed: bool | None = None  # a message's local transaction; None while it is open

    def decide_local(self, *, committed: bool) -> bool:
        """End the local transaction so, unless it has ended; how it ended."""
        if self.committed is None:
            self.committed = committed
        return self.committed
