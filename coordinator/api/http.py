"""The HTTP API (PROTOCOL §2, §3): one table of routes, one wrapper around every one of them.

On aiohttp's low-level server: its Application (router, middlewares, signals) makes every request dearer.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from time import perf_counter
from typing import Any, Final, cast

import orjson
from aiohttp.web import BaseRequest
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from coordinator.api.connections import connections_max
from coordinator.api.decode import decode_gid, decode_registration, decode_transaction
from coordinator.api.http_answer import TEXT_TYPE, Answer, Answers, content_of
from coordinator.api.http_request import OTHER_VERSION, VERSIONS, query_parameters, read_body
from coordinator.api.http_server import HttpServer
from coordinator.api.json_rpc import JsonRpc
from coordinator.api.listing import filter_from, one_more, page_of, page_size, position, reset_timeout
from coordinator.api.openapi import openapi_document
from coordinator.api.render import render_all, render_key_value, render_query, render_workflow, rendered
from coordinator.api.room import BODY_BYTES_MAX, Room
from coordinator.api.turns import LISTS_AT_ONCE, QUERIES_AT_ONCE, Handler, Turns
from coordinator.errors import INTERNAL_ERROR, DtmError, Invalid
from coordinator.model import TransactionRequest
from coordinator.service import Operations
from coordinator.telemetry.log import log
from coordinator.telemetry.metrics import Metrics, RequestMeter
from coordinator.watching.readiness import Readiness
from coordinator.watching.tracing import OFF, Tracing

# A connection that sends no whole request for so long is closed. More than the 90 s after which Go clients
# close an unused one themselves, so that none of theirs is closed under a request.
IDLE_SECONDS_MAX: Final = 120.0

_SUCCESS: Final = b'{"dtm_result":"SUCCESS"}'
_HEALTHY: Final = b'{"healthy":true}'
_PONG: Final = b'{"msg":"pong"}'
_INTERNAL_ERROR: Final = orjson.dumps({"message": INTERNAL_ERROR})

_BASE: Final = "/api/dtmsvr/"
_JSON_RPC: Final = "/api/json-rpc"
_ANY: Final = "*"  # method of a route that takes all
_TOPIC: Final = f"{_BASE}topic/"  # DELETE topic/{name}


@dataclass(frozen=True, slots=True)
class _Route:
    answer: Handler
    meter: RequestMeter | None = None  # None: not counted


class HttpApi:
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
    ) -> None:
        """version: what that call answers. zone: of times shown. room: of requests' bytes; None: its own."""
        self._room = Room() if room is None else room
        self._operations = operations
        self._tracing = tracing
        self._json_rpc = JsonRpc(operations, tracing)
        self._json_rpc_meter = metrics.request("http", "json-rpc")
        self._readiness = readiness
        self._metrics = metrics
        self._zone = zone
        self._read = partial(read_body, bytes_max=body_bytes_max, room=self._room)
        self._version = orjson.dumps({"version": version})
        self._document = orjson.dumps(openapi_document(version))
        self._answers = Answers()
        self._topic_route = self._counted(self._delete_topic, "topic")
        self._routes = self._build_routes()

    @property
    def routes(self) -> Collection[tuple[str, str]]:
        """Method (`*` is any) and path of every route, parameters of the path in braces."""
        return {*self._routes, ("DELETE", f"{_TOPIC}{{topic}}")}

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
            connections_max=connections_max(),
        )

    async def handle(self, request: BaseRequest) -> Answer:
        """Answer one request, whatever happens."""
        started = perf_counter()
        if request.version not in VERSIONS:
            return self._answers.make(request, OTHER_VERSION, 400)
        route = self._route(request.method, request.path)
        if route is None:
            return self._answers.make(request, b"404 page not found", 404, TEXT_TYPE)
        try:
            response = await route.answer(request)
        except DtmError as error:
            response = self._error(request, error)
        except Exception as error:  # noqa: BLE001 - the edge: a fault of ours must not look like an answer of the business
            log.error("{} {} failed", request.method, request.path, exception=error)
            response = self._answers.make(request, _INTERNAL_ERROR, 500)
        finally:
            self._room.release(request)
        if route.meter is not None:
            route.meter.done(response.status < 400, perf_counter() - started)
        return response

    def _route(self, method: str, path: str) -> _Route | None:
        asked = "GET" if method == "HEAD" else method
        route = self._routes.get((asked, path)) or self._routes.get((_ANY, path))
        if route is None and method == "DELETE" and path.startswith(_TOPIC):
            return self._topic_route
        return route

    def _build_routes(self) -> Mapping[tuple[str, str], _Route]:
        transactions, operators = self._operations.transactions, self._operations.operators
        lists, queries = Turns(LISTS_AT_ONCE), Turns(QUERIES_AT_ONCE)
        built: tuple[tuple[str, str, Handler], ...] = (
            ("GET", "newGid", self._new_gid),
            ("POST", "forceStop", self._gid_call(operators.force_stop)),
            ("POST", "resetNextCronTime", self._gid_call(operators.reset_next_cron_time)),
            ("GET", "query", queries.of(self._query)),
            ("GET", "all", lists.of(self._all)),
            ("GET", "resetCronTime", self._reset_cron_time),
            ("GET", "subscribe", self._subscribe),
            ("GET", "unsubscribe", self._unsubscribe),
            ("GET", "scanKV", lists.of(self._scan_values)),
            ("GET", "queryKV", self._query_values),
            ("GET", "version", self._show_version),
        )
        routes = {(method, _BASE + name): self._counted(answer, name) for method, name, answer in built}
        traced: tuple[tuple[str, Handler], ...] = (
            ("prepare", self._transaction_call(transactions.prepare)),
            ("submit", self._transaction_call(transactions.submit)),
            ("abort", self._transaction_call(transactions.abort)),
            ("registerBranch", self._register),
            ("registerTccBranch", self._register),
            ("registerXaBranch", self._register),
            ("prepareWorkflow", self._prepare_workflow),
        )
        for name, answer in traced:
            path = _BASE + name
            routes["POST", path] = self._counted(self._tracing.http("POST", path, answer), name)
        json_rpc = self._tracing.http("POST", _JSON_RPC, self._answer_json_rpc)
        routes["POST", _JSON_RPC] = _Route(json_rpc)  # which counts itself
        routes["GET", "/api/openapi.json"] = self._counted(self._show_document, "openapi.json")
        routes[_ANY, "/api/ping"] = _Route(self._ping)
        routes["GET", "/api/health"] = _Route(self._health)
        routes["GET", "/api/ready"] = _Route(self._ready)
        routes["GET", "/api/metrics"] = _Route(self._show_metrics)
        return routes

    def _counted(self, answer: Handler, name: str) -> _Route:
        return _Route(answer, self._metrics.request("http", name))

    def _transaction_call(self, operation: Callable[[TransactionRequest], Awaitable[None]]) -> Handler:
        async def answer(request: BaseRequest) -> Answer:
            wanted = decode_transaction(await self._read(request))
            self._tracing.about(wanted.gid, wanted.trans_type)
            await operation(wanted)
            return self._answers.make(request, _SUCCESS)

        return answer

    def _gid_call(self, operation: Callable[[str], Awaitable[None]]) -> Handler:
        async def answer(request: BaseRequest) -> Answer:
            await operation(decode_gid(await self._read(request)))
            return self._answers.make(request, _SUCCESS)

        return answer

    async def _new_gid(self, request: BaseRequest) -> Answer:
        return self._json(request, {"gid": self._operations.transactions.new_gid(), "dtm_result": "SUCCESS"})

    async def _query(self, request: BaseRequest) -> Answer:
        gid = query_parameters(request).get("gid", "")
        stored = await self._operations.operators.query(gid)
        return self._json(request, await rendered(render_query, stored, self._zone))

    async def _all(self, request: BaseRequest) -> Answer:
        wanted = filter_from(query_parameters(request))
        page, next_position = page_of(await self._operations.operators.all(one_more(wanted)), wanted.limit)
        shown = render_all(page, next_position, self._zone, of_gid=bool(wanted.gid))
        return self._json(request, shown)

    async def _reset_cron_time(self, request: BaseRequest) -> Answer:
        given = query_parameters(request)
        succeed_count, has_remaining = await self._operations.operators.reset_cron_time(
            timeout=reset_timeout(given), limit=page_size(given)
        )
        return self._json(request, {"succeed_count": succeed_count, "has_remaining": has_remaining})

    async def _register(self, request: BaseRequest) -> Answer:
        body = await self._read(request)
        try:
            registration = decode_registration(body)
        except Invalid as error:  # the one place where clients expect 400
            return self._json(request, {"message": error.message}, 400)
        self._tracing.about(registration.gid, registration.trans_type)
        await self._operations.branches.register(registration)
        return self._answers.make(request, _SUCCESS)

    async def _prepare_workflow(self, request: BaseRequest) -> Answer:
        wanted = decode_transaction(await self._read(request))
        self._tracing.about(wanted.gid, wanted.trans_type)
        stored = await self._operations.workflows.prepare(wanted)
        return self._json(request, await rendered(render_workflow, stored, self._zone))

    async def _subscribe(self, request: BaseRequest) -> Answer:
        given = query_parameters(request)
        await self._operations.topics.subscribe(
            given.get("topic", ""), given.get("url", ""), given.get("remark", "")
        )
        return self._answers.make(request, _SUCCESS)

    async def _unsubscribe(self, request: BaseRequest) -> Answer:
        given = query_parameters(request)
        await self._operations.topics.unsubscribe(given.get("topic", ""), given.get("url", ""))
        return self._answers.make(request, _SUCCESS)

    async def _delete_topic(self, request: BaseRequest) -> Answer:
        await self._operations.topics.delete(request.path.removeprefix(_TOPIC))
        return self._answers.make(request, _SUCCESS)

    async def _scan_values(self, request: BaseRequest) -> Answer:
        given = query_parameters(request)
        limit, before_id = page_size(given), position(given)
        rows = await self._operations.operators.list_values(
            given.get("cat", ""), limit=limit + 1, before_id=before_id
        )
        page, next_position = page_of(rows, limit)
        shown = [render_key_value(row, self._zone) for row in page]
        return self._json(request, {"kv": shown, "next_position": next_position})

    async def _query_values(self, request: BaseRequest) -> Answer:
        given = query_parameters(request)
        row = await self._operations.operators.find_value(given.get("cat", ""), given.get("key", ""))
        return self._json(request, {"kv": [render_key_value(row, self._zone)] if row else []})

    async def _answer_json_rpc(self, request: BaseRequest) -> Answer:
        # Its errors come with 200 as well (PROTOCOL §4), but count as what they are.
        started, ok = perf_counter(), False
        try:
            body, ok = await self._json_rpc.answer(await self._read(request))
        finally:
            self._json_rpc_meter.done(ok, perf_counter() - started)
        return self._answers.make(request, body)

    async def _show_version(self, request: BaseRequest) -> Answer:
        return self._answers.make(request, self._version)

    async def _show_document(self, request: BaseRequest) -> Answer:
        return self._answers.make(request, self._document)

    async def _ping(self, request: BaseRequest) -> Answer:
        return self._answers.make(request, _PONG)

    async def _health(self, request: BaseRequest) -> Answer:
        # Alive, whatever is wrong with what it depends on: a restart would not help.
        return self._answers.make(request, _HEALTHY)

    async def _ready(self, request: BaseRequest) -> Answer:
        problems, remarks = self._readiness.problems(), self._readiness.remarks()
        said = {"remarks": dict(remarks)} if remarks else {}
        if problems:
            return self._json(request, {"ready": False, "problems": dict(problems), **said}, status=503)
        return self._json(request, {"ready": True, **said})

    async def _show_metrics(self, request: BaseRequest) -> Answer:
        return self._answers.make(request, generate_latest(self._metrics.registry), kind=CONTENT_TYPE_LATEST)

    def _json(self, request: BaseRequest, content: Mapping[str, Any], status: int = 200) -> Answer:
        return self._answers.make(request, orjson.dumps(content), status)

    def _error(self, request: BaseRequest, error: DtmError) -> Answer:
        return self._json(request, content_of(error), error.http_status)
