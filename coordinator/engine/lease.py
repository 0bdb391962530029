"""The right to drive one transaction, how it is lost, and how a round under it ended."""

from dataclasses import dataclass

from coordinator.calls.base import Answer
from coordinator.errors import BranchAnswer
from coordinator.light import light
from coordinator.model import Transaction


@dataclass(slots=True)
class Lease:
    """The right to drive one transaction."""

    owner: str  # fence token
    expires_at: float  # on the monotonic clock, seconds


@light
@dataclass(frozen=True, slots=True)
class Ended:
    """How a round ended: the transaction as it stands, and the last answer that was not success."""

    transaction: Transaction
    unhappy: Answer | None = None
    branch: BranchAnswer | None = None  # what the client is told: what rolled back, else the last of those
    fenced: bool = False  # somebody else moved the row; `transaction` is what this driver last knew
    deferred: bool = False  # no place at the endpoint of the next call: a later round goes on


class Fenced(Exception):
    """The row is not this driver's any more."""
