"""The gRPC API (PROTOCOL §4): service dtmgimp.Dtm, server reflection and grpc.health.v1."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import tzinfo
from functools import partial
from time import perf_counter
from typing import Any, Final, TypeVar

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from coordinator.access.audit import Actor
from coordinator.access.gate import Door, Gate, check_gid
from coordinator.access.permissions import OPEN, Needs, Permission, Principal, changes, looks
from coordinator.api.grpc_bulk import bulk_methods
from coordinator.api.grpc_call import STATUSES, Answer, Call, Method, status_of
from coordinator.api.grpc_caller import entered, guarded
from coordinator.api.grpc_endpoints import endpoint_methods
from coordinator.api.grpc_health import HEALTH, Health
from coordinator.api.grpc_messages import Messages
from coordinator.api.grpc_operate import OPERATE_SERVICE, operate_methods
from coordinator.api.grpc_operator import OPERATOR, OperatorMethod, operator_methods
from coordinator.api.grpc_reflection import REFLECTIONS, reflection
from coordinator.api.grpc_server import GrpcServer
from coordinator.api.masking import progress_shown_to
from coordinator.api.pressing import Pressure, metadata_of, pressed
from coordinator.api.room import BODY_BYTES_MAX, Room
from coordinator.errors import INTERNAL_ERROR, DtmError, NoResult
from coordinator.model import BranchRequest, TransactionRequest
from coordinator.service import Operations
from coordinator.service.bulk import Asker
from coordinator.store.base import Stored
from coordinator.telemetry.log import log
from coordinator.telemetry.metrics import Metrics
from coordinator.watching.readiness import Readiness
from coordinator.watching.tracing import OFF, Tracing

SERVICE: Final = "dtmgimp.Dtm"
_OURS: Final = (SERVICE, OPERATOR, OPERATE_SERVICE)

_BEFORE_GOODBYE_SECONDS: Final = 0.1
_STOPPING: Final = "the coordinator is stopping"

_SUBMIT: Final = changes(Permission.SUBMIT)
_TOPICS: Final = changes(Permission.SUBMIT, Permission.TOPICS)
_REFLECTION: Final = looks(Permission.READ)
_OTHERS: Final = {  # by service
    HEALTH: OPEN,
    **dict.fromkeys(REFLECTIONS, _REFLECTION),
}

_TRACED: Final = frozenset({"Submit", "Prepare", "Abort", "RegisterBranch", "PrepareWorkflow"})

T = TypeVar("T")
R = TypeVar("R")
AboutT = TypeVar("AboutT", TransactionRequest, BranchRequest)

_Answered = Callable[[Call, Principal], Awaitable[bytes]]


class GrpcApi:
    """Decodes requests, asks the service, encodes its answers."""

    def __init__(
        self,
        operations: Operations,
        readiness: Readiness,
        metrics: Metrics,
        *,
        version: str,
        zone: tzinfo | None,
        body_bytes_max: int = BODY_BYTES_MAX,
        tracing: Tracing = OFF,
        room: Room | None = None,
        gate: Gate | None = None,
        serves: Callable[[Needs], bool] = lambda _: True,
        connections_at_most: int | None = None,
        pressure: Pressure | None = None,
    ) -> None:
        """version: told to who asks. zone: of times shown. room: for requests' bytes; None: its own.

        gate: says who may; None: everybody. serves: which calls are answered here. pressure: see pressed.
        """
        self._serves = serves
        self._pressure = pressure
        self._connections_at_most = connections_at_most
        self._gate = Gate() if gate is None else gate
        self.needs: dict[str, Needs] = {}  # by path, once the server is made
        self._room = Room() if room is None else room
        self._tracing = tracing
        self._operations = operations
        self._readiness = readiness
        self._metrics = metrics
        self._version, self._zone = version, zone
        self._body_bytes_max = body_bytes_max
        self._messages = Messages()
        self._calls = 0  # under way
        self._is_stopping = False
        self._idle = asyncio.Event()  # set when the last call ends while stopping

    def server(self) -> GrpcServer:
        """The server of this API, to be given to `start_grpc`. Needs a running loop."""
        health = Health(self._readiness, _OURS)
        methods = {**self._dtm(), **self._operator(), **self._operate()}
        methods |= {path: self._foreign(path, answer) for path, answer in health.methods.items()}
        if self._serves(_REFLECTION):
            listed = reflection([*_OURS, HEALTH])
            methods |= {path: self._foreign(path, it, is_single=False) for path, it in listed.items()}
        return GrpcServer(methods, self._room, self._body_bytes_max, self._connections_at_most)

    def _foreign(self, path: str, answer: Answer, *, is_single: bool = True) -> Method:
        """A method that is not ours, for who may ask it. Raises KeyError for one nobody thought of."""
        door = self._door(path, _OTHERS[path.split("/")[1]])
        return Method(guarded(door, answer), is_single)

    def _door(self, path: str, needs: Needs) -> Door:
        self.needs[path] = needs
        return self._gate.door(path, needs)

    async def drain(self, grace_seconds: float) -> None:
        """Refuse new calls from here on (UNAVAILABLE), and wait for those under way, at most this long."""
        self._is_stopping = True
        if self._calls:
            with contextlib.suppress(TimeoutError):  # what still runs is left to recovery
                await asyncio.wait_for(self._idle.wait(), grace_seconds)
        # A client that reads its answer in one piece with the goodbye loses it: grpclib's does.
        await asyncio.sleep(_BEFORE_GOODBYE_SECONDS)

    def _dtm(self) -> dict[str, Method]:
        decode, asked = self._messages, self._operations
        request, branch_request = self._telling(decode.request), self._telling(decode.branch_request)
        calls: dict[str, tuple[Needs, _Answered]] = {
            "NewGid": (looks(Permission.SUBMIT), self._new_gid),
            "Submit": (_SUBMIT, self._call(request, asked.transactions.submit, decode.results)),
            "Prepare": (_SUBMIT, self._call(request, asked.transactions.prepare)),
            "Abort": (_SUBMIT, self._call(request, asked.transactions.abort)),
            "RegisterBranch": (_SUBMIT, self._call(branch_request, asked.branches.register)),
            "PrepareWorkflow": (
                _SUBMIT,
                self._call(
                    lambda data, who: (request(data, who), who), self._prepare_workflow, decode.progresses
                ),
            ),
            "Subscribe": (
                _TOPICS,
                self._act(decode.topic_request, lambda it, by: asked.topics.subscribe(*it, by)),
            ),
            "Unsubscribe": (
                _TOPICS,
                self._act(decode.topic_request, lambda it, by: asked.topics.unsubscribe(*it[:2], by)),
            ),
            "DeleteTopic": (
                changes(Permission.TOPICS),
                self._act(decode.topic_request, lambda it, by: asked.topics.delete(it[0], by)),
            ),
        }
        return self._methods(SERVICE, calls)

    async def _prepare_workflow(self, asked: tuple[TransactionRequest, Principal]) -> Stored:
        request, who = asked
        return progress_shown_to(who, await self._operations.workflows.prepare(request))

    def _operator(self) -> dict[str, Method]:
        operators = self._operations.operators
        methods = operator_methods(operators, self._messages, version=self._version, zone=self._zone)
        return self._own(OPERATOR, methods)

    def _operate(self) -> dict[str, Method]:
        asked, zone = self._operations, self._zone
        methods = (
            *operate_methods(asked.operate, zone),
            *bulk_methods(asked.bulk, zone),
            *endpoint_methods(asked.endpoints, zone),
        )
        return self._own(OPERATE_SERVICE, methods)

    def _own(self, service: str, methods: Sequence[OperatorMethod]) -> dict[str, Method]:
        return self._methods(
            service,
            {it.name: (it.needs, self._own_answered(it)) for it in methods},
        )

    def _own_answered(self, it: OperatorMethod) -> _Answered:
        if it.ask:
            return self._ask(*it.ask)
        return self._act(*it.act) if it.act else self._call(*it.call)

    def _methods(self, service: str, calls: Mapping[str, tuple[Needs, _Answered]]) -> dict[str, Method]:
        return {
            f"/{service}/{name}": self._method(service, name, needs, answered)
            for name, (needs, answered) in calls.items()
            if self._serves(needs)
        }

    def _method(self, service: str, name: str, needs: Needs, answered: _Answered) -> Method:
        path = f"/{service}/{name}"
        meter = self._metrics.request("grpc", name)
        answered = pressed(name, self._pressure, _address, answered)
        answer: Callable[[Any], Awaitable[bytes]] = partial(
            self._answer, name, self._door(path, needs), answered
        )
        if name in _TRACED:
            answer = self._tracing.grpc(path, answer)

        async def handle(call: Call) -> None:
            started = perf_counter()
            self._calls += 1

            def over(ok: bool) -> None:
                self._calls -= 1
                if self._is_stopping and not self._calls:
                    self._idle.set()
                meter.done(ok, perf_counter() - started)

            call.when_over = over
            await call.reply(await answer(call))

        return Method(handle)

    async def _answer(self, name: str, door: Door, answered: _Answered, call: Call) -> bytes:
        """Make the call; whatever goes wrong becomes a GRPCError."""
        if self._is_stopping:
            raise GRPCError(Status.UNAVAILABLE, _STOPPING)
        try:
            who = await entered(door, call) if door.is_watched else door.stranger
            return await answered(call, who)
        except NoResult as error:
            status = STATUSES[error.branch_grpc_status or error.grpc_status]
            raise GRPCError(status, error.message, metadata_of(error)) from error
        except DtmError as error:
            raise GRPCError(status_of(error), error.message, metadata_of(error)) from error
        except GRPCError:
            raise
        except Exception as error:
            # The edge: a fault of ours must be in the log, and must not look like an answer of the business.
            log.error("gRPC {} failed", name, exception=error)
            raise GRPCError(Status.INTERNAL, INTERNAL_ERROR) from error

    async def _new_gid(self, call: Call, who: Principal) -> bytes:
        await call.receive()
        return self._messages.encode_gid(who.gid_prefix + self._operations.transactions.new_gid())

    def _call(
        self,
        decode: Callable[[bytes, Principal], T],
        operation: Callable[[T], Coroutine[Any, Any, R]],
        encode: Callable[[R], bytes] | None = None,
    ) -> _Answered:
        """One method: what its message means, what is asked, and its reply (None: google.protobuf.Empty)."""

        async def answered(call: Call, who: Principal) -> bytes:
            data = await call.receive()
            if data is None:
                raise GRPCError(Status.INTERNAL, "the call has no message")
            result = await call.protected(operation(decode(data, who)))
            return b"" if encode is None else encode(result)

        return answered

    def _act(
        self,
        decode: Callable[[bytes], T],
        operation: Callable[[T, Actor], Coroutine[Any, Any, R]],
        encode: Callable[[R], bytes] | None = None,
    ) -> _Answered:
        """A method that is recorded with who called it, and from where. encode: see _call."""
        return self._ask(decode, lambda asked, by: operation(asked, by.actor), encode)

    def _ask(
        self,
        decode: Callable[[bytes], T],
        operation: Callable[[T, Asker], Coroutine[Any, Any, R]],
        encode: Callable[[R], bytes] | None = None,
    ) -> _Answered:
        """The same of one that asks what else they may. encode: see _call."""

        async def answered(call: Call, who: Principal) -> bytes:
            by = Asker(who, call.peer.address)
            of = self._call(lambda data, _: decode(data), lambda asked: operation(asked, by), encode)
            return await of(call, who)

        return answered

    def _telling(self, decode: Callable[[bytes], AboutT]) -> Callable[[bytes, Principal], AboutT]:
        """The decoder, for who may use that gid; it tells the trace what the request is about."""

        def decode_and_tell(data: bytes, who: Principal) -> AboutT:
            decoded = decode(data)
            check_gid(who, decoded.gid)
            self._tracing.about(decoded.gid, decoded.trans_type)
            return decoded

        return decode_and_tell


def _address(call: Call) -> str:
    return call.peer.address
