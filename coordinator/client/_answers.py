"""What an answer of the coordinator means: an error to raise, or nothing (PROTOCOL §2, §5)."""

import re
from enum import Enum, auto

from coordinator.client._errors import DtmError, Failure, Ongoing
from coordinator.model import Status

_STILL_RUNNING = "wait result not return success"
_ALREADY = re.compile(rf"^current status '({'|'.join(Status)})', cannot sumbmit")


class Result(Enum):
    """The results of §2, whatever the protocol."""

    SUCCESS = auto()
    FAILURE = auto()
    ONGOING = auto()
    ERROR = auto()


def raise_for_answer(result: Result, text: str, gid: str) -> None:
    """Raise what the answer means; return for success.

    A FAILURE without a rollback reason is no rollback: the transaction may still end well, so that is Ongoing
    (§5).
    """
    match result:
        case Result.SUCCESS:
            return
        case Result.FAILURE if not text.startswith(_STILL_RUNNING):
            raise Failure(text, gid=gid, answer=text)
        case Result.FAILURE | Result.ONGOING:
            raise Ongoing(
                f"transaction {gid} is accepted and still running: ask query, or wait", gid=gid, answer=text
            )
        case Result.ERROR:
            about = f" for transaction {gid}" if gid else ""
            reason = text or "no reason given"
            raise DtmError(f"the coordinator answered an error{about}: {reason}", gid=gid, answer=text)


def already_final(failure: Failure) -> Status | None:
    """Return the status that makes a repeated submit fail, None where the failure is about something else.

    Asked only after an attempt whose answer was lost: then `succeed` is the fate of our own first attempt.
    """
    found = _ALREADY.match(failure.message)
    return Status(found[1]) if found else None
