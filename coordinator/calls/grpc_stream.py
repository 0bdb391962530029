"""One unary gRPC call over grpclib's protocol. The reply is dropped: a branch says all by its status.

grpclib's own client serves any kind of call and costs more: it dispatches events, checks headers by regular
expressions, decodes metadata that nobody reads.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from grpclib.const import Status
from grpclib.exceptions import StreamTerminatedError
from grpclib.metadata import decode_grpc_message
from grpclib.protocol import Stream
from grpclib.utils import Wrapper
from h2.errors import ErrorCodes

from coordinator.calls.answers import GRPC_OK
from coordinator.calls.channels import BranchChannel
from coordinator.calls.grpc_connection import BranchProtocol, NotServed, ReplyTooLong, StreamReset
from coordinator.calls.header_block import HeaderBlock

_READ_BYTES: Final = 65_536
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


class CannotConnect(Exception):
    """No connection: nothing was sent, so another endpoint may be tried."""


class BrokenReply(Exception):
    """What came back is not a whole gRPC answer."""


class _CountingWrapper(Wrapper):
    """Counts how often it interrupted its task.

    When a connection breaks, grpclib cancels the tasks that wait for it and turns the CancelledError into an
    error of its own: the task still counts as cancelled, and a cancellation from outside just then is lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.interruptions = 0

    def cancel(self, error: Exception) -> None:
        """Interrupt the waiting task with the error."""
        self.interruptions += len(self._tasks)
        super().cancel(error)


class UnaryCall:
    """A call: `connect`, `finish`, and `release` whatever happens. The deadline is the caller's part."""

    def __init__(self, channel: BranchChannel) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._channel = channel
        self._task = task
        self._cancelling = task.cancelling()
        self._wrapper = _CountingWrapper()
        self._protocol: BranchProtocol | None = None
        self._was_used = False  # the connection, by calls that were answered
        self._stream: Stream | None = None
        self._release: Callable[[], None] | None = None

    async def connect(self, headers: HeaderBlock) -> None:
        """Connect unless the channel is connected, and send the headers.

        Raises CannotConnect: refused, unknown host, unreachable; NotServed when the connection was lost
        before the call could begin.
        """
        with self._wrapper:
            try:
                protocol = await self._channel.connected()
            except OSError as error:
                raise CannotConnect(error.strerror or str(error)) from error
            self._protocol, self._was_used = protocol, protocol.has_answered
            stream = protocol.processor.connection.create_stream(wrapper=self._wrapper)
            wire: list[tuple[str, str]] = [headers]  # type: ignore[list-item]  # h2 takes bytes as well
            self._release = await stream.send_request(wire, _processor=protocol.processor)
            self._stream = stream
            if protocol.is_lost:  # while this call waited for its turn
                raise NotServed("it was lost before the call began")

    async def finish(self, payload: bytes, reply_bytes_max: int) -> tuple[int, str]:
        """Send the message, drop the reply, return gRPC's status and its text.

        Raises BrokenReply, ReplyTooLong, and of grpclib StreamTerminatedError when the connection breaks.
        """
        stream = self._stream
        assert stream is not None, "connect first"
        try:
            with self._wrapper:
                await stream.send_data(b"\0" + len(payload).to_bytes(4, "big") + payload, end_stream=True)
                status = _early_status(dict(await stream.recv_headers()))
                if status is None:
                    status = await _status_after_message(stream, reply_bytes_max)
        except StreamTerminatedError:
            status = _early_status(dict(stream.headers or ()))
            if stream.trailers is not None:
                status = _status(dict(stream.trailers))
            if status is None:
                raise  # else all was said before the stream ended
        if self._protocol is not None:
            self._protocol.has_answered = True
        return status

    def may_repeat(self, error: StreamTerminatedError) -> bool:
        """True when nothing of an answer came and the branch need not have seen the call.

        So it is with a connection that served other calls and was closed by its server just then.
        """
        if isinstance(error, NotServed):
            return True
        stream = self._stream
        is_silent = stream is None or (stream.headers is None and not stream.data_received)
        return self._was_used and is_silent and not isinstance(error, StreamReset)

    def release(self) -> None:
        """End the call. Raises CancelledError if a cancellation of the task got lost on the way."""
        if self._stream is not None and self._release is not None:
            if self._stream.closable:
                self._stream.reset_nowait(ErrorCodes.CANCEL)
            self._release()
        interruptions = self._wrapper.interruptions
        if interruptions:
            for _ in range(interruptions):
                self._task.uncancel()
            if self._task.cancelling() > self._cancelling:
                raise asyncio.CancelledError


async def _status_after_message(stream: Stream, bytes_max: int) -> tuple[int, str]:
    """Drop the message and read what follows it. A status that came whole counts after half a message too."""
    try:
        await _drop_message(stream, bytes_max)
    except BrokenReply:
        status = _status(dict(stream.trailers)) if stream.trailers is not None else None
        if status is None or status[0] == GRPC_OK:
            raise
        return status
    return _status(dict(await stream.recv_trailers()))


async def _drop_message(stream: Stream, bytes_max: int) -> None:
    try:
        left = int.from_bytes((await stream.recv_data(_PREFIX_BYTES))[1:], "big")
        if left > bytes_max:
            raise ReplyTooLong(f"the reply has {left} bytes; at most {bytes_max} are taken")
        while left > 0:
            left -= len(await stream.recv_data(min(left, _READ_BYTES)))
    except AssertionError as error:  # grpclib's way to say that less came than was announced
        raise BrokenReply(f"the reply broke off ({error})") from error


def _early_status(headers: dict[str, str]) -> tuple[int, str] | None:
    """The status of a call that ends with its first headers; None when a message and trailers follow."""
    if "grpc-status" in headers:
        return _status(headers)
    http = headers.get(":status", "200")
    if http != "200":
        return _HTTP_STATUSES.get(http, Status.UNKNOWN).value, f"HTTP status {http} instead of a gRPC answer"
    return None


def _status(trailers: dict[str, str]) -> tuple[int, str]:
    written = trailers.get("grpc-status", "")
    try:
        status = Status(int(written)).value
    except ValueError:
        raise BrokenReply(f"its gRPC status is {written!r}") from None
    message = trailers.get("grpc-message")
    return status, _decoded(message) if message else ""


def _decoded(message: str) -> str:
    if not message.isascii():  # UTF-8 that should have been percent-encoded; see BranchChannel
        message = message.encode("latin-1").decode(errors="replace")
    return decode_grpc_message(message)
