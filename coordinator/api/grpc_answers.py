"""Answers to gRPC calls, as bytes; what most of them have in common is encoded once. Pure."""

from collections.abc import Mapping
from typing import Final

from grpclib.const import Status
from grpclib.metadata import encode_grpc_message

from coordinator.http2 import frames
from coordinator.http2.literals import literal
from coordinator.proto.grpc_message import shortened

_NOTHING: Final[Mapping[str, str]] = {}
_OK_OF_HTTP: Final = literal(b":status", b"200")

BEGIN: Final = _OK_OF_HTTP + literal(b"content-type", b"application/grpc+proto")  # an answer's headers
DONE: Final = literal(b"grpc-status", b"0")  # and, behind its messages, its trailers

_BEGIN_HEAD: Final = frames.head(frames.HEADERS, frames.END_HEADERS, len(BEGIN))
_DONE_HEAD: Final = frames.head(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, len(DONE))
PREFIX_BYTES: Final = 5  # of a message: compressed or not, its length


def prefixed(message: bytes) -> bytes:
    """The message as it travels."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def whole(number: int, message: bytes) -> bytes:
    """A successful answer from its first byte to its last. message: fits in a frame."""
    stream = frames.number(number)
    return b"".join(
        (
            _BEGIN_HEAD,
            stream,
            BEGIN,
            frames.head(frames.DATA, 0, PREFIX_BYTES + len(message)),
            stream,
            prefixed(message),
            _DONE_HEAD,
            stream,
            DONE,
        )
    )


def refusal(
    status: Status, message: str | None, metadata: Mapping[str, str] = _NOTHING, *, has_begun: bool = False
) -> bytes:
    """The header block that ends a call with this status. message: shortened to what a header may hold.

    metadata: goes with it; printable ASCII. has_begun: the headers are sent already.
    """
    block = b"" if has_begun else BEGIN
    block += literal(b"grpc-status", str(status.value).encode())
    if message is not None:
        block += literal(b"grpc-message", encode_grpc_message(shortened(message)).encode())
    return block + b"".join([literal(*(part.encode() for part in pair)) for pair in metadata.items()])


def refusal_of_http(http_status: int, message: str | None = None) -> bytes:
    """The header block of an answer to what is no gRPC call."""
    block = literal(b":status", str(http_status).encode())
    if message is None:
        return block
    return (
        block
        + literal(b"grpc-status", str(Status.UNKNOWN.value).encode())
        + literal(b"grpc-message", encode_grpc_message(message).encode())
    )
