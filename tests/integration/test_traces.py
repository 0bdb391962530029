"""One trace for a registration, from the api to the SQL, as a real Jaeger shows it."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from coordinator.client import Dtm, Status
from tests.conftest import StartBranch, StartCoordinator
from tests.support import programs
from tests.support.branch_server import branch_server
from tests.support.observers import JaegerServer
from tests.support.ports import HOST, free_port
from tests.support.servers import Database
from tests.support.under_test import BranchProcess, CoordinatorProcess

SCORE_LIMIT = 100
WAIT_SECONDS = 90.0
# Spans leave at once, so that a test need not wait and a kill loses none that it looks for.
ENVIRONMENT = {"OTEL_BSP_SCHEDULE_DELAY": "50"}


@pytest.fixture(scope="module")
def _jaeger() -> Iterator[JaegerServer]:
    try:
        server = JaegerServer()
    except programs.MissingProgram as error:
        pytest.skip(str(error))
    with server:
        yield server


@dataclass(frozen=True, slots=True)
class Node:
    """One span in its tree."""

    service: str
    instance: str
    name: str
    tags: Mapping[str, Any]
    children: tuple["Node", ...]

    def lines(self, depth: int = 0) -> Iterator[str]:
        """The tree as text: service and name, deeper ones further in, siblings by name."""
        yield f"{'  ' * depth}{self.service}: {self.name}"
        for child in sorted(self.children, key=lambda node: (node.tags.get("dtm.branch_id", ""), node.name)):
            yield from child.lines(depth + 1)

    def all(self) -> Iterator["Node"]:
        yield self
        for child in self.children:
            yield from child.all()


def trees(trace: Mapping[str, Any]) -> list[Node]:
    """The roots of a trace. A span whose parent is not there is one."""
    spans = {span["spanID"]: span for span in trace["spans"]}

    def parent(span: Mapping[str, Any]) -> str:
        return next((it["spanID"] for it in span["references"] if it["refType"] == "CHILD_OF"), "")

    def node(span: Mapping[str, Any]) -> Node:
        process = trace["processes"][span["processID"]]
        instance = {tag["key"]: tag["value"] for tag in process["tags"]}.get("service.instance.id", "")
        children = tuple(node(it) for it in spans.values() if parent(it) == span["spanID"])
        tags = {tag["key"]: tag["value"] for tag in span["tags"]}
        return Node(process["serviceName"], instance, span["operationName"], tags, children)

    return [node(span) for span in spans.values() if parent(span) not in spans]


@dataclass
class Fleet:
    jaeger: JaegerServer
    user: BranchProcess
    score: BranchProcess
    api: BranchProcess

    async def register(self, *, score: int = 10) -> tuple[int, str]:
        """Register somebody; returns the status and the gid."""
        body = {"name": "ann", "gender": "female", "score": score}
        timeout = aiohttp.ClientTimeout(total=30)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"http://{self.api.address}/register", json=body) as answer,
        ):
            return answer.status, answer.headers["dtm-gid"]

    async def trace(self, gid: str, complete: Callable[[Node], bool]) -> Node:
        """Wait until the one trace of the transaction is a whole tree that has everything."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            found = await asyncio.to_thread(self.jaeger.traces, "dtm", **{"dtm.gid": gid})
            roots = [root for trace in found for root in trees(trace)]
            if len(roots) == 1 and complete(roots[0]):
                return roots[0]
            shown = "\n".join(line for root in roots for line in root.lines())
            assert time.monotonic() < deadline, f"{len(found)} traces, {len(roots)} roots:\n{shown}"
            await asyncio.sleep(0.1)  # Jaeger has no event for "a span came"


def has(count: int, name: str, **tags: Any) -> Callable[[Node], bool]:
    """Whether a tree has so many spans of that name and with these dtm tags."""

    def check(root: Node) -> bool:
        wanted = {f"dtm.{key}": value for key, value in tags.items()}
        found = [node for node in root.all() if node.name == name and wanted.items() <= node.tags.items()]
        return len(found) >= count

    return check


