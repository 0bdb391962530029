"""What the engine knows of a branch call: it is asked, and gives one of four results (PROTOCOL §2)."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from coordinator.attempt import Kind
from coordinator.light import light
from coordinator.model import Branch, Result, Transaction

_NOTHING_CAME: Final = (None, 4, 14)  # gRPC's DEADLINE_EXCEEDED and UNAVAILABLE


@light
@dataclass(frozen=True, slots=True)
class Answer:
    """A branch's result, and its text: what it answered, or why no answer came."""

    result: Result
    text: str = ""
    grpc_status: int | None = None  # the branch's own status code, where it spoke gRPC
    http_status: int | None = field(default=None, compare=False)  # the same over HTTP, unless it is success
    cause: Kind | None = field(default=None, compare=False)  # where result and status do not say
    body: bytes | None = field(default=None, compare=False)  # of a success whose result is kept

    @property
    def kind(self) -> Kind:
        """What kept the call from success."""
        if self.result is Result.FAILURE:
            return Kind.FAILURE
        if self.result is Result.ONGOING:
            return Kind.ONGOING
        if self.cause is not None:
            return self.cause
        return Kind.BROKEN if self.status is None else Kind.STATUS

    @property
    def status(self) -> int | None:
        """HTTP's status or gRPC's, where the branch spoke."""
        return self.grpc_status if self.http_status is None else self.http_status

    @property
    def is_lost(self) -> bool:
        """Whether nothing came back: no connection, or no answer in time."""
        return (
            self.result is Result.UNKNOWN and self.http_status is None and self.grpc_status in _NOTHING_CAME
        )


SUCCESS = Answer(Result.SUCCESS)


class Caller(Protocol):
    """Calls one branch. Raises nothing but CancelledError: whatever goes wrong is an Answer."""

    def endpoint(self, transaction: Transaction, branch: Branch) -> str:
        """What the call would keep busy: scheme, host and port, or gRPC target.

        Empty where nothing is called: no url, or one that cannot be called.
        """
        ...

    async def call(self, transaction: Transaction, branch: Branch, *, timeout: float) -> Answer:
        """Call the branch and wait for its answer. timeout: seconds."""
        ...

    async def close(self) -> None:
        """Close the pooled connections."""
        ...
