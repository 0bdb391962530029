"""The blocking client against a Go dtm server, where DTM_REFERENCE_URL names one (`reference_server`)."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import grpc
import pymysql
import pytest

from coordinator.client import Failure, Ongoing, Status
from coordinator.client.barriers.table import barrier_schema
from coordinator.client.sync import Dtm, Workflow, Workflows, workflow
from coordinator.testing import Call, FakeBranches, Says
from tests.integration.client.conftest import OwnLoop
from tests.support.reference_server import GRPC, HTTP, asks_reference
from tests.support.servers import Database

pytestmark = asks_reference
HOST = "127.0.0.1"


class World:
    """A client of this test's protocol, one over HTTP to look with, and branches."""

    def __init__(self, dtm: Dtm, looking: Dtm, branches: FakeBranches, *, over_http: bool) -> None:
        self.dtm = dtm
        self._looking = looking
        self.branches = branches
        self.over_http = over_http
        self.bank = branches.http_url if over_http else branches.grpc_url

    def end(self, gid: str) -> Status:
        return self._looking.wait(gid).status


@pytest.fixture(params=["http", "grpc"])
def world(request: pytest.FixtureRequest, loop: OwnLoop) -> Iterator[World]:
    over_http = request.param == "http"
    branches = FakeBranches()
    loop.run(branches.__aenter__())
    with Dtm(HTTP if over_http else f"grpc://{GRPC}") as dtm, Dtm(HTTP) as looking:
        yield World(dtm, looking, branches, over_http=over_http)
    loop.run(branches.__aexit__(None, None, None))


def test_a_saga_succeeds_and_another_rolls_back(world: World) -> None:
    world.branches.answer("/bank.Bank/In", Says.SUCCESS, Says.FAILURE)
    for expected in (Status.SUCCEED, Status.FAILED):
        saga = world.dtm.saga(wait_result=True)
        saga.add(f"{world.bank}/bank.Bank/Out", f"{world.bank}/bank.Bank/OutBack", {"amount": 30})
        saga.add(f"{world.bank}/bank.Bank/In")
        if expected is Status.SUCCEED:
            assert saga.submit().status is Status.SUCCEED
        else:
            with pytest.raises(Failure):
                saga.submit()
        assert world.end(saga.gid) is expected
    assert world.branches.ops() == ["action", "action", "action", "action", "compensate"]


def test_a_tcc_is_confirmed_and_another_is_cancelled(world: World) -> None:
    urls = [f"{world.bank}/bank.Bank/{phase}" for phase in ("Try", "Confirm", "Cancel")]
    world.branches.answer("/bank.Bank/Try", Says.SUCCESS, Says.FAILURE)
    with world.dtm.tcc(wait_result=True) as tcc:
        tcc.call_branch({"amount": 30}, *urls)
    assert world.end(tcc.gid) is Status.SUCCEED
    with pytest.raises(Failure), world.dtm.tcc(wait_result=True) as tcc:
        tcc.call_branch({"amount": 30}, *urls)
    assert world.end(tcc.gid) is Status.FAILED
    assert world.branches.ops() == ["try", "confirm", "try", "cancel"]