def from_the_api(*checks: Callable[[Node], bool]) -> Callable[[Node], bool]:
    """Whether a tree begins where the registration does: each process sends its spans when it likes."""
    return lambda root: root.service == "register.api" and all(check(root) for check in checks)


@pytest.fixture
def start_fleet(
    _jaeger: JaegerServer, start_branch: StartBranch, tmp_path: Any
) -> Callable[[CoordinatorProcess], Fleet]:
    def telemetry(name: str) -> dict[str, Any]:
        return {"Name": name, "Endpoint": _jaeger.thrift_endpoint, "Sampler": 1.0, "Batcher": "jaeger"}

    def start(coordinator: CoordinatorProcess) -> Fleet:
        user_port, score_port, api_port = (free_port() for _ in range(3))

        def rpc(name: str, port: int, **more: Any) -> BranchProcess:
            settings = {
                "Name": f"{name}.rpc",
                "ListenOn": f"{HOST}:{port}",
                "DataSource": f"sqlite:///{tmp_path / name}.db",
                "Telemetry": telemetry(f"{name}.rpc"),
                **more,
            }
            return start_branch(name, settings, port=port, environment=ENVIRONMENT)

        user, score = rpc("user", user_port), rpc("score", score_port, ScoreLimit=SCORE_LIMIT)
        settings = {
            "Name": "register.api",
            "Host": HOST,
            "Port": api_port,
            "DtmServer": coordinator.grpc_address,
            "UserRpc": {"Endpoints": [user.address]},
            "ScoreRpc": {"Endpoints": [score.address]},
            "Timeout": 25_000,
            "Telemetry": telemetry("register.api"),
        }
        api = start_branch("api", settings, port=api_port, environment=ENVIRONMENT)
        return Fleet(_jaeger, user, score, api)

    return start


def traced(jaeger: JaegerServer, **more: Any) -> dict[str, Any]:
    """Settings of a coordinator that sends its spans there."""
    telemetry = {"Endpoint": jaeger.thrift_endpoint, "Sampler": 1.0, "Batcher": "jaeger"}
    return {"TransCronInterval": 1, "Telemetry": telemetry, **more}


COMPENSATIONS = {"user.User/saveUserCallback", "userscore.UserScore/saveUserScoreCallback"}
SAVED = """\
register.api: POST /register
  register.api: dtmgimp.Dtm/Submit
    dtm: dtmgimp.Dtm/Submit
      dtm: user.User/saveUser
        user.rpc: user.User/saveUser
          user.rpc: transaction user.db
            user.rpc: INSERT user
      dtm: userscore.UserScore/saveUserScore
        score.rpc: userscore.UserScore/saveUserScore
          score.rpc: transaction score.db
            score.rpc: INSERT user_score"""


async def test_a_registration_is_one_tree_from_the_api_to_the_sql(
    start_coordinator: StartCoordinator,
    start_fleet: Callable[[CoordinatorProcess], Fleet],
    _jaeger: JaegerServer,
) -> None:
    coordinator = start_coordinator(settings=traced(_jaeger), environment=ENVIRONMENT)
    fleet = start_fleet(coordinator)
    assert "no Thrift exporter works with today's OpenTelemetry" in coordinator.output()

    status, gid = await fleet.register()
    assert status == 200
    root = await fleet.trace(gid, lambda root: "\n".join(root.lines()) == SAVED)
    [insert] = [node for node in root.all() if node.name == "INSERT user"]
    assert insert.tags["db.system.name"] == "sqlite"
    assert insert.tags["db.query.text"] == "INSERT INTO user (id, name, gender) VALUES (?, ?, ?)"
    calls = [node for node in root.all() if node.service == "dtm" and "dtm.op" in node.tags]
    assert [(node.tags["dtm.branch_id"], node.tags["dtm.op"], node.tags["dtm.trans_type"]) for node in calls]
    assert all(node.tags["rpc.system"] == "grpc" and node.tags["dtm.gid"] == gid for node in calls)

    status, gid = await fleet.register(score=SCORE_LIMIT + 1)
    assert status == 409
    compensated = [has(1, name, op="compensate") for name in COMPENSATIONS]
    root = await fleet.trace(gid, from_the_api(has(1, "DELETE user"), *compensated))
    [refused] = [node for node in root.all() if node.service == "dtm" and node.tags.get("error")]
    assert refused.name == "userscore.UserScore/saveUserScore"
    assert refused.tags["dtm.result"] == "failure" and refused.tags["rpc.grpc.status_code"] == 10
    back = [node for node in root.all() if node.service == "dtm" and node.tags.get("dtm.op") == "compensate"]
    assert {node.name for node in back} == COMPENSATIONS


