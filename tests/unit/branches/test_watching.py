"""What a branch shows of itself: metrics by go-zero's names, spans, lines for what is slow or failed."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from grpclib.client import Channel
from grpclib.exceptions import GRPCError
from loguru import logger
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from branches.data_source import MySqlSource, SqliteSource
from branches.database import open_database
from branches.metrics import Metrics, served_metrics
from branches.proto.user import UserRequest, UserStub
from branches.running import StartError
from branches.settings import ROOT, PrometheusSection, RpcSettings
from branches.sql_watch import SqlWatch
from branches.user.service import UserService
from branches.watching import Watching
from coordinator.client import BranchServer
from coordinator.telemetry.slow import Slow
from tests.support.ports import HOST, free_port

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BRANCH = {"dtm-gid": "g1", "dtm-trans_type": "saga", "dtm-branch_id": "01", "dtm-op": "action"}
SETTINGS = {"name": "user.rpc", "listenon": f"{HOST}:0", "datasource": "sqlite:///user.db"}


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    logger.remove()
    written: list[Any] = []
    number = logger.add(lambda message: written.append(message.record), format="{message}")
    yield written
    logger.remove(number)


class Watched:
    """A Watching whose spans stay here."""

    def __init__(self, **more: Any) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.watching = Watching(RpcSettings.model_validate({**SETTINGS, **more}), provider)

    @property
    def spans(self) -> dict[str, Any]:
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def count(self, name: str, **labels: str) -> float:
        return self.watching.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def user_service(watched: Watched, folder: Path) -> AsyncIterator[UserStub]:
    source = SqliteSource(folder / "user.db")
    database = open_database(source, "user", ROOT / "sql", watched.watching.database(source))
    await database.prepare()
    server = BranchServer([UserService(database, seconds=5)])
    watched.watching.grpc(server)
    await server.start(HOST, 0)
    async with Channel(HOST, server.port) as channel:
        yield UserStub(channel, metadata={**BRANCH, "traceparent": TRACEPARENT})
    await server.stop(grace=1)
    await database.close()


async def test_a_call_is_counted_and_its_span_reaches_down_to_the_sql(
    tmp_path: Path, lines: list[Any]
) -> None:
    watched = Watched()
    async with user_service(watched, tmp_path) as user:
        await user.save_user(UserRequest(id="1", name="ann", gender="f"))
    path = "/user.User/saveUser"
    assert watched.count("rpc_server_requests_code_total", method=path, code="0") == 1
    assert watched.count("rpc_server_requests_duration_ms_count", method=path) == 1
    spans = watched.spans
    call, transaction, insert = (
        spans[n] for n in ("user.User/saveUser", "transaction user.db", "INSERT user")
    )
    assert f"{call.context.trace_id:032x}" in TRACEPARENT and f"{call.parent.span_id:016x}" in TRACEPARENT
    assert transaction.parent.span_id == call.context.span_id
    assert insert.parent.span_id == transaction.context.span_id
    assert {key: call.attributes[f"dtm.{key}"] for key in ("gid", "branch_id", "op")} == {
        "gid": "g1",
        "branch_id": "01",
        "op": "action",
    }
    assert insert.attributes["db.system.name"] == "sqlite"
    assert insert.attributes["db.collection.name"] == "user"
    assert "ann" not in str(insert.attributes), "values are nobody's business"
    assert lines == [], "a call that goes well says nothing"


async def test_a_refusal_is_one_line_with_gid_branch_and_trace(tmp_path: Path, lines: list[Any]) -> None:
    watched = Watched()
    async with user_service(watched, tmp_path) as user:
        with pytest.raises(GRPCError):
            await user.save_user(UserRequest(id="no number", name="ann"))
    [record] = lines
    assert record["level"].name == "INFO" and "is no positive 64-bit number" in record["message"]
    assert (record["extra"]["gid"], record["extra"]["branch"]) == ("g1", "01")
    assert record["extra"]["trace"] in TRACEPARENT
    assert watched.count("rpc_server_requests_code_total", method="/user.User/saveUser", code="10") == 1
    assert watched.spans["user.User/saveUser"].status.is_ok, "a refusal is an answer, not a fault"


async def test_slow_calls_are_said(tmp_path: Path, lines: list[Any]) -> None:
    watched = Watched()
    for slow in (watched.watching._slow_call, watched.watching._slow_database):
        slow.seconds = 0.0  # so that whatever is asked is slow
    async with user_service(watched, tmp_path) as user:
        await user.save_user(UserRequest(id="1", name="ann", gender="f"))
    assert [record["message"] for record in lines] == [
        "a database call took its time",
        "a call took its time",
    ]
    assert all(record["extra"]["gid"] == "g1" for record in lines)


async def test_a_request_of_a_known_route_is_counted_and_another_is_not(lines: list[Any]) -> None:
    async def register(request: web.Request) -> web.Response:
        if "error" in request.query:
            raise web.HTTPConflict
        return web.Response()

    watched = Watched()
    application = web.Application(middlewares=[watched.watching.middleware])
    application.router.add_post("/register/{name}", register)
    async with TestServer(application) as server, aiohttp.ClientSession() as session:
        headers = {"traceparent": TRACEPARENT}
        for path in ("/register/ann", "/register/bob?error", "/elsewhere"):
            async with session.post(server.make_url(path), headers=headers) as answer:
                await answer.read()
    codes = {
        code: watched.count(
            "http_server_requests_code_total", path="/register/{name}", method="POST", code=code
        )
        for code in ("200", "409", "404")
    }
    assert codes == {"200": 1, "409": 1, "404": 0}
    span = watched.spans["POST /register/{name}"]
    assert f"{span.context.trace_id:032x}" in TRACEPARENT


async def test_metrics_are_served_where_the_yaml_says() -> None:
    port = free_port()
    section = PrometheusSection(host=HOST, port=port, path="/own")
    metrics = Metrics()
    async with served_metrics(section, metrics), aiohttp.ClientSession() as session:
        metrics.rpc_done("/a.B/c", 0, 0.003)
        async with session.get(f"http://{HOST}:{port}/own") as answer:
            text = await answer.text()
        assert 'rpc_server_requests_duration_ms_bucket{le="5.0",method="/a.B/c"} 1.0' in text
        assert "process_resident_memory_bytes" in text
        with pytest.raises(StartError) as raised:
            async with served_metrics(section, Metrics()):
                pass
        assert f"Prometheus: cannot listen on {HOST}:{port}" in str(raised.value)


@pytest.mark.parametrize(
    ("source", "about"),
    [
        (SqliteSource(Path("/var/user.db")), {"db.system.name": "sqlite", "db.namespace": "user.db"}),
        (
            MySqlSource("db", 3306, "root", "s3cr3t", "user"),
            {
                "db.system.name": "mysql",
                "db.namespace": "user",
                "server.address": "db",
                "server.port": 3306,
            },
        ),
    ],
)
def test_where_the_rows_are_is_part_of_a_span_and_the_password_is_not(
    source: Any, about: dict[str, Any]
) -> None:
    watched = Watched()
    watch = SqlWatch(watched.watching.provider.get_tracer("test"), Slow("", 0), source)
    with watch.statement("UPDATE user SET name = ? WHERE id = ?"):
        pass
    attributes = watched.spans["UPDATE user"].attributes
    assert about.items() <= attributes.items()
    assert "s3cr3t" not in str(attributes)