def test_a_local_transaction_and_its_message(world: World, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript(f"{barrier_schema('sqlite')} CREATE TABLE orders (id int)")
        msg = world.dtm.msg(query_prepared=f"{world.bank}/shop.Shop/Query", wait_result=True)
        msg.add(f"{world.bank}/bank.Bank/In").do_and_submit(
            connection, lambda shop: shop.execute("INSERT INTO orders VALUES (7)")
        )
        assert world.end(msg.gid) is Status.SUCCEED
        msg = world.dtm.msg(query_prepared=f"{world.bank}/shop.Shop/Query")
        with pytest.raises(sqlite3.OperationalError):
            msg.add(f"{world.bank}/bank.Bank/In").do_and_submit(
                connection, lambda shop: shop.execute("INSERT INTO nowhere VALUES (7)")
            )
        assert world.end(msg.gid) is Status.FAILED
    assert world.branches.ops() == ["action"]


def test_xa_commits_and_rolls_back(world: World, mariadb_database: Database) -> None:
    one = mariadb_database
    one.execute(
        f"{barrier_schema('mysql')} CREATE TABLE account (balance int); INSERT INTO account VALUES (0)"
    )

    def connect() -> Any:
        return pymysql.connect(host=one.host, port=one.port, user=one.user, database=one.name)

    def serve(call: Call) -> bytes:
        with world.dtm.xa_branch(call.branch, connect) as transaction:
            if transaction.runs:
                transaction.connection.query("UPDATE account SET balance = balance + 30")
        return b"{}"

    world.branches.answer("/bank.Bank/In", in_thread(serve))
    with world.dtm.xa(wait_result=True) as xa:
        xa.call_branch(f"{world.bank}/bank.Bank/In", {"amount": 30})
    assert world.end(xa.gid) is Status.SUCCEED
    with pytest.raises(LookupError), world.dtm.xa(wait_result=True) as xa:
        xa.call_branch(f"{world.bank}/bank.Bank/In", {"amount": 30})
        raise LookupError
    assert world.end(xa.gid) is Status.FAILED
    assert one.execute("SELECT balance FROM account") == [(30,)]
    assert one.execute("XA RECOVER") == []


def in_thread(serve: Callable[[Call], bytes]) -> Callable[[Call], Any]:
    """An answer of the fake branches that blocks."""

    async def answer(call: Call) -> bytes:
        return await asyncio.to_thread(serve, call)

    return answer


def test_a_workflow_that_is_ongoing_is_gone_on_with_when_the_server_calls_back(world: World) -> None:
    @workflow("transfer-blocking")
    def transfer(wf: Workflow, data: Any) -> Any:
        wf.saga(f"{world.bank}/bank.Bank/Out", f"{world.bank}/bank.Bank/OutBack", data)
        wf.tcc(data, *(f"{world.bank}/bank.Bank/{phase}In" for phase in ("Try", "Confirm", "Cancel")))
        return {"done": data}

    with served(world, transfer) as workflows:
        assert workflows.execute(transfer, {"amount": 30}) == {"done": {"amount": 30}}
        world.branches.answer("/bank.Bank/TryIn", Says.ONGOING, Says.SUCCESS)
        gid = world.dtm.new_gid()
        with pytest.raises(Ongoing):
            workflows.execute(transfer, {"amount": 40}, gid=gid)
        assert world.end(gid) is Status.SUCCEED
        # Over gRPC that server does not say what a workflow returned (§4).
        again = workflows.execute(transfer, {"amount": 40}, gid=gid)
        assert again == ({"done": {"amount": 40}} if world.over_http else None)
    assert world.branches.ops() == ["action", "action", "commit", "action", "action", "action", "commit"]


@contextmanager
def served(world: World, function: Any) -> Iterator[Workflows]:
    """The workflows of a service that the server can call back, over WSGI or a blocking server of grpcio."""
    if world.over_http:
        with make_server(HOST, 0, no_application, handler_class=Silent) as server:
            callback = f"http://{HOST}:{server.server_port}/workflow"
            workflows = Workflows(world.dtm, [function], callback=callback, retry_interval=1)
            server.set_app(workflows.wsgi)
            thread = Thread(target=server.serve_forever)
            thread.start()
            yield workflows
            server.shutdown()
            thread.join()
        return
    with ThreadPoolExecutor(4) as threads:
        grpc_server = grpc.server(threads)
        port = grpc_server.add_insecure_port(f"{HOST}:0")
        callback = f"{HOST}:{port}/workflow.Workflow/Execute"
        workflows = Workflows(world.dtm, [function], callback=callback, retry_interval=1)
        grpc_server.add_generic_rpc_handlers((workflows.grpc_handler(),))
        grpc_server.start()
        yield workflows
        grpc_server.stop(0).wait()


def no_application(environ: Any, start_response: Any) -> Any:
    raise AssertionError("not yet served")


class Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""
