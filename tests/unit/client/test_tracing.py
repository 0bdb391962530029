"""The client's submit is a span, and the coordinator gets its trace context; without tracing it gets none."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from grpclib.events import RecvRequest, listen
from grpclib.server import Server
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from coordinator.client import Dtm, Failure
from coordinator.proto import dtmgimp
from coordinator.proto.google.protobuf import Empty
from tests.support.ports import HOST


class Traces:
    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> dict[str, Any]:
        return {span.name: span for span in self._exporter.get_finished_spans()}


class Coordinator:
    """Takes any submit, or refuses it; keeps what headers came."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.status = 200

    @asynccontextmanager
    async def over_http(self) -> AsyncIterator[str]:
        async def submit(request: web.Request) -> web.Response:
            self.headers = {name.lower(): value for name, value in request.headers.items()}
            body = {"dtm_result": "SUCCESS"} if self.status == 200 else {"message": "no money FAILURE"}
            return web.Response(status=self.status, text=json.dumps(body), content_type="application/json")

        application = web.Application()
        application.router.add_post("/api/dtmsvr/submit", submit)
        async with TestServer(application) as server:
            yield str(server.make_url("/")).rstrip("/")

    @asynccontextmanager
    async def over_grpc(self) -> AsyncIterator[str]:
        class Service(dtmgimp.DtmBase):
            async def submit(self, message: dtmgimp.DtmRequest) -> Empty:
                return Empty()

        async def on_request(event: RecvRequest) -> None:
            self.headers = {name: str(value) for name, value in event.metadata.items()}

        server = Server([Service()])
        listen(server, RecvRequest, on_request)
        await server.start(HOST, 0)
        assert server._server is not None
        yield f"grpc://{HOST}:{server._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
        server.close()


@pytest.mark.parametrize(("protocol", "name"), [("http", "POST"), ("grpc", "dtmgimp.Dtm/Submit")])
async def test_a_submit_continues_the_trace_that_runs(protocol: str, name: str) -> None:
    traces, coordinator = Traces(), Coordinator()
    async with (
        getattr(coordinator, f"over_{protocol}")() as url,
        Dtm(url, tracer_provider=traces.provider) as dtm,
    ):
        with traces.provider.get_tracer("test").start_as_current_span("register"):
            await dtm.saga("g1").add("http://bank/out").submit()
    span, around = traces.spans[name], traces.spans["register"]
    assert span.parent.span_id == around.context.span_id
    assert (span.attributes["dtm.gid"], span.attributes["dtm.trans_type"]) == ("g1", "saga")
    flags = span.context.trace_flags
    sent = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{flags:02x}"
    assert flags.sampled
    assert coordinator.headers["traceparent"] == sent


async def test_a_failure_is_an_error_of_the_span() -> None:
    traces, coordinator = Traces(), Coordinator()
    coordinator.status = 409
    async with coordinator.over_http() as url, Dtm(url, tracer_provider=traces.provider) as dtm:
        with pytest.raises(Failure):
            await dtm.saga("g1", wait_result=True).add("http://bank/out").submit()
    span = traces.spans["POST"]
    assert not span.status.is_ok and "no money" in span.status.description


async def test_without_tracing_nothing_is_sent_along() -> None:
    coordinator = Coordinator()
    async with coordinator.over_http() as url, Dtm(url) as dtm:
        await dtm.saga("g1").add("http://bank/out").submit()
    assert "traceparent" not in coordinator.headers
