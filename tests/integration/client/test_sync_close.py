"""A blocking `Dtm` that is closed while other threads wait in it: an error for them, nothing half done."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coordinator.client import DtmError, Status, Unreachable
from coordinator.client.barriers.table import barrier_schema
from coordinator.client.sync import Dtm, Workflow, Workflows, workflow
from coordinator.testing import Kit, Says
from tests.integration.client.conftest import OwnLoop

LONG_SECONDS = 30
OUT = "/bank.Bank/Out"


def in_thread(function: Callable[[], Any]) -> "Future[Any]":
    threads = ThreadPoolExecutor(1)
    future = threads.submit(function)
    threads.shutdown(wait=False)
    return future


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(kit: Kit, protocol: str) -> Dtm:
    """A client that the test closes."""
    return Dtm(kit.http_url if protocol == "http" else kit.grpc_url).__enter__()


@pytest.fixture
def out(kit: Kit, protocol: str) -> str:
    """A branch that hangs."""
    kit.branches.answer(OUT, Says.HANGS, Says.SUCCESS)
    return (kit.branches.http_url if protocol == "http" else kit.branches.grpc_url) + OUT


def close(dtm: Dtm) -> None:
    dtm.__exit__(None, None, None)


def test_a_submit_that_waits_for_its_result_ends_with_an_error(
    opened: Dtm, out: str, kit: Kit, loop: OwnLoop
) -> None:
    saga = opened.saga("g1", wait_result=True).add(out)
    waits = in_thread(saga.submit)
    loop.run(kit.branches.until_called(OUT, op="action"))
    close(opened)
    with pytest.raises(Unreachable, match="closed by another thread") as caught:
        waits.result(LONG_SECONDS)
    assert caught.value.may_exist
    stored = loop.run(kit.dtm.query("g1"))
    assert stored is not None
    assert stored.status is Status.SUBMITTED, "the coordinator goes on with it"
    with pytest.raises(DtmError, match="closed: nothing was sent"):
        saga.submit()


def test_a_local_transaction_is_rolled_back_though_its_business_went_on(
    opened: Dtm, out: str, kit: Kit, loop: OwnLoop, tmp_path: Path
) -> None:
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(barrier_schema("sqlite") + "CREATE TABLE orders (id int)")

    def business(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO orders VALUES (7)")
        with pytest.raises(Unreachable):
            opened.saga(wait_result=True).add(out).submit()

    def sending() -> None:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            opened.msg("g1", query_prepared=out).do_and_submit(connection, business)

    sends = in_thread(sending)
    loop.run(kit.branches.until_called(OUT, op="action"))
    close(opened)
    with pytest.raises(Unreachable, match="closed by another thread"):
        sends.result(LONG_SECONDS)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM barrier").fetchone() == (0,)
    stored = loop.run(kit.dtm.query("g1"))
    assert stored is not None
    assert stored.status is Status.PREPARED, "query_prepared will say no"


def test_a_workflow_stays_open_for_the_next_process(opened: Dtm, out: str, kit: Kit, loop: OwnLoop) -> None:
    @workflow("out")
    def function(wf: Workflow, data: Any) -> None:
        wf.saga(out)

    workflows = Workflows(opened, [function], callback="http://127.0.0.1:1/workflow")
    executes = in_thread(lambda: workflows.execute(function, gid="g1"))
    loop.run(kit.branches.until_called(OUT, op="action"))
    close(opened)
    with pytest.raises(Unreachable):
        executes.result(LONG_SECONDS)
    stored = loop.run(kit.dtm.query("g1"))
    assert stored is not None
    assert stored.status is Status.PREPARED


def test_an_exception_in_a_tcc_block_is_not_hidden_by_the_closing(opened: Dtm, out: str) -> None:
    with pytest.raises(LookupError) as caught, opened.tcc():
        close(opened)
        raise LookupError("of the business")
    assert "rolls it back when its timeout_to_fail has passed" in caught.value.__notes__[0]
