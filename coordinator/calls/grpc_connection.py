"""One HTTP/2 connection to a gRPC branch, shared by many calls: what goes wrong with one leaves the others.

grpclib and h2 end a connection for headers beyond 64 KiB, for a frame that they do not know, and with it all
its calls when the server says that it takes no further ones (GOAWAY). A connection here goes on until its
calls are done, and says of each call that it breaks whether the branch may have begun to answer it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from grpclib.client import Handler
from grpclib.config import Configuration
from grpclib.exceptions import StreamTerminatedError
from grpclib.protocol import EventsProcessor, H2Protocol, Stream
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event
from h2.events import StreamReset as StreamResetEvent
from h2.exceptions import DenialOfServiceError, ProtocolError
from h2.frame_buffer import FrameBuffer
from h2.settings import SettingCodes
from hyperframe.frame import ContinuationFrame, Frame, GoAwayFrame, HeadersFrame

from coordinator.calls.header_block import BlockEncoder

HEADERS_BYTES_MAX: Final = 2 << 20  # of an answer's headers, or its trailers
_FRAMES_MAX: Final = 512  # that headers may come in; h2 takes 64 and, by recursion, not quite 1000


class ReplyTooLong(Exception):
    """The reply has more bytes than are taken."""


class NotServed(StreamTerminatedError):
    """The server has not looked at the call, or another call is to blame for its end: it may be repeated."""


class StreamReset(StreamTerminatedError):
    """The server broke off this call, and no other."""


class _TooManyHeaders(ProtocolError):
    """A call's headers are beyond HEADERS_BYTES_MAX; what else is to come cannot be read then."""

    def __init__(self, stream_id: int) -> None:
        super().__init__(f"headers of more than {HEADERS_BYTES_MAX} bytes")
        self.stream_id = stream_id


class _Frames(FrameBuffer):
    """Bounds headers by their bytes."""

    _bytes = 0  # of the headers that have begun

    def _update_header_buffer(self, f: Frame | None) -> Frame | None:
        begun = self._headers_buffer
        if not begun or not isinstance(f, ContinuationFrame) or f.stream_id != begun[0].stream_id:
            return super()._update_header_buffer(f)
        begun.append(f)
        self._bytes = len(f.data) + (self._bytes if len(begun) > 2 else len(begun[0].data))
        if self._bytes > HEADERS_BYTES_MAX or len(begun) > _FRAMES_MAX:
            raise _TooManyHeaders(f.stream_id)
        if "END_HEADERS" not in f.flags:
            return None
        whole = begun[0]
        whole.flags.add("END_HEADERS")
        whole.data = b"".join(part.data for part in begun)
        self._headers_buffer = []
        return whole


class BranchProcessor(EventsProcessor):
    """Hands what came to the calls."""

    is_leaving = False  # the server takes no further calls

    def process(self, event: Event) -> None:
        """Handle an event; those that grpclib has no use for (1xx answers, unknown frames) change nothing."""
        processors = self.__dict__.get("processors")  # none once it is closed
        if processors is not None and (handle := processors.get(event.__class__)) is not None:
            handle(event)

    def process_connection_terminated(self, event: ConnectionTerminated) -> None:
        """The server finishes the calls up to a number, and has not looked at those after it."""
        self.is_leaving = True
        self.handler.close()  # the next call makes a connection of its own
        self.connection.stream_close_waiter.set()  # who waits to begin on this one need not
        last = event.last_stream_id or 0
        for stream in [each for number, each in self.streams.items() if number > last]:
            _terminate(stream, NotServed(f"the server is leaving (GOAWAY, {event.error_code!r})"))
        self.close_when_done()

    def process_stream_reset(self, event: StreamResetEvent) -> None:
        """The server breaks off one call."""
        stream = self.streams.get(event.stream_id or 0)
        if stream is not None:
            kind = NotServed if event.error_code == ErrorCodes.REFUSED_STREAM else StreamReset
            _terminate(stream, kind(f"the server broke off the call ({event.error_code!r})"))
        self.connection.streams_failed += 1

    def close_when_done(self) -> None:
        """Close a connection that the server is leaving, once its last call is done."""
        if self.is_leaving and not self.streams:
            self.close()

    def register(self, stream: Stream) -> Callable[[], None]:
        """Add a call; returns what ends it."""
        release = super().register(stream)

        def released() -> None:
            release()
            self.close_when_done()

        return released

    def fail(self, error: ProtocolError) -> None:
        """End all: what came cannot be read. Where one call is to blame, the others may be repeated."""
        if isinstance(error, _TooManyHeaders):
            for number, stream in self.streams.items():
                if number == error.stream_id:
                    _terminate(stream, ReplyTooLong(f"its answer has {error}"))
                else:
                    _terminate(stream, NotServed(f"another call's answer has {error}"))
        self.close(f"protocol error: {error}")


class BranchProtocol(H2Protocol):
    """A connection. It knows whether a call was answered over it, ever."""

    processor: BranchProcessor
    has_answered = False

    def __init__(self, config: Configuration, h2_config: H2Configuration) -> None:
        super().__init__(Handler(), config, h2_config)

    @property
    def is_lost(self) -> bool:
        """True when no call can begin any more."""
        return cast(Handler, self.handler).connection_lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what is taken."""
        super().connection_made(transport)
        wire = self.connection._connection
        wire.incoming_buffer = _frames_after(wire.incoming_buffer)
        wire.decoder.max_header_list_size = HEADERS_BYTES_MAX
        wire.update_settings({SettingCodes.MAX_HEADER_LIST_SIZE: HEADERS_BYTES_MAX})
        wire.encoder = BlockEncoder(wire.encoder)  # type: ignore[assignment]  # all that h2 uses of one
        table = cast("dict[type[Frame], Callable[[Any], Any]]", wire._frame_dispatch_table)
        table[HeadersFrame] = _blaming(table[HeadersFrame])
        table[GoAwayFrame] = _leaving
        self.connection.flush()
        self.processor = BranchProcessor(self.handler, self.connection)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        try:
            events = self.connection.feed(data)
        except ProtocolError as error:
            self.processor.fail(error)
            return
        self.connection.flush()
        for event in events:
            self.processor.process(event)
        self.connection.flush()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is closed."""
        super().connection_lost(exc)
        self.connection.resume_writing()  # who waits to write learns of it
        self.connection.stream_close_waiter.set()


def _terminate(stream: Stream, error: Exception) -> None:
    if stream.wrapper is not None:
        stream.wrapper.cancel(error)
        stream.wrapper = None  # what happens to the connection after that is not why it ended


def _frames_after(replaced: FrameBuffer) -> FrameBuffer:
    frames = _Frames()
    frames.max_frame_size = replaced.max_frame_size
    return frames


def _blaming(receive: Callable[[HeadersFrame], Any]) -> Callable[[HeadersFrame], Any]:
    def received(frame: HeadersFrame) -> Any:
        try:
            return receive(frame)
        except DenialOfServiceError as error:
            raise _TooManyHeaders(frame.stream_id) from error

    return received


def _leaving(frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
    # h2's own would take nothing further on this connection, though the answers to some calls are to come.
    event = ConnectionTerminated()
    try:
        event.error_code = ErrorCodes(frame.error_code)
    except ValueError:
        event.error_code = frame.error_code
    event.last_stream_id = frame.last_stream_id
    event.additional_data = frame.additional_data or None
    return [], [event]
