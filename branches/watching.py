"""Everything by which a service can be looked at: metrics, traces, slow calls; made from its yaml."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

from aiohttp import web
from grpclib.const import Status as GrpcStatus
from grpclib.events import RecvRequest, listen
from grpclib.exceptions import GRPCError
from grpclib.server import Server
from opentelemetry.trace import NoOpTracerProvider, Span, SpanKind, Status, StatusCode, TracerProvider

from branches.data_source import MySqlSource, SqliteSource
from branches.metrics import Metrics, served_metrics
from branches.running import StartError
from branches.settings import ServiceSettings
from branches.sql_watch import SqlWatch
from coordinator.client.service import (
    Slow,
    Spans,
    SpanTarget,
    as_parent,
    extract,
    in_call,
    log,
    open_spans,
)
from coordinator.client.service import StartError as TelemetryError

_BRANCH_FIELDS = ("gid", "trans_type", "branch_id", "op")
_SERVER_ERRORS = frozenset(
    {
        *(GrpcStatus.UNKNOWN, GrpcStatus.DEADLINE_EXCEEDED, GrpcStatus.UNIMPLEMENTED),
        *(GrpcStatus.INTERNAL, GrpcStatus.UNAVAILABLE, GrpcStatus.DATA_LOSS),
    }
)


class Watching:
    """One service's. provider: where spans are made, None as the yaml says.

    Raises StartError when spans cannot be sent as it says.
    """

    def __init__(self, settings: ServiceSettings, provider: TracerProvider | None = None) -> None:
        self._settings = settings
        self.metrics = Metrics()
        self._spans = None if provider else _open_spans(settings)
        self.provider = provider or (self._spans.provider if self._spans else NoOpTracerProvider())
        self._tracer = self.provider.get_tracer("dtm-branches")
        self._slow_call = Slow("a call took its time", settings.log.slow_call_millis / 1000)
        self._slow_database = Slow("a database call took its time", settings.log.slow_database_millis / 1000)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer scrapes while the block runs; send the last spans after it."""
        try:
            async with served_metrics(self._settings.prometheus, self.metrics):
                yield
        finally:
            if self._spans is not None:
                await asyncio.to_thread(self._spans.close)

    def database(self, source: SqliteSource | MySqlSource) -> SqlWatch:
        """What is told of the statements."""
        return SqlWatch(self._tracer, self._slow_database, source)

    def grpc(self, server: Server) -> None:
        """Watch all calls of a server that has not started."""

        async def on_request(event: RecvRequest) -> None:
            event.method_func = self._watched(event.method_func, event)

        listen(server, RecvRequest, on_request)

    def _watched(self, method: Callable[[Any], Awaitable[None]], event: RecvRequest) -> Any:
        path = event.method_name
        service, _, name = path[1:].partition("/")
        about = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        branch = {
            field: value
            for field in _BRANCH_FIELDS
            if isinstance(value := event.metadata.get(f"dtm-{field}"), str)
        }
        about |= {f"dtm.{field}": value for field, value in branch.items()}
        parent = as_parent(extract(event.metadata))

        async def watched(stream: Any) -> None:
            code, started = GrpcStatus.UNKNOWN, perf_counter()
            with (
                self._tracer.start_as_current_span(
                    path[1:],
                    parent,
                    SpanKind.SERVER,
                    about,
                    record_exception=False,
                    set_status_on_exception=False,
                ) as span,
                in_call(gid=branch.get("gid", ""), branch=branch.get("branch_id", "")),
            ):
                message = ""
                try:
                    await method(stream)
                    code = GrpcStatus.OK
                except GRPCError as error:
                    code, message = error.status, error.message or ""
                    raise
                finally:
                    self._call_ended(span, path, code, message, perf_counter() - started)

        return watched

    def _call_ended(self, span: Span, path: str, code: GrpcStatus, message: str, seconds: float) -> None:
        span.set_attribute("rpc.grpc.status_code", code.value)
        if code in _SERVER_ERRORS:
            span.set_status(Status(StatusCode.ERROR, message))
        self.metrics.rpc_done(path, code.value, seconds)
        if seconds >= self._slow_call.seconds:
            self._slow_call.said(seconds, method=path, code=code.name)
        if code is GrpcStatus.ABORTED:
            log.with_context().info("refused: {}", message, method=path)
        elif code in _SERVER_ERRORS:
            log.with_context().error("failed: {}", message, method=path, code=code.name)

    @property
    def middleware(self) -> Any:
        """An aiohttp middleware that watches all requests of known routes."""

        @web.middleware
        async def watch(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            resource = request.match_info.route.resource
            if resource is None:  # no such route: any path whatever
                return await handler(request)
            path, method, started, status = resource.canonical, request.method, perf_counter(), 500
            with self._tracer.start_as_current_span(
                f"{method} {path}",
                as_parent(extract(request.headers)),
                SpanKind.SERVER,
                {"http.request.method": method, "http.route": path, "url.path": request.path},
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    response = await handler(request)
                    status = response.status
                except web.HTTPException as error:
                    status = error.status
                    raise
                finally:
                    self._request_ended(span, path, method, status, perf_counter() - started)
            return response

        return watch

    def _request_ended(self, span: Span, path: str, method: str, status: int, seconds: float) -> None:
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        self.metrics.http_done(path, method, status, seconds)
        if seconds >= self._slow_call.seconds:
            self._slow_call.said(seconds, path=path, code=status)


def _open_spans(settings: ServiceSettings) -> Spans | None:
    section = settings.telemetry
    target = SpanTarget(
        name=section.name or settings.name,
        endpoint=section.endpoint,
        sampler=section.sampler,
        batcher=section.batcher,
        otlp_headers=section.otlp_headers,
        otlp_http_path=section.otlp_http_path,
        otlp_http_secure=section.otlp_http_secure,
        disabled=section.disabled,
    )
    try:
        return open_spans(target)
    except TelemetryError as error:
        raise StartError(f"{error.message}; {error.hint}") from error
