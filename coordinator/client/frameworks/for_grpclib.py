"""Branches on grpclib: what coordinators send is taken, errors become answers (PROTOCOL §2, §10)."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from grpclib.const import Cardinality, Status
from grpclib.const import Handler as MethodHandler
from grpclib.encoding.base import GRPC_CONTENT_TYPE
from grpclib.events import RecvRequest, listen
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol
from grpclib.protocol import Stream as ProtocolStream
from grpclib.server import Handler, Server, Stream

from coordinator.client.errors import DtmError, InvalidUse, NoBranchContext
from coordinator.client.frameworks.request import branch_of
from coordinator.client.transport.context import BranchContext, as_current
from coordinator.proto.grpc_message import shortened

if TYPE_CHECKING:
    from grpclib._typing import IServable, IServerMethodFunc

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024

_ACCEPTED_CONTENT_TYPES: Final = frozenset(
    {f"{GRPC_CONTENT_TYPE}+dtm_raw", f"{GRPC_CONTENT_TYPE}+proto", GRPC_CONTENT_TYPE}
)


class BranchServer(Server):
    """A grpclib server for services whose methods are branches (PROTOCOL §2, §10).

    Takes the content type `application/grpc+dtm_raw`, which the Go coordinator sends, beside gRPC's own.
    `current_branch()` works in the methods; Failure answers Aborted, Ongoing FailedPrecondition, a missing
    context InvalidArgument and any other DtmError Internal (asked again). message_bytes_max: larger requests
    are refused before they are read (grpclib itself knows no bound).

    Example:
        server = BranchServer([UserService()])
        await server.start("127.0.0.1", 8080)
        ...
        await server.stop(grace=5)
    """

    def __init__(
        self, services: "Collection[IServable]", *, message_bytes_max: int = MESSAGE_BYTES_MAX
    ) -> None:
        super().__init__(services)
        self._message_bytes_max = message_bytes_max
        self._stopping = False
        self._running_calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._connections: WeakSet[H2Protocol] = WeakSet()
        listen(self, RecvRequest, self._on_request)

    @property
    def port(self) -> int:
        """The port listened on, also after `start` with port 0; before it, raises RuntimeError."""
        sockets = getattr(self._server, "sockets", ())  # asyncio's server and uvloop's alike
        if not sockets:
            raise RuntimeError("the server is not started")
        return int(sockets[0].getsockname()[1])

    async def stop(self, *, grace: float) -> None:
        """Stop listening, refuse new calls, wait `grace` seconds for running ones, cancel the rest."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            pass  # close() below cancels them; the coordinator asks again
        self.close()
        for connection in self._connections:
            # From Python 3.12 on wait_closed() waits for the connections too, and clients keep theirs.
            if hasattr(connection, "processor"):
                connection.processor.close("the server has stopped")
        await self.wait_closed()

    def _protocol_factory(self) -> H2Protocol:
        # As the parent does it, with our handler in the place of its own.
        protocol = super()._protocol_factory()
        handler = _BranchHandler(
            self._mapping, self._codec, self._status_details_codec, self.__dispatch__, self._message_bytes_max
        )
        assert isinstance(protocol.handler, Handler)
        self._handlers.discard(protocol.handler)
        self._handlers.add(handler)
        protocol.handler = handler
        self._connections.add(protocol)
        return protocol

    async def _on_request(self, event: RecvRequest) -> None:
        if self._stopping:
            raise GRPCError(Status.UNAVAILABLE, "this server is stopping")
        event.method_func = self._guarded(event.method_func, _branch_or_error(event))

    def _guarded(
        self, method: "IServerMethodFunc", branch: BranchContext | NoBranchContext
    ) -> "IServerMethodFunc":
        async def guarded(stream: Stream[Any, Any]) -> None:
            self._running_calls += 1
            self._idle.clear()
            try:
                with as_current(branch):
                    await method(stream)
            except DtmError as error:
                raise GRPCError(Status(error.grpc_status), shortened(error.told)) from error
            finally:
                self._running_calls -= 1
                if self._running_calls == 0:
                    self._idle.set()

        return guarded


