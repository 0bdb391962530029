"""What grpclib's server lacks: a bound on the size of messages, and one write where it makes four.

Everything that reaches into grpclib's inside is in this module.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from struct import Struct
from typing import Any, Final, cast

from google.protobuf.message import DecodeError
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol
from grpclib.server import Server, Stream
from h2.settings import SettingCodes

from coordinator.api.grpc_status import with_short_errors

# A call that waits for its saga keeps a stream open; h2's own 100 would make one client queue behind itself.
STREAMS_MAX: Final = 1000  # a connection
SILENT_SECONDS_MAX: Final = 30.0  # of a new connection: a client that speaks HTTP/2 begins at once
_PREFIX: Final = Struct(">?I")  # compressed?, length


class Encoded:
    """An encoded message, ready to be sent."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:
        """The bytes; grpclib asks for them."""
        return self._data


async def receive(stream: Stream[Any, Any], bytes_max: int) -> bytes | None:
    """Receive one message as bytes; None at the end of the stream.

    Raises GRPCError RESOURCE_EXHAUSTED for one of more than `bytes_max` bytes, before it is read: what
    arrived of it is bounded by HTTP/2's flow control.
    """
    source = stream._stream
    try:
        prefix = await source.recv_data(_PREFIX.size)
        if not prefix:
            return None
        compressed, length = _PREFIX.unpack(prefix)
        if compressed:
            raise GRPCError(Status.UNIMPLEMENTED, "compressed messages are not supported")
        if length > bytes_max:
            raise GRPCError(
                Status.RESOURCE_EXHAUSTED,
                f"the message must have at most {bytes_max} bytes, but has {length}",
            )
        data: bytes = await source.recv_data(length)
    except AssertionError as error:  # grpclib's way to say that the stream ended too early
        raise GRPCError(Status.INTERNAL, "the message is cut short") from error
    if len(data) != length:
        raise GRPCError(Status.INTERNAL, "the message is cut short")
    return data


class Methods:
    """The methods of a service, as grpclib's server wants them."""

    def __init__(self, methods: Mapping[str, Handler]) -> None:
        """`methods`: path (`/package.Service/Method`) → handler."""
        self._methods = methods

    def __mapping__(self) -> Mapping[str, Handler]:
        return self._methods


def unary(call: Any) -> Handler:
    """The handler of one method; `call` is a coroutine function: grpclib's stream → None, answering on it."""
    return Handler(with_short_errors(call), Cardinality.UNARY_UNARY, Encoded, Encoded)


def bounded(service: Any, bytes_max: int) -> Methods:
    """A service of grpclib's (reflection, health) that refuses messages of more than `bytes_max` bytes."""
    return Methods(
        {
            path: Handler(
                with_short_errors(partial(_call_bounded, handler.func, handler.request_type, bytes_max)),
                handler.cardinality,
                handler.request_type,
                handler.reply_type,
            )
            for path, handler in service.__mapping__().items()
        }
    )


async def _call_bounded(func: Any, request_type: Any, bytes_max: int, stream: Stream[Any, Any]) -> None:
    await func(_BoundedStream(stream, request_type, bytes_max))


class _BoundedStream:
    """A server stream whose messages are bounded; has what reflection and health use of one."""

    def __init__(self, stream: Stream[Any, Any], request_type: Any, bytes_max: int) -> None:
        self._stream = stream
        self._request_type = request_type
        self._bytes_max = bytes_max
        self.send_message = stream.send_message

    async def recv_message(self) -> Any:
        data = await receive(self._stream, self._bytes_max)
        try:
            return None if data is None else self._request_type.FromString(data)
        except DecodeError as error:
            raise GRPCError(Status.INTERNAL, f"the message cannot be decoded: {error}") from error

    def __aiter__(self) -> "_BoundedStream":
        return self

    async def __anext__(self) -> Any:
        message = await self.recv_message()
        if message is None:
            raise StopAsyncIteration
        return message


class GatheringServer(Server):
    """grpclib's server, on connections that gather what is written within one turn of the event loop."""

    def __init__(self, services: Sequence[Any]) -> None:
        super().__init__(services)
        self._mapping = _KnownMethods(self._mapping)
        self._connections: set[_GatheringProtocol] = set()

    @property
    def port(self) -> int:
        """The port that was opened by `start`."""
        sockets: Any = cast(Any, self._server).sockets
        port: int = sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening, cancel the calls under way, say goodbye to every client."""
        super().close()
        for connection in tuple(self._connections):
            connection.say_goodbye()

    def _protocol_factory(self) -> H2Protocol:
        # It is an asyncio protocol as create_server wants one; grpclib does nothing else with it.
        return cast(H2Protocol, _GatheringProtocol(super()._protocol_factory(), self._connections))


class _KnownMethods(dict[str, Handler]):
    """Path → handler, with an answer for all other paths: grpclib's own has no content type, so that clients
    report the status as UNKNOWN.
    """

    def get(self, path: str, _default: Any = None) -> Handler:
        return super().get(path) or unary(_refuse_unknown)


async def _refuse_unknown(stream: Stream[Any, Any]) -> None:
    raise GRPCError(Status.UNIMPLEMENTED, f"unknown method {stream._method_name}")


class _GatheringProtocol(asyncio.Protocol):
    """Puts a GatheringTransport between the socket and grpclib's protocol."""

    def __init__(self, inner: H2Protocol, connections: "set[_GatheringProtocol]") -> None:
        self._inner = inner
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._silence: asyncio.TimerHandle | None = None
        self.data_received = inner.data_received  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        inner = self._inner
        self._transport = cast(asyncio.Transport, transport)
        inner.connection_made(GatheringTransport(self._transport))
        inner.connection._connection.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_MAX})
        inner.connection.flush()
        self._connections.add(self)
        self._silence = asyncio.get_running_loop().call_later(SILENT_SECONDS_MAX, self._close_if_silent)

    def _close_if_silent(self) -> None:
        # h2 alone knows whether the client's preface has come; a connection that waits for calls has sent it.
        if self._transport is not None and self._inner.connection._connection.incoming_buffer._preamble_len:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._silence is not None:
            self._silence.cancel()
        self._connections.discard(self)
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read: take no more from it, else what it must be answered fills the memory.

        A PING is answered at once whatever waits to be sent.
        """
        self._inner.pause_writing()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._inner.resume_writing()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def say_goodbye(self) -> None:
        """Send GOAWAY, so that the client connects elsewhere without an error, and close."""
        connection = self._inner.connection
        if not connection.is_closing():
            connection._connection.close_connection()
            connection.flush()
            connection.close()


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
