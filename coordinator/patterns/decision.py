"""What a pattern may say, and what it is told of the round. Pure data (DESIGN, functional core).

A round is one driver's turn on one transaction: from a submit or claim until it ends or must wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from coordinator.model import Branch, BranchKey, Result, Status


@dataclass(frozen=True, slots=True)
class Run:
    """Start these calls, record each result, ask the pattern again after each."""

    branches: tuple[Branch, ...]  # never empty
    delay: float = 0.0  # seconds to wait before the calls, for repeats within the round


@dataclass(frozen=True, slots=True)
class Await:
    """Nothing to start: wait until one of the calls in flight has its result."""


@dataclass(frozen=True, slots=True)
class Abort:
    """Move to `aborting` with this reason, then ask again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The transaction ends with this final status."""

    status: Status


@dataclass(frozen=True, slots=True)
class Wait:
    """The round is over without an end: back-off decides when the next one starts."""


Decision = Run | Await | Abort | Finish | Wait


@dataclass(frozen=True, slots=True)
class Round:
    """What happened in this round that no stored row shows."""

    in_flight: frozenset[BranchKey] = frozenset()
    without_result: Mapping[BranchKey, Result] = field(default_factory=dict)  # ONGOING, UNKNOWN, refused FAILURE
    repeats: int = 0  # calls made again within the round
    failure_reason: str = ""  # of the first action that said FAILURE