class _RawMessage:
    """Bytes as grpclib's codec hands messages out: the handler sees what came over the wire."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def SerializeToString(self) -> bytes:
        return self.data

    @classmethod
    def FromString(cls, data: bytes) -> "_RawMessage":
        return cls(data)


class _OneMethod:
    """A service of one method whose messages are plain bytes."""

    def __init__(self, path: str, answer: Callable[[BranchContext, bytes], Awaitable[bytes]]) -> None:
        self._path = path
        self._answer = answer

    def __mapping__(self) -> dict[str, Any]:
        return {self._path: MethodHandler(self._handle, Cardinality.UNARY_UNARY, _RawMessage, _RawMessage)}

    async def _handle(self, stream: Stream[Any, Any]) -> None:
        message = await stream.recv_message()
        branch = branch_of(stream)
        await stream.send_message(_RawMessage(await self._answer(branch, message.data if message else b"")))


def branch_method(path: str, answer: Callable[[BranchContext, bytes], Awaitable[bytes]]) -> "IServable":
    """Return a service of one method for `BranchServer`, without generated code (PROTOCOL §2, §10).

    path: `/package.Service/Method`. answer: gets the context and the message's bytes, returns those of the
    reply; its DtmErrors become answers. Raises InvalidUse for another form of path.

    Example:
        async def withdraw(branch: BranchContext, body: bytes) -> bytes:
            async with barrier(branch, connection) as transaction:
                ...
            return b""

        BranchServer([branch_method("/bank.Bank/Withdraw", withdraw)])
    """
    check_method_path(path)
    return _OneMethod(path, answer)


def check_method_path(path: str) -> None:
    """Raise InvalidUse unless it is written as gRPC does, `/package.Service/Method`."""
    if not path.startswith("/") or path.count("/") != 2:
        raise InvalidUse(f"path {path!r}: write /package.Service/Method")


class _BranchHandler(Handler):
    """Looks at a request before grpclib does: its content type, and later the size of its message."""

    def __init__(
        self, mapping: Any, codec: Any, details_codec: Any, dispatch: Any, message_bytes_max: int
    ) -> None:
        super().__init__(mapping, codec, details_codec, dispatch)
        self._message_bytes_max = message_bytes_max

    def accept(
        self, stream: ProtocolStream, headers: list[tuple[str, str]], release_stream: Callable[[], Any]
    ) -> None:
        # On this one stream: grpclib asks it for the bytes of a message after having read how many they are.
        setattr(stream, "recv_data", _bounded(stream.recv_data, self._message_bytes_max))  # noqa: B010 - mypy
        super().accept(stream, [_as_plain_grpc(header) for header in headers], release_stream)


def _as_plain_grpc(header: tuple[str, str]) -> tuple[str, str]:
    # grpclib compares the content type to its codec's own and refuses the rest; the message is the same.
    name, value = header
    if name == "content-type" and value.partition(";")[0].strip() in _ACCEPTED_CONTENT_TYPES:
        return (name, GRPC_CONTENT_TYPE)
    return (name, value)


def _bounded(
    receive: Callable[[int], Coroutine[Any, Any, bytes]], message_bytes_max: int
) -> Callable[[int], Coroutine[Any, Any, bytes]]:
    async def bounded(size: int) -> bytes:
        if size > message_bytes_max:
            raise GRPCError(
                Status.RESOURCE_EXHAUSTED, f"message of {size} bytes, this server takes {message_bytes_max}"
            )
        return await receive(size)

    return bounded


def _branch_or_error(event: RecvRequest) -> BranchContext | NoBranchContext:
    try:
        return BranchContext.from_metadata(event.metadata)
    except NoBranchContext as error:
        return error
