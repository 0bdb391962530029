"""What an answer means, the coordinator's or a branch's: an error to raise, or nothing (PROTOCOL §2, §5)."""

import re
from collections.abc import Collection, Sequence
from enum import Enum, auto

import orjson

from coordinator.client.errors import FAILURE_WORD, ONGOING_WORD, DtmError, Failure, InvalidUse, Ongoing, Said
from coordinator.client.transport.said import said_in_reason
from coordinator.model import Status

_RAW_SHOWN = 200  # characters of an answer, in a sentence
_STILL_RUNNING = "wait result not return success"
_OTHER_TYPE = re.compile(r"gid '.*' is of trans type '[^']*', not '[^']*', cannot ", re.DOTALL)
_ALREADY = re.compile(rf"current status '({'|'.join(Status)})', cannot (?:sumbmit|prepare|abort)")


class Result(Enum):
    """The results of §2, whatever the protocol."""

    SUCCESS = auto()
    FAILURE = auto()
    ONGOING = auto()
    ERROR = auto()


def raise_for_answer(
    result: Result, text: str, gid: str, *, only_forward: bool = False, told: Said | None = None
) -> None:
    """Raise what the answer means; return for success.

    A FAILURE without a rollback reason is no rollback: the transaction may still end well, so that is Ongoing
    (§5). only_forward: for the submit of a tcc, xa or msg, which never rolls back once it is taken; a
    FAILURE that is not about its state or type then comes from a branch that is called again. told: which
    branch's answer it comes from, as far as the coordinator says so.
    """
    match result:
        case Result.SUCCESS:
            return
        case Result.FAILURE if not _is_only_late(text, only_forward):
            raise Failure(text, gid=gid, answer=text, said=said_in_reason(text, told))
        case Result.FAILURE | Result.ONGOING:
            so_far = f", {_shown(told)}" if told else ""
            sentence = f"transaction {gid} is accepted and still running{so_far}: ask query, or wait"
            raise Ongoing(sentence, gid=gid, answer=text, said=told)
        case Result.ERROR:
            about = f" for transaction {gid}" if gid else ""
            sentence = f"the coordinator answered an error{about}: {text or 'no reason given'}"
            raise DtmError(sentence, gid=gid, answer=text, said=told)


def _shown(said: Said) -> str:
    status = "" if said.status is None else f" {said.status}"
    raw = said.raw[:_RAW_SHOWN] or "nothing"
    return f"where {said.op} {said.branch_id} ({said.url}) answered{status}: {raw}"


def raise_for_branch(result: Result, text: str, gid: str, said: Said) -> None:
    """Raise what a branch's own answer means to whoever called it; return for success."""
    match result:
        case Result.SUCCESS:
            return
        case Result.FAILURE:
            raise Failure(f"{said.url} said: {text}", gid=gid, answer=text, said=said)
        case Result.ONGOING:
            raise Ongoing(f"{said.url} is not finished: {text}", gid=gid, answer=text, said=said)
        case Result.ERROR:
            raise DtmError(
                f"{said.url} answered {text}: not known whether it was done. Only 200 is a success, 409 a "
                "refusal, 425 not finished",
                gid=gid,
                answer=text,
                said=said,
            )


def raise_unless_known(asked: Sequence[str], known: Collection[str], address: str, gid: str) -> None:
    """Raise InvalidUse where the server at that address does not know all that is asked of it."""
    if unknown := [name for name in asked if name not in known]:
        raise InvalidUse(
            f"{' and '.join(unknown)}: the coordinator at {address} does not know this; one that does lists "
            "it under `features` of GET /api/dtmsvr/version. Nothing was sent",
            gid=gid,
        )


def result_of_text(result: Result, text: str) -> Result:
    """Return the result of a branch that speaks the old style: the words in its text count (§2)."""
    if result is Result.ONGOING or ONGOING_WORD in text:
        return Result.ONGOING
    return Result.FAILURE if FAILURE_WORD in text else result


def message_of(answer: str) -> str:
    """Return the `message` of a JSON answer, and any other answer as it is."""
    try:
        decoded = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return answer
    message = decoded.get("message") if isinstance(decoded, dict) else None
    return message if isinstance(message, str) else answer


def already(failure: Failure) -> Status | None:
    """Return the status that makes a repeated operation fail, None where the failure is about something else.

    Asked only after an attempt whose answer was lost: then that status is the fate of our own first attempt.
    """
    found = _ALREADY.search(failure.message)
    return Status(found[1]) if found else None


def _is_only_late(text: str, only_forward: bool) -> bool:
    if _OTHER_TYPE.match(text):
        return False
    return text.startswith(_STILL_RUNNING) or (only_forward and _ALREADY.search(text) is None)
