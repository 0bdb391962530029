"""What an answer on the wire means: the three results, everywhere the same (PROTOCOL §2). Pure."""

import json
import re
from collections.abc import Collection
from dataclasses import replace
from typing import Final

from grpclib.const import Status

from coordinator.attempt import Kind
from coordinator.calls.base import SUCCESS, Answer
from coordinator.calls.content import UTF_8, decoded
from coordinator.errors import FAILURE_WORD, ONGOING_WORD, Failure, Ongoing
from coordinator.model import Result

_FAILURE: Final = FAILURE_WORD.encode()
_ONGOING: Final = ONGOING_WORD.encode()

_JSON_RPC_RESULTS: Final[dict[object, Result]] = {
    Ongoing.json_rpc_code: Result.ONGOING,
    Failure.json_rpc_code: Result.FAILURE,
    str(Ongoing.json_rpc_code): Result.ONGOING,  # some libraries quote it
    str(Failure.json_rpc_code): Result.FAILURE,
}
_BYTE_ORDER_MARK: Final = "\ufeff"
_ADDED: Final = re.compile(r" ?\(status \d+(?:: only 200[^)]*)?\)\Z")
GRPC_OK: Final = 0
_GRPC_ONGOING: Final = Ongoing.grpc_status
_GRPC_FAILURE: Final = Failure.grpc_status


def unknown(text: str, cause: Kind) -> Answer:
    """Return the answer that says why none came."""
    return Answer(Result.UNKNOWN, text, cause=cause)


def http_answer(status: int, body: bytes, charset: str = UTF_8) -> Answer:
    """Read an HTTP answer. The text is what the branch said; undecodable bytes are replaced.

    charset: of `content.charset_of`; the words count in its characters too (UTF-16 has no such bytes).
    """
    is_ongoing, is_failure = _ONGOING in body, _FAILURE in body
    if status == 200 and charset == UTF_8 and not (is_ongoing or is_failure):
        return SUCCESS
    text = decoded(body, charset).strip()
    if status == Ongoing.http_status or is_ongoing or ONGOING_WORD in text:
        return Answer(Result.ONGOING, text, http_status=status)
    if status == Failure.http_status or is_failure or FAILURE_WORD in text:
        return Answer(Result.FAILURE, text, http_status=status)
    if status == 200:
        return SUCCESS
    said = f"{text} " if text else ""
    why = ": only 200 counts as success, so it will be called again" if 200 < status < 300 else ""
    return Answer(Result.UNKNOWN, f"{said}(status {status}{why})", http_status=status)


def kept_http_answer(status: int, body: bytes, charset: str = UTF_8) -> Answer:
    """Read an HTTP answer that is kept where it is success: in UTF-8, whatever it came in."""
    answer = http_answer(status, body, charset)
    if answer.result is not Result.SUCCESS:
        return answer
    return replace(answer, body=decoded(body, charset).encode(errors="replace"))


def kept_json_rpc_answer(status: int, body: bytes, charset: str = UTF_8) -> Answer:
    """Read a JSON-RPC answer whose `result` is kept where it is success."""
    answer = json_rpc_answer(status, body, charset)
    if answer.result is not Result.SUCCESS:
        return answer
    reply = json.loads(decoded(body, charset).removeprefix(_BYTE_ORDER_MARK))
    kept = json.dumps(reply.get("result"), ensure_ascii=False, separators=(",", ":"))
    return replace(answer, body=kept.encode(errors="replace"))


def named_failure(answer: Answer, statuses: Collection[int]) -> Answer:
    """The answer as FAILURE where its status is one that the client has named; else as it is."""
    if answer.result is Result.UNKNOWN and (answer.http_status or answer.grpc_status) in statuses:
        return replace(answer, result=Result.FAILURE, text=said(answer))
    return answer


def said(answer: Answer) -> str:
    """What the branch itself said, without what `http_answer` adds."""
    if answer.result is not Result.UNKNOWN or answer.http_status is None:
        return answer.text
    return _ADDED.sub("", answer.text)


def json_rpc_answer(status: int, body: bytes, charset: str = UTF_8) -> Answer:
    """Read a JSON-RPC answer: what HTTP says of it first, then its `error`. charset: as `http_answer`'s."""
    answer = http_answer(status, body, charset)
    if answer is not SUCCESS:
        return answer
    text = decoded(body, charset).removeprefix(_BYTE_ORDER_MARK).strip()
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict):
        return Answer(Result.UNKNOWN, f"{text} (this is no JSON-RPC answer)", http_status=status)
    error = reply.get("error")
    if error is None:
        return SUCCESS
    code = error.get("code") if isinstance(error, dict) else None
    known = isinstance(code, int | float | str)
    return Answer(_JSON_RPC_RESULTS.get(code, Result.UNKNOWN) if known else Result.UNKNOWN, text)


def grpc_answer(status: int, message: str, reply: bytes | None = None) -> Answer:
    """Read the status, one of gRPC's 17, that a call ended with. The text is its message.

    reply: the message that came, where it is kept.
    """
    if status == GRPC_OK:
        return Answer(Result.SUCCESS, grpc_status=GRPC_OK, body=reply)
    # Servers of before 1.10 say ONGOING with the code of FAILURE.
    if status == _GRPC_ONGOING or (status == _GRPC_FAILURE and message == ONGOING_WORD):
        return Answer(Result.ONGOING, message, status)
    if status == _GRPC_FAILURE:
        return Answer(Result.FAILURE, message, status)
    return Answer(Result.UNKNOWN, message or f"gRPC status {Status(status).name}", status)