async def test_a_second_coordinator_continues_the_trace_of_one_that_was_killed(
    start_coordinator: StartCoordinator,
    start_fleet: Callable[[CoordinatorProcess], Fleet],
    mariadb_database: Database,
    _jaeger: JaegerServer,
) -> None:
    def coordinator(name: str) -> CoordinatorProcess:
        settings = traced(_jaeger, InstanceName=name)
        return start_coordinator(store=mariadb_database, settings=settings, environment=ENVIRONMENT)

    first = coordinator("first")
    fleet = start_fleet(first)
    await asyncio.to_thread(fleet.score.kill)
    status, gid = await fleet.register()
    assert status == 202, "the score service is away"
    tried = has(1, "userscore.UserScore/saveUserScore", result="unknown")
    await fleet.trace(gid, from_the_api(tried))
    await asyncio.to_thread(first.kill)

    second = await asyncio.to_thread(coordinator, "second")
    await asyncio.to_thread(fleet.score.start)
    async with Dtm(second.http_url) as dtm, aiohttp.ClientSession() as session:
        deadline = time.monotonic() + WAIT_SECONDS
        while (stored := await dtm.query(gid)) is not None and not stored.is_final:
            assert time.monotonic() < deadline, stored
            async with session.post(f"{second.api_url}/resetNextCronTime", json={"gid": gid}) as answer:
                await answer.read()
            await asyncio.sleep(0.2)
    assert stored is not None and stored.status is Status.SUCCEED

    root = await fleet.trace(gid, from_the_api(has(1, "INSERT user_score")))
    calls = [node for node in root.all() if node.name == "userscore.UserScore/saveUserScore"]
    made = [(node.instance, node.tags["dtm.result"]) for node in calls if node.service == "dtm"]
    assert ("first", "unknown") in made
    assert ("second", "success") in made
    submits = [node for node in root.all() if node.name == "dtmgimp.Dtm/Submit" and node.service == "dtm"]
    assert [node.instance for node in submits] == ["first"]


@pytest.mark.parametrize("batcher", ["jaeger", "otlphttp", "otlpgrpc", "zipkin"])
async def test_every_batcher_reaches_jaeger_also_for_a_client_without_traces(
    start_coordinator: StartCoordinator, _jaeger: JaegerServer, batcher: str
) -> None:
    endpoint = {
        "jaeger": _jaeger.thrift_endpoint,
        "otlphttp": _jaeger.otlp_endpoint,
        "otlpgrpc": _jaeger.otlp_grpc_endpoint,
        "zipkin": _jaeger.zipkin_endpoint,
    }[batcher]
    settings = {"Telemetry": {"Endpoint": endpoint, "Batcher": batcher}}
    coordinator = start_coordinator(settings=settings, environment=ENVIRONMENT)
    async with Dtm(coordinator.http_url) as dtm, branch_server() as branches:
        fine = branches.url("http", "ok")
        saga = dtm.saga(wait_result=True).add(fine, fine, {"a": 1}).add(fine, fine, {"b": 2})
        await saga.submit()
    fleet = Fleet(_jaeger, *([None] * 3))  # type: ignore[arg-type] # only its Jaeger is asked
    root = await fleet.trace(saga.gid, lambda root: len(list(root.all())) == 3)
    submit, call = "post /api/dtmsvr/submit", "post"  # Zipkin has small letters only
    assert [line.lower() for line in root.lines()] == [f"dtm: {submit}", f"  dtm: {call}", f"  dtm: {call}"]
    assert str(root.tags["http.response.status_code"]) == "200"
