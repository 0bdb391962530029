"""The gRPC API (PROTOCOL §4): service dtmgimp.Dtm, server reflection and grpc.health.v1."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from time import perf_counter
from typing import Any, Final

from grpclib.const import Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.reflection.service import ServerReflection
from grpclib.server import Stream
from loguru import logger

from coordinator.api.grpc_health import Health
from coordinator.api.grpc_messages import Messages
from coordinator.api.grpc_wire import Encoded, GatheringServer, Methods, bounded, receive, unary
from coordinator.api.ports import Operations, Readiness
from coordinator.errors import DtmError, Unsupported
from coordinator.model import TransactionRequest
from coordinator.telemetry.metrics import Metrics

BODY_BYTES_MAX: Final = 4 * 1024 * 1024
SERVICE: Final = "dtmgimp.Dtm"

_NOT_BUILT: Final = ("RegisterBranch", "PrepareWorkflow", "Subscribe", "Unsubscribe", "DeleteTopic")
_STATUSES: Final = {status.value: status for status in Status}
_INTERNAL_ERROR: Final = "internal error, the log of the coordinator says more"
_STOPPING: Final = "the coordinator is stopping"

_Call = Callable[[Stream[Any, Any]], Awaitable[Encoded]]


class GrpcApi:
    """Decodes requests, asks the service, encodes its answers."""

    def __init__(
        self,
        service: Operations,
        readiness: Readiness,
        metrics: Metrics,
        *,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        self._service = service
        self._readiness = readiness
        self._metrics = metrics
        self._body_bytes_max = body_bytes_max
        self._messages = Messages()
        self._empty = Encoded(b"")
        self._operations: set[asyncio.Task[None]] = set()
        self._calls = 0  # under way
        self._is_stopping = False
        self._idle = asyncio.Event()  # set when the last call ends while stopping

    def server(self) -> GatheringServer:
        """The grpclib server of this API, to be given to `start_grpc`. Needs a running loop."""
        ours: Any = [self._dtm(), Health(self._readiness, [SERVICE])]
        dtm, *others = ServerReflection.extend(ours)  # which lists ours
        return GatheringServer([dtm, *(bounded(other, self._body_bytes_max) for other in others)])

    async def drain(self, grace_seconds: float) -> None:
        """Refuse new calls from here on (UNAVAILABLE), and wait for those under way, at most this long."""
        self._is_stopping = True
        if self._calls:
            with contextlib.suppress(TimeoutError):  # what still runs is left to recovery
                await asyncio.wait_for(self._idle.wait(), grace_seconds)

    def _dtm(self) -> Methods:
        service = self._service
        calls: dict[str, _Call] = {
            "NewGid": self._new_gid,
            "Submit": self._transaction_call(service.submit),
            "Prepare": self._transaction_call(service.prepare),
            "Abort": self._transaction_call(service.abort),
        }
        calls |= {name: _unsupported(name) for name in _NOT_BUILT}
        return Methods({f"/{SERVICE}/{name}": self._handler(name, call) for name, call in calls.items()})

    def _handler(self, name: str, call: _Call) -> Handler:
        meter = self._metrics.request("grpc", name)

        async def handle(stream: Stream[Any, Any]) -> None:
            started = perf_counter()
            self._calls += 1
            ok = False
            try:
                reply = await self._answer(name, call, stream)
                ok = True
                await stream.send_message(reply)
                await stream.send_trailing_metadata()
            finally:
                self._calls -= 1
                if self._is_stopping and not self._calls:
                    self._idle.set()
                meter.done(ok, perf_counter() - started)

        return unary(handle)

    async def _answer(self, name: str, call: _Call, stream: Stream[Any, Any]) -> Encoded:
        """Make the call; whatever goes wrong becomes a GRPCError."""
        if self._is_stopping:
            raise GRPCError(Status.UNAVAILABLE, _STOPPING)
        try:
            return await call(stream)
        except DtmError as error:
            raise GRPCError(_STATUSES[error.grpc_status], error.message) from error
        except GRPCError:
            raise
        except Exception as error:
            # The edge: a fault of ours must be in the log, and must not look like an answer of the business.
            logger.opt(exception=error).error("gRPC {} failed", name)
            raise GRPCError(Status.INTERNAL, _INTERNAL_ERROR) from error

    async def _new_gid(self, stream: Stream[Any, Any]) -> Encoded:
        await receive(stream, self._body_bytes_max)
        return Encoded(self._messages.encode_gid(self._service.new_gid()))

    def _transaction_call(
        self, operation: Callable[[TransactionRequest], Coroutine[Any, Any, None]]
    ) -> _Call:
        async def call(stream: Stream[Any, Any]) -> Encoded:
            data = await receive(stream, self._body_bytes_max)
            if data is None:
                raise GRPCError(Status.INTERNAL, "the call has no message")
            await self._protected(operation(self._messages.decode_request(data)))
            return self._empty

        return call

    async def _protected(self, operation: Coroutine[Any, Any, None]) -> None:
        """Await an operation that goes on when the client goes away or its deadline passes."""
        task = asyncio.create_task(operation)
        self._operations.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._operation_ended)
        await asyncio.shield(task)

    def _operation_ended(self, task: asyncio.Task[None]) -> None:
        self._operations.discard(task)
        if not task.cancelled():
            task.exception()  # looked at here, because a client that went away does not


def _unsupported(name: str) -> _Call:
    async def call(_stream: Stream[Any, Any]) -> Encoded:
        raise Unsupported(f"{name} is not supported by this version")

    return call
