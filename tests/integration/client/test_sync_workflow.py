"""Workflows in blocking code, called back through WSGI, over HTTP and gRPC (PROTOCOL §5, §7)."""

import socketserver
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import psycopg
import psycopg2
import pymysql
import pytest
from werkzeug import Request  # that of Flask is one
from werkzeug.test import EnvironBuilder

from coordinator.client import BranchContext, DtmError, Failure, InvalidUse, Ongoing, Retry, Status
from coordinator.client.barriers.table import barrier_schema
from coordinator.client.sync import (
    Dtm,
    Workflow,
    WorkflowFunction,
    Workflows,
    barrier,
    error_answer,
    workflow,
)
from coordinator.testing import FakeBranches, Kit, Says
from tests.integration.client.conftest import OwnLoop
from tests.support.servers import Database, PostgresDatabase

HOST = "127.0.0.1"
OUT, OUT_BACK, IN = "/bank.Bank/Out", "/bank.Bank/OutBack", "/bank.Bank/In"


class ThreadingServer(socketserver.ThreadingMixIn, WSGIServer):
    """A thread for each request, all of them awaited at the end."""


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


class Service:
    """A blocking service: its WSGI server, and the workflows that were started last."""

    def __init__(self, dtm: Dtm, branches: FakeBranches) -> None:
        self.dtm = dtm
        over_http = dtm.inner.url.startswith("http")
        self.bank = branches.http_url if over_http else branches.grpc_url
        self._workflows: Workflows | None = None
        self._server = make_server(HOST, 0, self._serve, ThreadingServer, Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def start(self, *functions: WorkflowFunction[Any, Any], **options: Any) -> Workflows:
        """Serve these; the process that served others before is gone."""
        callback = f"http://{HOST}:{self._server.server_port}/workflow"
        self._workflows = Workflows(self.dtm, functions, callback=callback, **options)
        return self._workflows

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Any:
        assert self._workflows is not None
        return self._workflows.wsgi(environ, start_response)


@pytest.fixture
def service(dtm: Dtm, branches: FakeBranches) -> Iterator[Service]:
    service = Service(dtm, branches)
    yield service
    service.stop()


def transfer(
    service: Service, notes: list[str] | None = None, *, dies: bool = False
) -> WorkflowFunction[Any, Any]:
    """Something local, 30 out, 30 in."""

    @workflow("transfer")
    def function(wf: Workflow, data: Any) -> Any:
        def note(branch: BranchContext) -> str:
            if notes is not None:
                notes.append(f"{branch.op} in {threading.current_thread().name}")
            return "noted"

        local = wf.do(note, rollback=note)
        out = wf.saga(service.bank + OUT, service.bank + OUT_BACK, data)
        if dies:
            raise LookupError("the process dies here")
        wf.saga(service.bank + IN, "", data)
        return {"local": local, "out": out.json(), "for": data["amount"]}

    return function


def status(kit: Kit, loop: OwnLoop) -> Status:
    loop.run(kit.settle())
    found = loop.run(kit.dtm.query("g1"))
    assert found is not None
    return found.status


def test_a_workflow_returns_its_result_and_is_not_done_twice(
    service: Service, branches: FakeBranches, kit: Kit, loop: OwnLoop
) -> None:
    branches.answer(OUT, {"left": 70})
    notes: list[str] = []
    function = transfer(service, notes)
    workflows = service.start(function)
    for _ in range(2):
        result = workflows.execute(function, {"amount": 30}, gid="g1")
        assert result == {"local": "noted", "out": {"left": 70}, "for": 30}
    assert notes == [f"action in {threading.current_thread().name}"]
    assert [call.json() for call in branches.calls] == [{"amount": 30}] * 2
    assert status(kit, loop) is Status.SUCCEED


def test_a_refused_step_undoes_the_ones_before_it(
    service: Service, branches: FakeBranches, kit: Kit, loop: OwnLoop
) -> None:
    branches.answer(IN, Says.FAILURE)
    notes: list[str] = []
    function = transfer(service, notes)
    with pytest.raises(Failure, match="told to say failure"):
        service.start(function).execute(function, {"amount": 30}, gid="g1")
    here = threading.current_thread().name
    assert notes == [f"action in {here}", f"rollback in {here}"]
    assert [call.path for call in branches.calls] == [OUT, IN, OUT_BACK]
    assert status(kit, loop) is Status.FAILED


def test_an_ongoing_step_is_gone_on_with_by_the_coordinator_s_callback(
    service: Service, branches: FakeBranches, kit: Kit, loop: OwnLoop
) -> None:
    branches.answer(IN, Says.ONGOING, Says.SUCCESS)
    notes: list[str] = []
    function = transfer(service, notes)
    workflows = service.start(function)
    with pytest.raises(Ongoing):
        workflows.execute(function, {"amount": 30}, gid="g1")
    loop.run(kit.advance(12))
    assert status(kit, loop) is Status.SUCCEED
    assert len(notes) == 1, "what is recorded is not done again"
    assert [call.path for call in branches.calls] == [OUT, IN, IN]
    assert workflows.execute(function, {"amount": 30}, gid="g1")["for"] == 30


def test_a_crash_in_the_middle_is_gone_on_with_by_the_next_process(
    service: Service, branches: FakeBranches, kit: Kit, loop: OwnLoop
) -> None:
    dying = transfer(service, dies=True)
    with pytest.raises(LookupError):
        service.start(dying).execute(dying, {"amount": 30}, gid="g1")
    assert status(kit, loop) is Status.PREPARED
    service.start(transfer(service))
    loop.run(kit.advance(12))
    assert status(kit, loop) is Status.SUCCEED
    assert [call.path for call in branches.calls] == [OUT, IN]


def test_tcc_steps_are_confirmed_or_cancelled_last_first(service: Service, branches: FakeBranches) -> None:
    @workflow("two")
    def two(wf: Workflow, data: Any) -> None:
        for way in ("Out", "In"):
            wf.tcc({}, *(f"{service.bank}/bank.Bank/{phase}{way}" for phase in ("Try", "Confirm", "Cancel")))
        if data == "no":
            raise Failure("no")

    workflows = service.start(two)
    workflows.execute(two)
    with pytest.raises(Failure):
        workflows.execute(two, "no")
    assert [call.path.rpartition("/")[2] for call in branches.calls] == [
        *("TryOut", "TryIn", "ConfirmIn", "ConfirmOut"),
        *("TryOut", "TryIn", "CancelIn", "CancelOut"),
    ]


def test_the_barrier_in_a_local_step(service: Service, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as shop:
        shop.executescript(barrier_schema("sqlite") + "CREATE TABLE orders (id int)")

        @workflow("order")
        def order(wf: Workflow, data: Any) -> None:
            wf.do(lambda branch: barrier(branch, shop).call(save), rollback=lambda branch: None)

        def save(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO orders VALUES (7)")  # sqlite3 refuses every other thread

        service.start(order).execute(order)
        assert shop.execute("SELECT count(*) FROM orders").fetchone() == (1,)


@pytest.mark.parametrize("driver", ["pymysql", "psycopg", "psycopg2"])
def test_xa_steps_are_committed_and_rolled_back_with_the_workflow(
    service: Service, driver: str, request: pytest.FixtureRequest
) -> None:
    postgres = driver != "pymysql"
    one: Database | PostgresDatabase = request.getfixturevalue(
        "postgres_database" if postgres else "mariadb_database"
    )
    one.execute(
        f"{barrier_schema('postgres' if postgres else 'mysql')} TRUNCATE dtm_barrier.barrier;"
        "CREATE TABLE account (balance int); INSERT INTO account VALUES (100)"
    )

    def connect() -> Any:
        where = {"host": one.host, "port": one.port, "user": one.user}
        if postgres:
            module: Any = psycopg if driver == "psycopg" else psycopg2
            return module.connect(**where, dbname=one.name)
        return pymysql.connect(**where, database=one.name)  # type: ignore[arg-type]

    def take(connection: Any) -> str:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE account SET balance = balance - 30")
        return threading.current_thread().name

    @workflow("taking")
    def taking(wf: Workflow, data: Any) -> Any:
        name = wf.xa(connect, take)
        assert one.execute("SELECT balance FROM account") == [(100,)], "prepared is not committed"
        if data == "no":
            raise Failure("no")
        return name

    workflows = service.start(taking)
    with pytest.raises(Failure, match="no"):
        workflows.execute(taking, "no")
    assert one.execute("SELECT balance FROM account") == [(100,)]
    assert workflows.execute(taking) == threading.current_thread().name
    assert one.execute("SELECT balance FROM account") == [(70,)]


def flask_request(query: str, body: bytes = b"") -> Any:
    return Request(EnvironBuilder(query_string=query, method="POST", data=body).get_environ())


def django_request(query: str, body: bytes = b"") -> Any:
    request = flask_request(query)
    return SimpleNamespace(GET=request.args, META=request.environ, body=body)


@pytest.mark.parametrize("framework", [flask_request, django_request])
def test_the_callback_in_a_view_of_flask_or_django(service: Service, framework: Any) -> None:
    function = transfer(service, dies=True)
    with suppress(LookupError):
        service.start(function).execute(function, {"amount": 30}, gid="g1")
    function = transfer(service)
    workflows = service.start(function)
    query = "gid=g1&trans_type=workflow&branch_id=00&op="
    _, http_status, _ = workflows.answer(framework(f"{query}transfer", b'{"amount": 30}'))
    assert http_status == 200
    assert workflows.execute(function, {"amount": 30}, gid="g1")["for"] == 30
    body, http_status, headers = workflows.answer(framework(f"{query}other"))
    assert (http_status, headers["Content-Type"]) == (500, "application/json")
    assert b"workflow 'other' is not known here, only transfer" in body
    body, http_status, _ = workflows.answer(framework("gid=g1"))
    assert http_status == 400
    assert b"lacks trans_type, branch_id, op" in body


def test_wrong_use_is_explained(service: Service, dtm: Dtm) -> None:
    workflows = service.start(transfer(service))
    with pytest.raises(InvalidUse, match="'transfer' is not one of those given to Workflows"):
        workflows.execute(transfer(service))
    with pytest.raises(InvalidUse, match="callback: give the url"):
        Workflows(dtm, [], callback="")
    with pytest.raises(InvalidUse, match="hand in the request of Flask or Django, or mount"):
        workflows.answer(object())
    function = transfer(service)
    closed = Workflows(Dtm("http://localhost:36789"), [function], callback="http://me/workflow")
    with pytest.raises(InvalidUse, match="is not open: write `with"):
        closed.execute(function)


@pytest.mark.parametrize(
    ("error", "http_status"), [(Failure("no money"), 409), (Ongoing("later"), 425), (DtmError("odd"), 500)]
)
def test_errors_are_answers_of_the_protocol(error: DtmError, http_status: int) -> None:  # §2
    body, answered, _ = error_answer(error)
    assert answered == http_status
    assert error.message.encode() in body


def test_all_that_a_workflow_can_do_in_blocking_code(service: Service, kit: Kit, loop: OwnLoop) -> None:
    seen: list[Any] = []
    threads: set[str] = set()

    def note(branch: BranchContext) -> str:
        threads.add(threading.current_thread().name)
        return branch.branch_id

    @workflow("part")
    def part(wf: Workflow, data: int) -> int:
        wf.do(note)
        return data + 1

    @workflow("whole")
    def whole(wf: Workflow, data: int) -> list[Any]:
        began, drawn, called = wf.now(), wf.random(), wf.uuid()
        result: list[Any] = [*wf.run_in_parallel(lambda it: it.do(note), lambda it: it.do(note))]
        result.append(wf.child(part, data))
        result.append(wf.patched("change"))
        wf.sleep(60)
        wf.sleep_until(began)
        result.append(wf.do(note, retry=Retry(attempts=2), timeout=5, name="noted"))
        seen.append((began, drawn, called, result))
        return result

    workflows = service.start(whole, now=kit.clock.now)
    with pytest.raises(Ongoing, match="sleeps until"):
        workflows.execute(whole, 1, gid="g1")
    assert seen == [], "no thread waits"
    loop.run(kit.advance(61))
    assert status(kit, loop) is Status.SUCCEED
    assert workflows.execute(whole, 1, gid="g1") == ["040101", "040201", 2, True, "08"]
    assert len(threads) > 1


def test_what_sleeps_in_blocking_code_is_cancelled(service: Service, kit: Kit, loop: OwnLoop) -> None:
    undone: list[str] = []

    @workflow("expire")
    def expire(wf: Workflow, data: Any) -> None:
        wf.do(lambda branch: None, rollback=lambda branch: undone.append(branch.branch_id), name="reserve")
        wf.sleep(60)

    workflows = service.start(expire, now=kit.clock.now)
    with pytest.raises(Ongoing):
        workflows.execute(expire, gid="g1")
    workflows.cancel("g1", reason="changed my mind")
    with pytest.raises(Failure, match="cancelled: changed my mind"):
        workflows.execute(expire, gid="g1")
    assert undone == ["01"]


def test_large_results_are_kept_where_blocking_code_says(service: Service, kit: Kit) -> None:
    kept: dict[str, bytes] = {}

    class Shelf:
        def save(self, key: str, data: bytes) -> None:
            kept[key] = data

        def load(self, key: str) -> bytes:
            return kept[key]

    @workflow("large")
    def large(wf: Workflow, data: Any) -> Any:
        return wf.do(lambda branch: "x" * 70_000)

    workflows = service.start(large, external=Shelf())
    for _ in range(2):
        assert workflows.execute(large, gid="g1") == "x" * 70_000
    assert set(kept) == {"g1/01", "g1/result"}
