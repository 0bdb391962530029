"""What the headers of a gRPC call say, or why it cannot be made. Pure."""

import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grpclib.const import Status
from grpclib.metadata import decode_bin_value, decode_timeout

from coordinator.api.grpc_answers import refusal, refusal_of_http
from coordinator.http2.decoder import Field
from coordinator.http2.frames import Code

CREDENTIAL: Final = "authorization"
_SHORT_SECONDS: Final = 0.001  # a deadline that has passed before the call begins
_TIMEOUT_CHARACTERS_MAX: Final = 9  # eight digits and a unit
_FIELD_BYTES: Final = 128  # what a header takes in memory beside its own bytes
_GRPC: Final = b"application/grpc"
_MESSAGES_OF_GRPC: Final = frozenset({_GRPC, _GRPC + b"+proto"})
_NEEDED: Final = {b":method", b":scheme", b":path"}
_KNOWN: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
_OF_HTTP_1: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)


@dataclass(frozen=True, slots=True)
class Head:
    """size: bytes that it takes in memory. timeout: seconds that the client waits; None: it does not say.

    refusal: the header block that answers the call where it cannot be made; empty where it can.
    code: what the stream of such a call ends with.
    """

    path: str = ""
    timeout: float | None = None
    size: int = 0
    metadata: Sequence[tuple[str, str]] = ()
    refusal: bytes = b""
    code: Code = Code.NO_ERROR

    @property
    def credentials(self) -> Sequence[str]:
        """Every value of `authorization`."""
        return [value for name, value in self.metadata if name == CREDENTIAL]

    def by_name(self) -> Mapping[str, str]:
        """The metadata; of a name that comes again, the first value."""
        return dict(reversed(self.metadata))


def read_head(fields: Sequence[Field]) -> Head:
    """What a call's headers say; as what its first mistake says, where there is one."""
    size = 0
    known: dict[bytes, bytes] = {}
    metadata: list[tuple[str, str]] = []
    timeout: float | None = None
    has_others = False
    for name, value in fields:
        size += _FIELD_BYTES + len(name) + len(value)
        try:
            if not (name.isascii() and value.isascii()):
                raise _Wrong(f"the metadata {_shown(name)} has a byte that is not ASCII")
            if name[:1] == b":":
                _take_pseudo(known, name, value, is_late=has_others)
                continue
            has_others = True
            if name in (b"te", b"content-type"):
                known[name] = value
                continue
            if name == b"grpc-timeout":
                seconds = _seconds(value.decode())
                timeout = seconds if timeout is None else min(seconds, timeout)
                continue
            _check(name, value)
        except _Wrong as wrong:
            return Head(refusal=refusal(wrong.status, str(wrong)), code=wrong.code)
        metadata.append((name.decode(), value.decode()))
    if not (known.keys() >= _NEEDED and known[b":path"]):
        sentence = "the call names no method, path or scheme"
        return Head(refusal=refusal(Status.INVALID_ARGUMENT, sentence), code=Code.PROTOCOL_ERROR)
    return Head(known[b":path"].decode(), timeout, size, metadata, _no_call(known))


class _Wrong(Exception):
    def __init__(
        self, sentence: str, status: Status = Status.INVALID_ARGUMENT, code: Code = Code.NO_ERROR
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


def _malformed(sentence: str) -> _Wrong:
    """What no HTTP/2 request may have (RFC 9113 §8.2, 8.3)."""
    return _Wrong(sentence, code=Code.PROTOCOL_ERROR)


def _take_pseudo(known: dict[bytes, bytes], name: bytes, value: bytes, *, is_late: bool) -> None:
    if name not in _KNOWN or name in known or is_late:
        raise _malformed(f"the header {_shown(name)} is unknown, comes twice or comes too late")
    known[name] = value


def _check(name: bytes, value: bytes) -> None:
    if name.endswith(b"-bin"):
        try:
            decode_bin_value(value)
        except binascii.Error:
            raise _Wrong(f"the metadata {_shown(name)} is not base64") from None
    if not name or name in _OF_HTTP_1 or name.lower() != name:
        raise _malformed(f"the metadata {_shown(name)} is of HTTP/1, or has no or a capital letter")


def _seconds(value: str) -> float:
    try:
        if len(value) > _TIMEOUT_CHARACTERS_MAX:
            raise ValueError
        seconds = float(decode_timeout(value))
    except ValueError:
        raise _Wrong(f"grpc-timeout is no time-out: {value[:20]!a}") from None
    if seconds < _SHORT_SECONDS:
        raise _Wrong(f"the deadline of grpc-timeout {value} has passed", Status.DEADLINE_EXCEEDED)
    return seconds


def _no_call(known: Mapping[bytes, bytes]) -> bytes:
    """What answers where this is no gRPC call; empty where it is one."""
    if known[b":method"] != b"POST":
        return refusal_of_http(405)
    kind = known.get(b"content-type")
    if kind is None:
        return refusal_of_http(415, "Missing content-type header")
    if kind.partition(b";")[0].rstrip() not in _MESSAGES_OF_GRPC:
        return refusal_of_http(415, "Unacceptable content-type header")
    if known.get(b"te") != b"trailers":
        return refusal_of_http(400, 'Required "te: trailers" header is missing')
    return b""


def _shown(name: bytes) -> str:
    return ascii(name.decode("latin-1"))
