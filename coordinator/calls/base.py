"""What the engine knows of a branch call: it is asked, and gives one of four results (PROTOCOL §2)."""

from dataclasses import dataclass, field
from typing import Protocol

from coordinator.model import Branch, Result, Transaction


@dataclass(frozen=True, slots=True)
class Answer:
    """A branch's result, and its text: what it answered, or why no answer came."""

    result: Result
    text: str = ""
    grpc_status: int | None = None  # the branch's own status code, where it spoke gRPC
    http_status: int | None = field(default=None, compare=False)  # the same over HTTP, unless it is success


SUCCESS = Answer(Result.SUCCESS)


class Caller(Protocol):
    """Calls one branch. Raises nothing but CancelledError: whatever goes wrong is an Answer."""

    async def call(
        self, transaction: Transaction, branch: Branch, *, timeout: float, patience: float
    ) -> Answer:
        """Call the branch and wait for its answer.

        timeout: seconds for the call itself, from its start. patience: seconds to queue for a free place at
        a busy endpoint before that; with 0 a call to a full endpoint gives UNKNOWN at once, so that a
        hanging service fills only its own places (DESIGN, promise 5).
        """
        ...

    async def close(self) -> None:
        """Close the pooled connections."""
        ...
