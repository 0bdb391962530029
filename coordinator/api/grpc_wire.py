"""What grpclib's server lacks: a bound on the size of messages, and one write where it makes four.

Everything that reaches into grpclib's inside is in this module.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from struct import Struct
from typing import Any, Final, cast

from google.protobuf.message import DecodeError
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol
from grpclib.server import Server, Stream

from coordinator.api.connections import connections_max
from coordinator.api.grpc_calls import Calls, Runner
from coordinator.api.grpc_connection import Connection
from coordinator.api.grpc_status import with_short_errors
from coordinator.api.room import Room

_PIECE_BYTES: Final = 64 * 1024  # of a longer message are made room for at a time
_PREFIX: Final = Struct(">?I")  # compressed?, length


class Encoded:
    """An encoded message, ready to be sent."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:
        """The bytes; grpclib asks for them."""
        return self._data


async def receive(stream: Stream[Any, Any], bytes_max: int, room: Room | None = None) -> bytes | None:
    """Receive one message as bytes; None at the end of the stream. The call holds them in the room.

    Raises Busy when there is no room; GRPCError RESOURCE_EXHAUSTED for one of more than `bytes_max` bytes,
    before it is read: what arrived of it is bounded by HTTP/2's flow control.
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
        if room is None or length <= _PIECE_BYTES:
            if room is not None:
                room.take(source, length)
            data: bytes = await source.recv_data(length)
        else:
            data = await _receive_long(source, length, room)
    except AssertionError as error:  # grpclib's way to say that the stream ended too early
        raise GRPCError(Status.INTERNAL, "the message is cut short") from error
    if len(data) != length:
        raise GRPCError(Status.INTERNAL, "the message is cut short")
    return data


async def _receive_long(source: Any, length: int, room: Room) -> bytes:
    data = bytearray()
    while wanted := min(length - len(data), _PIECE_BYTES):
        room.take(source, wanted, arriving=True)
        piece = await source.recv_data(wanted)
        if not piece:
            break
        data += piece
    return bytes(data)


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
    """grpclib's server, on connections that are bounded and write once per turn of the event loop."""

    def __init__(self, services: Sequence[Any], room: Room | None = None) -> None:
        """room: for metadata."""
        super().__init__(services)
        self._room = Room() if room is None else room
        # Any byte of metadata is to be read, so that the call is refused and not its connection.
        self._h2_config.header_encoding = "latin-1"
        self._run = Runner(
            _KnownMethods(self._mapping), self._codec, self._status_details_codec, self.__dispatch__
        )
        self._connections: dict[Connection, None] = {}  # the oldest first
        self._connections_max = connections_max()

    @property
    def port(self) -> int:
        """The port that was opened by `start`."""
        sockets: Any = cast(Any, self._server).sockets
        port: int = sockets[0].getsockname()[1]
        return port

    def transports(self) -> Iterable[tuple[asyncio.Transport, bool]]:
        """Every open transport, and whether writing to it is paused."""
        return ((connection.transport, connection.writing_paused) for connection in self._connections)

    def close(self) -> None:
        """Stop listening, cancel the calls under way, say goodbye to every client."""
        for connection in tuple(self._connections):
            connection.say_goodbye()
        super().close()

    def _protocol_factory(self) -> H2Protocol:
        # It is an asyncio protocol as create_server wants one; grpclib does nothing else with it.
        self.__gc_step__()
        return cast(H2Protocol, Connection(self._make, self._connections, self._keep_to_bound))

    def _keep_to_bound(self, newcomer: Connection) -> None:
        """With too many open, who has not spoken yet makes room, else who has no call, else the newcomer."""
        if len(self._connections) > self._connections_max:
            others = [connection for connection in self._connections if connection is not newcomer]
            silent = next((connection for connection in others if connection.is_silent), None)
            idle = silent or next((connection for connection in others if connection.is_idle), newcomer)
            idle.say_goodbye()

    def _make(self, brought: Callable[[], None]) -> H2Protocol:
        calls = Calls(self._run, self._room, brought)
        self._handlers.add(calls)  # type: ignore[arg-type]
        return H2Protocol(calls, self._config, self._h2_config)


class _KnownMethods(dict[str, Handler]):
    """Path → handler, with an answer for all other paths: grpclib's own has no content type, so that clients
    report the status as UNKNOWN.
    """

    def get(self, path: str, _default: Any = None) -> Handler:
        return super().get(path) or unary(_refuse_unknown)


async def _refuse_unknown(stream: Stream[Any, Any]) -> None:
    raise GRPCError(Status.UNIMPLEMENTED, f"unknown method {stream._method_name}")
