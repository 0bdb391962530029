"""The one tree of errors: what went wrong, and how each protocol says it (PROTOCOL §2)."""

from dataclasses import dataclass
from math import ceil
from typing import ClassVar, Final, Self

FAILURE_WORD: Final = "FAILURE"
ONGOING_WORD: Final = "ONGOING"
# What a client is told of a fault of ours, in every protocol.
INTERNAL_ERROR: Final = "internal error, the log of the coordinator says more"


def ending_with(message: str, word: str) -> str:
    """Return the message so that it ends in the word exactly once, as clients expect it (PROTOCOL §2)."""
    stripped = message.rstrip()
    if stripped == word or stripped.endswith(" " + word):
        return stripped
    return f"{stripped} {word}" if stripped else word


@dataclass(frozen=True, slots=True)
class BranchAnswer:
    """What a branch answered, for the client that waits for its transaction.

    status: HTTP's or gRPC's, None where there was none. said: its body or message, as it came.
    """

    url: str
    branch_id: str
    op: str
    status: int | None
    said: str


class DtmError(Exception):
    """Root of the errors that the coordinator raises on purpose.

    message: one sentence for the caller. hint: what to do next, for operators; may be empty. branch: whose
    answer it comes from, None where it is the coordinator's own.
    Each class holds its answer in every protocol; `api` only looks it up.
    """

    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[int] = 13  # INTERNAL
    json_rpc_code: ClassVar[int] = -32603

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.branch: BranchAnswer | None = None

    def because_of(self, branch: BranchAnswer | None) -> Self:
        """This error, with the answer that it comes from."""
        self.branch = branch
        return self

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class Failure(DtmError):
    """FAILURE: business or state says no; asking again does not help. The message ends in ` FAILURE`."""

    http_status = 409
    grpc_status = 10  # ABORTED
    json_rpc_code = -32901

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(ending_with(message, FAILURE_WORD), hint)


class Ongoing(DtmError):
    """ONGOING: not finished, ask again later. The message ends in ` ONGOING`."""

    http_status = 425
    grpc_status = 9  # FAILED_PRECONDITION
    json_rpc_code = -32902

    def __init__(self, message: str = "", hint: str = "") -> None:
        super().__init__(ending_with(message, ONGOING_WORD), hint)


class Invalid(DtmError):
    """A request that breaks a rule: the message names field and problem. Nothing was stored."""


class InvalidBranch(Invalid):
    """A branch that cannot be registered; over gRPC clients know it by UNKNOWN (PROTOCOL §2)."""

    grpc_status = 2  # UNKNOWN


class InvalidTopic(Invalid):
    """A subscription that cannot be made or ended (PROTOCOL §8)."""

    grpc_status = 2  # UNKNOWN


class NotFound(DtmError):
    """No transaction of that gid."""

    @classmethod
    def of_gid(cls, gid: str) -> "NotFound":
        """The sentence that clients look for (PROTOCOL §2)."""
        return cls(f"no TransGlobal with gid: {gid} found")


class Conflict(DtmError):
    """The gid, compared as the database compares it, belongs to another transaction (PROTOCOL §14)."""


class BranchConflict(Conflict):
    """A branch of that id and op is registered already, with other content."""

    grpc_status = 2  # UNKNOWN


class WrongState(DtmError):
    """A workflow that is not where the request needs it; no FAILURE of the business (PROTOCOL §5)."""


class NoResult(DtmError):
    """A branch gave no result that counts: what it said, with its own gRPC status where it has one."""

    def __init__(self, message: str, grpc_status: int | None = None) -> None:
        super().__init__(message)
        self.branch_grpc_status = grpc_status


class Busy(DtmError):
    """More work than the coordinator's bounds allow; the request was not taken (PROTOCOL §2).

    seconds: after which it may be asked again.
    """

    http_status = 503
    grpc_status = 8  # RESOURCE_EXHAUSTED

    def __init__(self, message: str, hint: str = "", *, seconds: int = 1) -> None:
        self.seconds = seconds
        super().__init__(message, hint)


class TooOften(DtmError):
    """Somebody tried so often that they have to wait before they try again. seconds: that they wait."""

    http_status = 429
    grpc_status = 8  # RESOURCE_EXHAUSTED

    def __init__(self, seconds: float) -> None:
        self.seconds = ceil(seconds)
        super().__init__(f"tried too often: try again in {self.seconds} seconds")


class Stopping(DtmError):
    """The coordinator is stopping: ask another one, or this one after its restart (PROTOCOL §2)."""

    http_status = 503
    grpc_status = 14  # UNAVAILABLE


class StoreUnavailable(DtmError):
    """The store did not confirm in time. What was asked may or may not stand; asking again is safe."""

    grpc_status = 14  # UNAVAILABLE


class IssuerUnavailable(DtmError):
    """The issuer of OpenID Connect does not answer, or says what cannot be used."""

    http_status = 503
    grpc_status = 14  # UNAVAILABLE


class Unauthenticated(DtmError):
    """No credential, or a bad one, where one is needed (PROTOCOL §2)."""

    http_status = 401
    grpc_status = 16  # UNAUTHENTICATED


class Forbidden(DtmError):
    """Who asks may not, or is a page of another site in somebody's browser (PROTOCOL §2)."""

    http_status = 403
    grpc_status = 7  # PERMISSION_DENIED


class StartError(DtmError):
    """The coordinator cannot start; message and hint are for the operator's terminal."""
