"""One gRPC connection: what it may cost is bounded, and what a turn of the loop writes leaves together."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from grpclib.protocol import H2Protocol
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from coordinator.api.grpc_frames import Balance, Frames

# A call that waits for its saga keeps a stream open; h2's own 100 would make one client queue behind itself.
STREAMS_MAX: Final = 1000  # a connection
SILENT_SECONDS_MAX: Final = 30.0  # of a new connection: a client that speaks HTTP/2 begins at once
METADATA_BYTES_MAX: Final = 256 * 1024  # of a call, as HTTP/2 counts them
_FRAMES_A_TURN: Final = 32  # of one connection, before others have their turn


class Connection(asyncio.Protocol):
    """Stands between the socket and grpclib's protocol.

    Feeds it some frames at a time, and says goodbye to a client that costs more than it brings.
    """

    def __init__(
        self,
        make: Callable[[Callable[[], None]], H2Protocol],
        connections: "dict[Connection, None]",
        joined: "Callable[[Connection], None]",
    ) -> None:
        """make: grpclib's protocol; it is handed what to call for each call that was one.

        connections: the open ones. joined: called when this one is among them.
        """
        self._balance = Balance(asyncio.get_running_loop().time())
        self._inner = make(self._balance.answered)
        self._connections = connections
        self._joined = joined
        self._frames = Frames()
        self._paid = 0
        self._waiting = b""  # read, and not yet looked at
        self._transport: asyncio.Transport | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.writing_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is there; tell it what it may do."""
        inner = self._inner
        self._transport = cast(asyncio.Transport, transport)
        inner.connection_made(GatheringTransport(self._transport))
        h2 = inner.connection._connection
        h2.update_settings(
            {
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
                SettingCodes.MAX_HEADER_LIST_SIZE: METADATA_BYTES_MAX,
            }
        )
        h2.decoder.max_header_list_size = METADATA_BYTES_MAX  # at once: a client need not wait for its answer
        inner.connection.flush()
        self._connections[self] = None
        self._silence = self._loop.call_later(SILENT_SECONDS_MAX, self._close_if_silent)
        self._joined(self)

    @property
    def transport(self) -> asyncio.Transport:
        """The socket's."""
        assert self._transport is not None, "connected"
        return self._transport

    @property
    def is_silent(self) -> bool:
        """Whether the client has not begun to speak; h2 alone knows whether its preface has come."""
        return bool(self._inner.connection._connection.incoming_buffer._preamble_len)

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way."""
        return not self._inner.processor.streams

    def _close_if_silent(self) -> None:
        # A connection that waits for calls has sent its preface.
        if self._transport is not None and self.is_silent:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._silence is not None:
            self._silence.cancel()
        self._connections.pop(self, None)
        self._waiting = b""
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Look at some frames now, at the others in turns of the loop of their own."""
        if self._waiting:
            self._waiting += data
        else:
            self._take(data)

    def _take_more(self) -> None:
        data, self._waiting = self._waiting, b""
        self._take(data)
        self._read_or_not()

    def _take(self, data: bytes) -> None:
        end = self._frames.cut(data, 0, _FRAMES_A_TURN)
        self._feed(data if end == len(data) else data[:end])
        cost, self._paid = self._frames.cost - self._paid, self._frames.cost
        if self._inner.connection.is_closing():
            return
        if cost and not self._balance.pay(cost, self._loop.time()):
            self.say_goodbye(ErrorCodes.ENHANCE_YOUR_CALM)
        elif end < len(data):
            self._waiting = data[end:]
            self._loop.call_soon(self._take_more)
            self._read_or_not()

    def _feed(self, data: bytes) -> None:
        connection, processor = self._inner.connection, self._inner.processor
        if connection.is_closing():
            return
        try:
            events = connection.feed(data)
        except ProtocolError:
            connection.flush()  # the GOAWAY that says why
            processor.close("Protocol error")
            return
        connection.flush()
        for event in events:
            # What grpclib knows nothing of, as frames of unknown types, HTTP/2 wants to be ignored.
            if event.__class__ in getattr(processor, "processors", ()):
                processor.process(event)
        connection.flush()

    def pause_writing(self) -> None:
        """The client does not read: take no more from it, else what it must be answered fills the memory.

        A PING is answered at once whatever waits to be sent.
        """
        self.writing_paused = True
        self._inner.pause_writing()
        self._read_or_not()

    def resume_writing(self) -> None:
        """It reads again."""
        self.writing_paused = False
        self._inner.resume_writing()
        self._read_or_not()

    def _read_or_not(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self.writing_paused or self._waiting:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def say_goodbye(self, why: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Send GOAWAY, so that the client connects elsewhere without an error, and close."""
        connection = self._inner.connection
        if not connection.is_closing():
            connection._connection.close_connection(error_code=why)
            connection.flush()
            self._inner.processor.close("Connection closed")


class GatheringTransport(asyncio.Transport):
    """A transport that writes once per turn of the event loop.

    grpclib writes a call's answer in three pieces and acknowledges its request in a fourth, each a system
    call; gathered, the answers to several calls of one client leave together.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._pieces: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take in what is to be sent at the end of this turn."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(bytes(data))

    def close(self) -> None:
        """Send what was taken in, then close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._pieces.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or being closed."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the connection."""
        return self._transport.get_extra_info(name, default)

    def _flush(self) -> None:
        pieces = self._pieces
        if pieces:
            self._pieces = []
            if not self._transport.is_closing():
                self._transport.write(b"".join(pieces))
