"""The gRPC API (PROTOCOL §4): service dtmgimp.Dtm, server reflection and grpc.health.v1."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from time import perf_counter
from typing import Any, Final, TypeVar

from grpclib.const import Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.reflection.service import ServerReflection
from grpclib.server import Stream

from coordinator.api.grpc_health import Health
from coordinator.api.grpc_messages import Messages
from coordinator.api.grpc_wire import Encoded, GatheringServer, Methods, bounded, receive, unary
from coordinator.api.room import BODY_BYTES_MAX, Room
from coordinator.calls.deadlines import Deadlines
from coordinator.errors import INTERNAL_ERROR, DtmError, NoResult
from coordinator.model import BranchRequest, TransactionRequest
from coordinator.service import Operations
from coordinator.telemetry.log import log
from coordinator.telemetry.metrics import Metrics
from coordinator.watching.readiness import Readiness
from coordinator.watching.tracing import OFF, Tracing

MESSAGE_SECONDS_MAX: Final = 30.0  # as long as an HTTP body may take
SERVICE: Final = "dtmgimp.Dtm"

_STATUSES: Final = {status.value: status for status in Status}
_BEFORE_GOODBYE_SECONDS: Final = 0.1
_STOPPING: Final = "the coordinator is stopping"

_TRACED: Final = frozenset({"Submit", "Prepare", "Abort", "RegisterBranch", "PrepareWorkflow"})

T = TypeVar("T")
R = TypeVar("R")
AboutT = TypeVar("AboutT", TransactionRequest, BranchRequest)

_Call = Callable[[Stream[Any, Any]], Awaitable[Encoded]]


class GrpcApi:
    """Decodes requests, asks the service, encodes its answers."""

    def __init__(
        self,
        operations: Operations,
        readiness: Readiness,
        metrics: Metrics,
        *,
        body_bytes_max: int = BODY_BYTES_MAX,
        tracing: Tracing = OFF,
        room: Room | None = None,
    ) -> None:
        """room: for the bytes of requests, shared with who else takes some; its own when None."""
        self._room = Room() if room is None else room
        self._tracing = tracing
        self._operations = operations
        self._readiness = readiness
        self._metrics = metrics
        self._body_bytes_max = body_bytes_max
        self._messages = Messages()
        self._empty = Encoded(b"")
        self._deadlines: Deadlines | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._calls = 0  # under way
        self._is_stopping = False
        self._idle = asyncio.Event()  # set when the last call ends while stopping

    def server(self) -> GatheringServer:
        """The grpclib server of this API, to be given to `start_grpc`. Needs a running loop."""
        self._deadlines = Deadlines()
        ours: Any = [self._dtm(), Health(self._readiness, [SERVICE])]
        dtm, *others = ServerReflection.extend(ours)  # which lists ours
        services = [dtm, *(bounded(other, self._body_bytes_max) for other in others)]
        return GatheringServer(services, self._room)

    async def drain(self, grace_seconds: float) -> None:
        """Refuse new calls from here on (UNAVAILABLE), and wait for those under way, at most this long."""
        self._is_stopping = True
        if self._calls:
            with contextlib.suppress(TimeoutError):  # what still runs is left to recovery
                await asyncio.wait_for(self._idle.wait(), grace_seconds)
        # A client that reads its answer in one piece with the goodbye loses it: grpclib's does.
        await asyncio.sleep(_BEFORE_GOODBYE_SECONDS)

    def _dtm(self) -> Methods:
        decode, asked = self._messages, self._operations
        request, branch_request = self._telling(decode.request), self._telling(decode.branch_request)
        calls: dict[str, _Call] = {
            "NewGid": self._new_gid,
            "Submit": self._call(request, asked.transactions.submit),
            "Prepare": self._call(request, asked.transactions.prepare),
            "Abort": self._call(request, asked.transactions.abort),
            "RegisterBranch": self._call(branch_request, asked.branches.register),
            "PrepareWorkflow": self._call(request, asked.workflows.prepare, decode.progresses),
            "Subscribe": self._call(decode.topic_request, lambda it: asked.topics.subscribe(*it)),
            "Unsubscribe": self._call(decode.topic_request, lambda it: asked.topics.unsubscribe(*it[:2])),
            "DeleteTopic": self._call(decode.topic_request, lambda it: asked.topics.delete(it[0])),
        }
        return Methods({f"/{SERVICE}/{name}": self._handler(name, call) for name, call in calls.items()})

    def _handler(self, name: str, call: _Call) -> Handler:
        meter = self._metrics.request("grpc", name)
        answer: _Call = partial(self._answer, name, call)
        if name in _TRACED:
            answer = self._tracing.grpc(f"/{SERVICE}/{name}", answer)

        async def handle(stream: Stream[Any, Any]) -> None:
            started = perf_counter()
            self._calls += 1
            ok = False
            try:
                reply = await answer(stream)
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
        except NoResult as error:
            raise GRPCError(
                _STATUSES[error.branch_grpc_status or error.grpc_status], error.message
            ) from error
        except DtmError as error:
            raise GRPCError(_STATUSES[error.grpc_status], error.message) from error
        except GRPCError:
            raise
        except Exception as error:
            # The edge: a fault of ours must be in the log, and must not look like an answer of the business.
            log.error("gRPC {} failed", name, exception=error)
            raise GRPCError(Status.INTERNAL, INTERNAL_ERROR) from error

    async def _receive(self, stream: Stream[Any, Any]) -> bytes | None:
        """Receive the message of a call; see `receive`. A client that opens a call owes it soon."""
        assert self._deadlines is not None, "made with the server"
        try:
            with self._deadlines.within(MESSAGE_SECONDS_MAX):
                return await receive(stream, self._body_bytes_max, self._room)
        except TimeoutError as error:
            sentence = f"the message did not arrive within {MESSAGE_SECONDS_MAX:.0f} seconds"
            raise GRPCError(Status.DEADLINE_EXCEEDED, sentence) from error

    async def _new_gid(self, stream: Stream[Any, Any]) -> Encoded:
        await self._receive(stream)
        return Encoded(self._messages.encode_gid(self._operations.transactions.new_gid()))

    def _call(
        self,
        decode: Callable[[bytes], T],
        operation: Callable[[T], Coroutine[Any, Any, R]],
        encode: Callable[[R], bytes] | None = None,
    ) -> _Call:
        """One method: what its message means, what is asked, and its reply (None: google.protobuf.Empty)."""

        async def call(stream: Stream[Any, Any]) -> Encoded:
            data = await self._receive(stream)
            if data is None:
                raise GRPCError(Status.INTERNAL, "the call has no message")
            result = await self._protected(operation(decode(data)))
            return self._empty if encode is None else Encoded(encode(result))

        return call

    def _telling(self, decode: Callable[[bytes], AboutT]) -> Callable[[bytes], AboutT]:
        """The decoder, which tells the trace what the request is about."""

        def decode_and_tell(data: bytes) -> AboutT:
            decoded = decode(data)
            self._tracing.about(decoded.gid, decoded.trans_type)
            return decoded

        return decode_and_tell

    async def _protected(self, operation: Coroutine[Any, Any, R]) -> R:
        """Await an operation that goes on when the client goes away or its deadline passes."""
        task = asyncio.create_task(operation)
        self._running.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._operation_ended)
        return await asyncio.shield(task)

    def _operation_ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # looked at here, because a client that went away does not
