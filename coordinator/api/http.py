"""The HTTP API (PROTOCOL §2, §3): one table of routes, one wrapper around every one of them.

On aiohttp's low-level server: its Application (router, middlewares, signals) makes every request dearer.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from time import perf_counter
from typing import Any, Final, cast

import orjson
from aiohttp.web import BaseRequest, Server
from loguru import logger
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from coordinator.api.decode import decode_gid, decode_transaction
from coordinator.api.http_answer import TEXT_TYPE, Answer, Answers
from coordinator.api.http_request import query_parameters, read_body
from coordinator.api.listing import filter_from, one_more, page_of, page_size, reset_timeout
from coordinator.api.ports import Operations, Readiness
from coordinator.api.render import render_all, render_query
from coordinator.errors import FAILURE_WORD, ONGOING_WORD, DtmError, Unsupported
from coordinator.model import TransactionRequest
from coordinator.telemetry.metrics import Metrics, RequestMeter

BODY_BYTES_MAX: Final = 4 * 1024 * 1024

_SUCCESS: Final = b'{"dtm_result":"SUCCESS"}'
_PONG: Final = b'{"msg":"pong"}'
_INTERNAL_ERROR: Final = b'{"message":"internal error, the log of the coordinator says more"}'
_RESULTS: Final = {409: FAILURE_WORD, 425: ONGOING_WORD}

_BASE: Final = "/api/dtmsvr/"
_ANY: Final = "*"  # method of a route that takes all
_NOT_BUILT: Final = (  # PROTOCOL §3, answered by a clear error until they are there
    ("POST", f"{_BASE}registerBranch"),
    ("POST", f"{_BASE}registerTccBranch"),
    ("POST", f"{_BASE}registerXaBranch"),
    ("POST", f"{_BASE}prepareWorkflow"),
    ("GET", f"{_BASE}subscribe"),
    ("GET", f"{_BASE}unsubscribe"),
    ("GET", f"{_BASE}scanKV"),
    ("GET", f"{_BASE}queryKV"),
    ("POST", "/api/json-rpc"),
)
_TOPIC: Final = f"{_BASE}topic/"  # DELETE topic/{name}

_Handler = Callable[[BaseRequest], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class _Route:
    answer: _Handler
    meter: RequestMeter | None = None  # None: not counted


class HttpApi:
    """Decodes requests, asks the service, encodes its answers."""

    def __init__(
        self,
        service: Operations,
        readiness: Readiness,
        metrics: Metrics,
        *,
        version: str,
        zone: tzinfo | None,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        """`version` is what the call `version` answers; `zone` is what `query` and `all` show times in."""
        self._service = service
        self._readiness = readiness
        self._metrics = metrics
        self._zone = zone
        self._body_bytes_max = body_bytes_max
        self._version = orjson.dumps({"version": version})
        self._answers = Answers()
        self._topic_route = self._counted(_unsupported("topic"), "topic")
        self._routes = self._build_routes()

    def server(self) -> Server:
        """The aiohttp server of this API, to be given to `start_http`. Needs a running loop.

        Compressed bodies are not unpacked, nothing is written per access, and a client that goes away does
        not cancel what it asked for.
        """
        return Server(
            cast(Any, self.handle), access_log=None, auto_decompress=False, handler_cancellation=False
        )

    async def handle(self, request: BaseRequest) -> Answer:
        """Answer one request, whatever happens."""
        started = perf_counter()
        route = self._route(request.method, request.path)
        if route is None:
            return self._answers.make(request, b"404 page not found", 404, TEXT_TYPE)
        try:
            response = await route.answer(request)
        except DtmError as error:
            response = self._error(request, error)
        except Exception as error:  # noqa: BLE001 - the edge: a fault of ours must not look like an answer of the business
            logger.opt(exception=error).error("{} {} failed", request.method, request.path)
            response = self._answers.make(request, _INTERNAL_ERROR, 500)
        if route.meter is not None:
            route.meter.done(response.status < 400, perf_counter() - started)
        return response

    def _route(self, method: str, path: str) -> _Route | None:
        route = self._routes.get((method, path)) or self._routes.get((_ANY, path))
        if route is None and method == "DELETE" and path.startswith(_TOPIC):
            return self._topic_route
        return route

    def _build_routes(self) -> Mapping[tuple[str, str], _Route]:
        service = self._service
        built: tuple[tuple[str, str, _Handler], ...] = (
            ("GET", "newGid", self._new_gid),
            ("POST", "prepare", self._transaction_call(service.prepare)),
            ("POST", "submit", self._transaction_call(service.submit)),
            ("POST", "abort", self._transaction_call(service.abort)),
            ("POST", "forceStop", self._gid_call(service.force_stop)),
            ("POST", "resetNextCronTime", self._gid_call(service.reset_next_cron_time)),
            ("GET", "query", self._query),
            ("GET", "all", self._all),
            ("GET", "resetCronTime", self._reset_cron_time),
            ("GET", "version", self._show_version),
        )
        routes = {(method, _BASE + name): self._counted(answer, name) for method, name, answer in built}
        for method, path in _NOT_BUILT:
            name = path.rpartition("/")[2]
            routes[method, path] = self._counted(_unsupported(name), name)
        routes[_ANY, "/api/ping"] = _Route(self._ping)
        routes["GET", "/api/ready"] = _Route(self._ready)
        routes["GET", "/api/metrics"] = _Route(self._show_metrics)
        return routes

    def _counted(self, answer: _Handler, name: str) -> _Route:
        return _Route(answer, self._metrics.request("http", name))

    def _transaction_call(self, operation: Callable[[TransactionRequest], Awaitable[None]]) -> _Handler:
        async def answer(request: BaseRequest) -> Answer:
            await operation(decode_transaction(await read_body(request, self._body_bytes_max)))
            return self._answers.make(request, _SUCCESS)

        return answer

    def _gid_call(self, operation: Callable[[str], Awaitable[None]]) -> _Handler:
        async def answer(request: BaseRequest) -> Answer:
            await operation(decode_gid(await read_body(request, self._body_bytes_max)))
            return self._answers.make(request, _SUCCESS)

        return answer

    async def _new_gid(self, request: BaseRequest) -> Answer:
        return self._json(request, {"gid": self._service.new_gid(), "dtm_result": "SUCCESS"})

    async def _query(self, request: BaseRequest) -> Answer:
        return self._json(
            request,
            render_query(await self._service.query(query_parameters(request).get("gid", "")), self._zone),
        )

    async def _all(self, request: BaseRequest) -> Answer:
        wanted = filter_from(query_parameters(request))
        page, next_position = page_of(await self._service.all(one_more(wanted)), wanted)
        return self._json(request, render_all(page, next_position, self._zone))

    async def _reset_cron_time(self, request: BaseRequest) -> Answer:
        given = query_parameters(request)
        succeed_count, has_remaining = await self._service.reset_cron_time(
            timeout=reset_timeout(given), limit=page_size(given)
        )
        return self._json(request, {"succeed_count": succeed_count, "has_remaining": has_remaining})

    async def _show_version(self, request: BaseRequest) -> Answer:
        return self._answers.make(request, self._version)

    async def _ping(self, request: BaseRequest) -> Answer:
        return self._answers.make(request, _PONG)

    async def _ready(self, request: BaseRequest) -> Answer:
        problems = self._readiness.problems()
        if problems:
            return self._json(request, {"ready": False, "problems": dict(problems)}, status=503)
        return self._json(request, {"ready": True})

    async def _show_metrics(self, request: BaseRequest) -> Answer:
        return self._answers.make(request, generate_latest(self._metrics.registry), kind=CONTENT_TYPE_LATEST)

    def _json(self, request: BaseRequest, content: Mapping[str, Any], status: int = 200) -> Answer:
        return self._answers.make(request, orjson.dumps(content), status)

    def _error(self, request: BaseRequest, error: DtmError) -> Answer:
        """The answer to an error, as its class says (PROTOCOL §2)."""
        content = {"message": error.message}
        if result := _RESULTS.get(error.http_status):
            content = {"dtm_result": result} | content
        return self._json(request, content, error.http_status)


def _unsupported(name: str) -> _Handler:
    async def answer(_request: BaseRequest) -> Answer:
        raise Unsupported(f"{name} is not supported by this version")

    return answer
