"""The HTTP API (PROTOCOL §2, §3): requests find their call, and one wrapper is around every one of them.

On aiohttp's low-level server: its Application (router, middlewares, signals) makes every request dearer.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from time import perf_counter
from typing import Any, Final, cast

from aiohttp.web import BaseRequest

from coordinator.access.cookies import Cookies, cookies_in
from coordinator.access.gate import CREDENTIAL, Door, Gate
from coordinator.access.permissions import Needs
from coordinator.api.bulk_calls import BulkCalls
from coordinator.api.connections import connections_max
from coordinator.api.early import Early
from coordinator.api.endpoint_calls import EndpointCalls
from coordinator.api.http_answer import TEXT_TYPE, Answer, Answers
from coordinator.api.http_calls import ANY, TOPIC_PREFIX, HttpCall, HttpCalls
from coordinator.api.http_request import OTHER_VERSION, VERSIONS, is_encrypted
from coordinator.api.http_server import HttpServer
from coordinator.api.json_rpc import JsonRpc
from coordinator.api.operate_calls import OperateCalls
from coordinator.api.paths import PathTemplates
from coordinator.api.pressing import BEGINS, Pressure, pressed
from coordinator.api.room import BODY_BYTES_MAX, Room
from coordinator.api.turns import Handler
from coordinator.errors import INTERNAL_ERROR, DtmError
from coordinator.service import Operations
from coordinator.telemetry.log import log
from coordinator.telemetry.metrics import Metrics, RequestMeter
from coordinator.watching.readiness import Readiness
from coordinator.watching.siblings import Siblings
from coordinator.watching.tracing import OFF, Tracing

# A connection that sends no whole request for so long is closed. More than the 90 s after which Go clients
# close an unused one themselves, so that none of theirs is closed under a request.
IDLE_SECONDS_MAX: Final = 120.0

_HOST: Final = "Host"


@dataclass(frozen=True, slots=True)
class _Route:
    answer: Callable[[BaseRequest], Awaitable[Answer]]
    needs: Needs
    meter: RequestMeter | None  # None: not counted
    refuse: Callable[[BaseRequest, DtmError], Answer]


class HttpApi:
    """Lets in who may, has the call answered, and says what went wrong."""

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
        pages: Sequence[HttpCall] = (),
        siblings: Siblings | None = None,
        pressure: Pressure | None = None,
    ) -> None:
        """version: what that call answers. zone: of times shown. room: of requests' bytes; None: its own.

        gate: says who may; None: everybody, but pages of other sites. serves: which calls are answered here.
        pages: calls beside those of the protocol, answered here too. siblings: the other processes of this
        coordinator; None: it has none. pressure: asked before a request that begins a transaction is read.
        """
        self._room = Room() if room is None else room
        self._gate = Gate() if gate is None else gate
        self._tracing = tracing
        self._pressure = pressure
        self._metrics = metrics
        self._answers = Answers()
        json_rpc = JsonRpc(operations, tracing, self._gate)
        calls = [
            *HttpCalls(
                operations,
                readiness,
                metrics,
                self._answers,
                json_rpc,
                version=version,
                zone=zone,
                body_bytes_max=body_bytes_max,
                tracing=tracing,
                room=self._room,
                siblings=siblings,
            ).all()
        ]
        calls += OperateCalls(
            operations.operate, self._answers, zone=zone, body_bytes_max=body_bytes_max, room=self._room
        ).all()
        calls += BulkCalls(
            operations.bulk, self._answers, zone=zone, body_bytes_max=body_bytes_max, room=self._room
        ).all()
        calls += EndpointCalls(
            operations.endpoints, self._answers, zone=zone, body_bytes_max=body_bytes_max, room=self._room
        ).all()
        calls = [*(call for call in calls if serves(call.needs)), *pages]
        self._connections_at_most = connections_at_most
        self._early = None if pressure is None else self._early_of(calls, pressure)
        self._routes = {(call.method, call.path): self._route_to(call) for call in calls}
        self._topic_route = self._routes.get(("DELETE", f"{TOPIC_PREFIX}{{topic}}"))
        self._templates = PathTemplates(call.path for call in calls)
        self.needs: Mapping[tuple[str, str], Needs] = {(call.method, call.path): call.needs for call in calls}

    def server(self) -> HttpServer:
        """The aiohttp server of this API, to be given to `start_http`. Needs a running loop.

        Compressed bodies are not unpacked, nothing is written per access, and a client that goes away does
        not cancel what it asked for.
        """
        return HttpServer(
            cast(Any, self.handle),
            access_log=None,
            auto_decompress=False,
            handler_cancellation=False,
            keepalive_timeout=IDLE_SECONDS_MAX,
            connections_max=self._connections_at_most or connections_max(),
            early=self._early,
        )

    def _early_of(self, calls: Sequence[HttpCall], pressure: Pressure) -> Early:
        begins = {
            call.path.encode(): (BEGINS[call.name], self._metrics.request("http", call.name))
            for call in calls
            if call.name in BEGINS and not self._door(call).is_watched  # else it comes first who asks
        }
        return Early(pressure, begins, self._answers.refusal)

    async def handle(self, request: BaseRequest) -> Answer:
        """Answer one request, whatever happens."""
        started = perf_counter()
        if request.version not in VERSIONS:
            return self._answers.make(request, OTHER_VERSION, 400)
        route = self._route(request)
        if route is None:
            return self._answers.make(request, b"404 page not found", 404, TEXT_TYPE)
        try:
            if route.needs.changes or not route.needs.is_open:
                self._gate.check_host(request.headers.get(_HOST))
            if route.needs.changes:
                self._gate.check_page(request.headers)
            response = await route.answer(request)
        except DtmError as error:
            response = route.refuse(request, error)
        except Exception as error:  # noqa: BLE001 - the edge: a fault of ours must not look like an answer of the business
            log.error("{} {} failed", request.method, request.path, exception=error)
            response = route.refuse(request, DtmError(INTERNAL_ERROR))
        finally:
            self._room.release(request)
        if route.meter is not None:
            route.meter.done(response.status < 400, perf_counter() - started)
        return response

    def _route(self, request: BaseRequest) -> _Route | None:
        method, path = request.method, request.path
        asked = "GET" if method == "HEAD" else method
        route = self._routes.get((asked, path)) or self._routes.get((ANY, path))
        if route is not None:
            return route
        if method == "DELETE" and path.startswith(TOPIC_PREFIX):
            return self._topic_route
        return self._routes.get((asked, self._templates.template_of(request.rel_url.raw_path)))

    def _door(self, call: HttpCall) -> Door:
        return self._gate.door(f"{call.method} {call.path}", call.needs, is_page=call.is_page)

    def _route_to(self, call: HttpCall) -> _Route:
        door = self._door(call)
        answer = _through(door, pressed(call.name, self._pressure, _address, call.answer))
        if call.is_traced:
            answer = self._tracing.http(call.method, call.path, answer)
        meter = self._metrics.request("http", call.name) if call.name else None
        return _Route(answer, call.needs, meter, call.refuse or self._answers.error)


def _through(door: Door, answer: Handler) -> Callable[[BaseRequest], Awaitable[Answer]]:
    """The answer to who may have it; where that is everybody, nothing is looked at."""
    if not door.is_watched:
        return lambda request: answer(request, door.stranger)

    async def let_in(request: BaseRequest) -> Answer:
        shown = _certificate(request) if door.reads_certificates else None
        session = _session(request) if door.reads_sessions else ""
        who = await door.enter(request.headers.getall(CREDENTIAL, ()), request.remote or "", shown, session)
        return await answer(request, who)

    return let_in


def _address(request: BaseRequest) -> str:
    return request.remote or ""


def _session(request: BaseRequest) -> str:
    """What the browser holds."""
    cookies = Cookies.of(request.headers.get(_HOST, ""), is_encrypted=is_encrypted(request))
    return cookies_in(request.headers.get("Cookie", "")).get(cookies.session, "")


def _certificate(request: BaseRequest) -> Any:
    """What the client showed in the handshake."""
    return request.transport.get_extra_info("peercert") if request.transport else None
