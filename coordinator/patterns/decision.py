"""What a pattern may say, and what it is told of the round. Pure data.

A round is one driver's turn on one transaction: from a submit or claim until it ends or must wait.
"""

from dataclasses import dataclass, field
from datetime import datetime

from coordinator.light import light
from coordinator.model import Branch, BranchKey, Result, Status


@light
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
class Submit:
    """Move from `prepared` to `submitted`, then ask again."""


@light
@dataclass(frozen=True, slots=True)
class Finish:
    """The transaction ends with this final status."""

    status: Status


@dataclass(frozen=True, slots=True)
class Wait:
    """The round is over without an end: back-off decides when the next one starts."""

    not_after: datetime | None = None  # ask again no later than this, whatever the back-off
    until: datetime | None = None  # nothing to do before this; back-off plays no part
    doubles: bool = True  # False: ask again at the pace so far, RetryInterval unless it has backed off


Decision = Run | Await | Abort | Submit | Finish | Wait


@dataclass(slots=True)
class Round:
    """What a pattern must know that no stored row shows. The driver keeps it; a pattern only reads it."""

    timeout_to_fail: int = 35  # seconds, for what is prepared and brings no limit of its own
    in_flight: set[BranchKey] = field(default_factory=set)
    unrecorded: dict[BranchKey, Result] = field(default_factory=dict)  # answered, but nothing to record
    repeats: int = 0  # calls made again within the round
    failure_reason: str = ""  # of the first action that said FAILURE
