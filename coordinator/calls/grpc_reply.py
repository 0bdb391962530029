"""What comes back of one unary gRPC call. A branch says all by its status: few messages are kept. Pure."""

from collections.abc import Callable
from typing import Final

from grpclib.const import Status
from grpclib.metadata import decode_grpc_message

from coordinator.calls.answers import GRPC_OK

_PREFIX_BYTES: Final = 5  # of a message: compressed or not, four bytes of length
_HTTP_STATUSES: Final = {  # as gRPC's specification reads a proxy's answer
    "400": Status.INTERNAL,
    "401": Status.UNAUTHENTICATED,
    "403": Status.PERMISSION_DENIED,
    "404": Status.UNIMPLEMENTED,
    "429": Status.UNAVAILABLE,
    "502": Status.UNAVAILABLE,
    "503": Status.UNAVAILABLE,
    "504": Status.UNAVAILABLE,
}
GrpcStatus = tuple[int, str]  # the number, and the text that came with it


class Broke(Exception):
    """The call ended before its answer was whole."""


class NotServed(Broke):
    """The server has not looked at the call, or another call is to blame for its end: it may be repeated."""


class StreamReset(Broke):
    """The server broke off this call, and no other."""


class ReplyTooLong(Exception):
    """The reply has more bytes than are taken."""


class BrokenReply(Exception):
    """What came back is not a whole gRPC answer."""


class Reply:
    """Takes the parts of an answer as they come.

    bytes_max: of the message. done: called once, with the status or with what came instead. keeps_bytes: how
    much of the message is kept.
    """

    def __init__(
        self, bytes_max: int, done: Callable[[GrpcStatus | Exception], None], keeps_bytes: int = 0
    ) -> None:
        self.has_begun = False  # something of it came, or the server has shown that it has the call
        self.has_ended = False  # nothing more will come
        self.is_done = False
        self.window_used = 0  # bytes that came, since the server was last told that they are taken
        self._bytes_max = bytes_max
        self._done = done
        self._kept_max = _PREFIX_BYTES + keeps_bytes if keeps_bytes else 0
        self._kept = bytearray()  # the prefix included
        self._has_headers = False
        self._prefix = b""
        self._taken = 0  # bytes of the message, its prefix included
        self._size = -1  # how many there will be; -1: nobody has said yet

    def take_headers(self, headers: dict[str, str], *, ended: bool) -> None:
        """The headers, or behind the message the trailers."""
        self.has_begun, self.has_ended = True, ended
        if self._has_headers:
            self._take_trailers(headers)
            return
        if headers.get(":status", "").startswith("1") and not ended:
            return  # the answer is to come
        self._has_headers = True
        try:
            status = _early_status(headers)
        except BrokenReply as error:
            self._finish(error)
            return
        if status is not None:
            self._finish(status)
        elif ended:
            self._finish(self._broken_off())

    def take_data(self, data: bytes, *, ended: bool) -> None:
        """A part of the message."""
        self.has_begun, self.has_ended = True, ended
        if not self._has_headers:
            self._finish(BrokenReply("a message came before its headers"))
            return
        self._taken += len(data)
        if len(self._kept) < self._kept_max:
            self._kept += data[: self._kept_max - len(self._kept)]
        if self._size < 0:
            self._prefix += data[: _PREFIX_BYTES - len(self._prefix)]
            if len(self._prefix) == _PREFIX_BYTES:
                message = int.from_bytes(self._prefix[1:], "big")
                self._size = _PREFIX_BYTES + message
                if message > self._bytes_max:
                    text = f"the reply has {message} bytes; at most {self._bytes_max} are taken"
                    self._finish(ReplyTooLong(text))
                    return
        if ended:
            self._finish(BrokenReply("its gRPC status is ''") if self.is_whole else self._broken_off())

    def fail(self, error: Exception) -> None:
        """Nothing more will come."""
        self.has_ended = True
        self._finish(error)

    def _take_trailers(self, trailers: dict[str, str]) -> None:
        """A status that came whole counts after half a message too."""
        try:
            status = _status(trailers)
        except BrokenReply as error:
            self._finish(error if self.is_whole else self._broken_off())
            return
        self._finish(status if self.is_whole or status[0] != GRPC_OK else self._broken_off())

    @property
    def message(self) -> bytes | None:
        """What is kept of the message; None for one that is compressed, which nobody asked for."""
        return None if self._kept[:1] == b"\1" else bytes(self._kept[_PREFIX_BYTES : max(self._size, 0)])

    @property
    def is_whole(self) -> bool:
        """Whether all of the message came."""
        return 0 <= self._size <= self._taken

    def _broken_off(self) -> BrokenReply:
        if self._size < 0:
            return BrokenReply(f"the reply broke off ({self._taken} bytes came)")
        return BrokenReply(f"the reply broke off ({self._taken} of {self._size} bytes came)")

    def _finish(self, outcome: GrpcStatus | Exception) -> None:
        if not self.is_done:
            self.is_done = True
            self._done(outcome)


def _early_status(headers: dict[str, str]) -> GrpcStatus | None:
    """The status of a call that ends with its first headers; None when a message and trailers follow."""
    if "grpc-status" in headers:
        return _status(headers)
    http = headers.get(":status", "200")
    if http != "200":
        return _HTTP_STATUSES.get(http, Status.UNKNOWN).value, f"HTTP status {http} instead of a gRPC answer"
    return None


def _status(trailers: dict[str, str]) -> GrpcStatus:
    written = trailers.get("grpc-status", "")
    try:
        status = Status(int(written)).value
    except ValueError:
        raise BrokenReply(f"its gRPC status is {written!r}") from None
    message = trailers.get("grpc-message")
    return status, _decoded(message) if message else ""


def _decoded(message: str) -> str:
    if not message.isascii():  # UTF-8 that should have been percent-encoded, read as Latin-1
        message = message.encode("latin-1").decode(errors="replace")
    return decode_grpc_message(message)
