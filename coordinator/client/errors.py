"""Everything the client raises on purpose: one tree, to be caught coarsely or finely (PROTOCOL §2)."""

from typing import ClassVar, Final

FAILURE_WORD: Final = "FAILURE"
ONGOING_WORD: Final = "ONGOING"


class DtmError(Exception):
    """Something went wrong; the message says what, and what to do next.

    gid: the transaction it is about, "" when there is none. answer: what the coordinator said, word for word,
    "" when it said nothing. http_status, grpc_status: how a branch handler that lets the error out answers
    (PROTOCOL §2).
    """

    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[int] = 13  # INTERNAL: unknown result, the coordinator asks again

    def __init__(self, message: str, *, gid: str = "", answer: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.gid = gid
        self.answer = answer


class Failure(DtmError):
    """The business says no: roll back (PROTOCOL §2).

    From `submit`: the transaction is rolled back, or being rolled back; `reason` is the recorded rollback
    reason. In a branch handler: `raise Failure("score over the limit")` answers 409 or Aborted.
    """

    http_status = 409
    grpc_status = 10  # ABORTED

    @property
    def reason(self) -> str:
        """Why, without the protocol's closing word."""
        return self.message.removesuffix(FAILURE_WORD).rstrip()


class Ongoing(DtmError):
    """Not finished, and nothing is wrong (PROTOCOL §2).

    From `submit` with wait_result: the transaction is stored and goes on; ask `query` later.
    In a branch handler: "ask me again later", answers 425 or FailedPrecondition.
    """

    http_status = 425
    grpc_status = 9  # FAILED_PRECONDITION


class Unreachable(DtmError):
    """The coordinator did not answer within the time-out, repeats included (PROTOCOL §5: repeating is safe).

    may_exist: False when no attempt got as far as sending, so that the transaction does not exist for sure.
    Where it is True, submit the same gid again (that is safe) or ask `query`.
    """

    grpc_status = 14  # UNAVAILABLE

    def __init__(self, message: str, *, gid: str = "", answer: str = "", may_exist: bool = False) -> None:
        super().__init__(message, gid=gid, answer=answer)
        self.may_exist = may_exist


class InvalidUse(DtmError, ValueError):
    """The call itself is wrong: an unknown url scheme, a payload that cannot be sent, a negative time-out.

    Raised before anything is sent; as a branch's answer it is unknown, asked again (PROTOCOL §2).
    """


class NoBranchContext(InvalidUse):
    """The request does not say which branch it is, so no barrier can protect it (§10, §12)."""

    http_status = 400
    grpc_status = 3  # INVALID_ARGUMENT


class Duplicated(DtmError):
    """The business of this message was done by an earlier call; it was not done again (§12).

    The message itself is handed in all the same.
    """


class BarrierError(DtmError):
    """The barrier cannot work in this database (PROTOCOL §12); the message names the table and what to do."""
