"""Everything the client raises on purpose: one tree, to be caught coarsely or finely (PROTOCOL §2)."""

from dataclasses import dataclass
from typing import ClassVar, Final

FAILURE_WORD: Final = "FAILURE"
ONGOING_WORD: Final = "ONGOING"


@dataclass(frozen=True, slots=True)
class Said:
    """What a branch answered (PROTOCOL §2).

    branch_id, op: "" where nobody said which. status: HTTP's or gRPC's number, None where it is not known.
    raw: its body or message, word for word. reason: the words for people in it, "" when there are none.
    """

    url: str
    branch_id: str
    op: str
    status: int | None
    raw: str
    reason: str


_NOTHING_SAID: Final = Said("", "", "", None, "", "")


class DtmError(Exception):
    """Something went wrong; the message says what, and what to do next.

    gid: the transaction it is about, "" when there is none. answer: what the coordinator said, word for word,
    "" when it said nothing. said: by the branch that it comes from, None where it comes from none.
    http_status, grpc_status: how a branch handler that lets the error out answers (PROTOCOL §2).
    """

    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[int] = 13  # INTERNAL: unknown result, the coordinator asks again

    def __init__(
        self, message: str, *, gid: str = "", answer: str = "", said: Said | None = None, reason: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.gid = gid
        self.answer = answer
        self.said = said
        self._reason = reason

    @property
    def reason(self) -> str:
        """Why, for people: what the branch said (`no pear left`), or else the message."""
        if self._reason:
            return self._reason
        return self.message.removesuffix(FAILURE_WORD).rstrip() if self.said is None else self.said.reason

    @property
    def url(self) -> str:
        """Of the branch that said so; "" where no branch did."""
        return (self.said or _NOTHING_SAID).url

    @property
    def branch_id(self) -> str:
        """Of that branch, such as `02`; "" where it is not known."""
        return (self.said or _NOTHING_SAID).branch_id

    @property
    def op(self) -> str:
        """What that branch was asked to do, such as `action`; "" where it is not known."""
        return (self.said or _NOTHING_SAID).op

    @property
    def status(self) -> int | None:
        """Of its answer: 409 over HTTP, 10 (ABORTED) over gRPC; None where it is not known."""
        return (self.said or _NOTHING_SAID).status

    @property
    def raw(self) -> str:
        """Its body or message, word for word; "" where no branch said anything."""
        return (self.said or _NOTHING_SAID).raw

    @property
    def told(self) -> str:
        """What a branch handler that lets this out answers."""
        return self.message


class Failure(DtmError):
    """The business says no: roll back (PROTOCOL §2).

    From `submit`: the transaction is rolled back, or being rolled back. `reason` is what the branch said;
    `url`, `branch_id`, `op`, `status` and `raw` stand beside it. In a branch handler: `raise Failure("score
    over the limit")` answers 409 or Aborted with these words, as does a Failure that comes from another
    branch.
    """

    http_status = 409
    grpc_status = 10  # ABORTED

    @property
    def told(self) -> str:
        """See DtmError."""
        return self.reason or self.message


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


class Mismatch(DtmError):
    """A stored workflow and the code that is to go on with it are not the same (PROTOCOL §7).

    Another step at the place of a recorded one, a recorded step that the function does not come to, another
    workflow or other data under the gid. Nothing is done, and the workflow stays open: run the code that
    began it, or change it behind `patched`.
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
