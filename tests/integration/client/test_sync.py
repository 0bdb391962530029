"""The blocking client against the real coordinator: the same names, from threads that have no loop."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.orm import Session

from coordinator.client import (
    BarrierError,
    BranchContext,
    DtmError,
    Duplicated,
    Failure,
    InvalidUse,
    Outcome,
    Status,
)
from coordinator.client.barriers.table import barrier_schema
from coordinator.client.sync import Dtm, barrier, query_prepared
from coordinator.testing import FakeBranches, Kit, Says
from tests.integration.client.conftest import OwnLoop
from tests.support.ports import free_port
from tests.support.servers import Database, PostgresDatabase


def test_a_saga(dtm: Dtm, branches: FakeBranches) -> None:
    url = branches.http_url
    assert dtm.saga(wait_result=True).add(f"{url}/out").submit().status is Status.SUCCEED
    branches.answer("/in", Says.FAILURE)
    with pytest.raises(Failure, match="told to say failure"):
        dtm.saga(wait_result=True).add(f"{url}/out", f"{url}/out-back").add(f"{url}/in").submit()
    assert branches.ops() == ["action", "action", "action", "compensate"]


def test_a_tcc_that_ends_and_one_that_does_not(dtm: Dtm, branches: FakeBranches) -> None:
    url = branches.http_url
    with dtm.tcc(wait_result=True) as tcc:
        tcc.call_branch({"amount": 30}, f"{url}/try", f"{url}/confirm", f"{url}/cancel")
    with pytest.raises(LookupError), dtm.tcc(wait_result=True) as tcc:
        tcc.call_branch({"amount": 30}, f"{url}/try", f"{url}/confirm", f"{url}/cancel")
        raise LookupError
    assert branches.ops() == ["try", "confirm", "try", "cancel"]


def test_topics_and_messages(kit: Kit) -> None:
    with Dtm(kit.http_url) as dtm:
        dtm.subscribe("orders", f"{kit.branches.http_url}/mail")
        msg = dtm.msg(wait_result=True).add_topic("orders", {"id": 7})
        assert msg.submit().status is Status.SUCCEED
        assert dtm.wait(msg.gid).status is Status.SUCCEED
        dtm.delete_topic("orders")
        assert dtm.query("nobody") is None
        assert dtm.new_gid()


def test_many_threads_share_one_client(dtm: Dtm, branches: FakeBranches) -> None:
    def one(_: int) -> Status:
        return dtm.saga(wait_result=True).add(f"{branches.http_url}/out").submit().status

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, range(40))) == [Status.SUCCEED] * 40


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as connection:
        connection.executescript(barrier_schema("sqlite"))
        connection.execute("CREATE TABLE orders (id int)")
        yield connection


def test_a_message_with_a_local_transaction_of_this_thread(
    dtm: Dtm, branches: FakeBranches, shop: sqlite3.Connection
) -> None:
    def save(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO orders VALUES (7)")  # sqlite3 refuses every other thread
        return threading.current_thread().name

    def refuse(connection: sqlite3.Connection) -> None:
        save(connection)
        raise LookupError("sold out")

    msg = dtm.msg("g1", query_prepared=f"{branches.http_url}/query", wait_result=True)
    msg.add(f"{branches.http_url}/mail")
    assert msg.do_and_submit(shop, save) == threading.current_thread().name
    with pytest.raises(LookupError, match="sold out"):
        dtm.msg(query_prepared=f"{branches.http_url}/query").do_and_submit(shop, refuse)
    assert shop.execute("SELECT count(*) FROM orders").fetchone() == (1,)
    assert branches.ops() == ["action"]
    query_prepared(BranchContext("g1", "msg", "00", "msg"), shop)
    with pytest.raises(Failure, match="never committed"):
        query_prepared(BranchContext("g2", "msg", "00", "msg"), shop)
    with pytest.raises((Duplicated, DtmError)):
        msg.do_and_submit(shop, save)


def by_psycopg2(one: PostgresDatabase) -> Any:
    return psycopg2.connect(host=one.host, port=one.port, user=one.user, dbname=one.name)


def by_session(one: PostgresDatabase) -> Any:
    return Session(
        create_engine("postgresql+psycopg2://", creator=lambda: by_psycopg2(one), poolclass=NullPool)
    )


@pytest.mark.parametrize("connect", [by_psycopg2, by_session])
def test_a_message_with_psycopg2_or_a_session(
    dtm: Dtm, branches: FakeBranches, postgres_database: PostgresDatabase, connect: Any
) -> None:
    postgres_database.execute(barrier_schema("postgres") + "CREATE TABLE orders (id int)")
    statement = "INSERT INTO orders VALUES (7)"

    def save(connection: Any) -> str:
        if isinstance(connection, Session):
            connection.execute(text(statement))
        else:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        return threading.current_thread().name

    def refuse(connection: Any) -> None:
        save(connection)
        raise LookupError("sold out")

    with closing(connect(postgres_database)) as connection:
        msg = dtm.msg(query_prepared=f"{branches.http_url}/query", wait_result=True)
        msg.add(f"{branches.http_url}/mail")
        assert msg.do_and_submit(connection, save) == threading.current_thread().name
        with pytest.raises(LookupError, match="sold out"):
            dtm.msg(query_prepared=f"{branches.http_url}/query").do_and_submit(connection, refuse)
    assert postgres_database.execute("SELECT count(*) FROM orders") == [(1,)]
    assert branches.ops() == ["action"]


def test_ctrl_c_in_the_business_rolls_back_and_the_client_lives_on(
    dtm: Dtm, kit: Kit, loop: OwnLoop, shop: sqlite3.Connection
) -> None:
    def interrupted(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO orders VALUES (7)")
        raise KeyboardInterrupt

    msg = dtm.msg("g1", query_prepared=f"{kit.branches.http_url}/query")
    with pytest.raises(KeyboardInterrupt):
        msg.do_and_submit(shop, interrupted)
    assert not shop.in_transaction
    assert shop.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    stored = loop.run(kit.dtm.query("g1"))
    assert stored is not None
    assert stored.status is Status.PREPARED, "query_prepared will say no"
    assert dtm.saga(wait_result=True).add(f"{kit.branches.http_url}/out").submit().status is Status.SUCCEED


def test_the_barrier_of_sqlite3(shop: sqlite3.Connection) -> None:
    outcomes = []
    for _ in range(2):
        with barrier(BranchContext("g1", "saga", "01", "action"), shop) as transaction:
            outcomes.append(transaction.outcome)
            if transaction.runs:
                shop.execute("INSERT INTO orders VALUES (7)")
    assert outcomes == [Outcome.RUN, Outcome.REPEATED]
    with pytest.raises(Failure), barrier(BranchContext("g2", "saga", "01", "action"), shop):
        raise Failure("no")
    assert barrier(BranchContext("g2", "saga", "01", "action"), shop).call(lambda _: "ran") == "ran"
    with pytest.raises(BarrierError, match="nothing_here is missing"):
        barrier(BranchContext("g1", "saga", "01", "action"), shop, table="nothing_here").call(str)


@pytest.mark.filterwarnings("ignore:.*Duplicate entry")
def test_the_barrier_of_pymysql(mariadb_database: Database) -> None:
    mariadb_database.execute(barrier_schema("mysql") + "CREATE TABLE orders (id int)")
    mariadb_database.execute("TRUNCATE dtm_barrier.barrier")
    outcomes = []
    for op in ("compensate", "action", "compensate"):
        with (
            closing(mariadb_database.connect()) as connection,
            barrier(BranchContext("g1", "saga", "01", op), connection) as transaction,
        ):
            outcomes.append(transaction.outcome)
    assert outcomes == [Outcome.EMPTY, Outcome.REPEATED, Outcome.REPEATED]


@pytest.mark.parametrize("names", [("args", "environ"), ("GET", "META")])
def test_the_request_of_flask_or_django_is_one_request(
    shop: sqlite3.Connection, names: tuple[str, str]
) -> None:
    query = {"gid": "g1", "trans_type": "saga", "branch_id": "01", "op": "action"}
    request: Any = SimpleNamespace(**{names[0]: query, names[1]: {}})
    assert [barrier(request, shop).call(str) is None for _ in (1, 2)] == [False, False], "two barriers"


def test_wrong_use_is_explained() -> None:
    with pytest.raises(InvalidUse, match="is not open") as closed:
        Dtm("http://me:geheim@localhost:36789").saga()
    assert "geheim" not in str(closed.value)
    with pytest.raises(InvalidUse, match="pymysql, sqlite3"):
        barrier(BranchContext("g1", "saga", "01", "action"), object())
    with (
        Dtm(f"http://127.0.0.1:{free_port()}", timeout=0.2) as dtm,
        pytest.raises(DtmError, match="nothing was sent"),
    ):
        dtm.saga().add("http://b/1").submit()


FORKED = """
import os, signal
from coordinator.client.sync import Dtm

with Dtm("http://127.0.0.1:1", timeout=0.1) as dtm:
    if (child := os.fork()) == 0:
        signal.alarm(10)
        try:
            dtm.new_gid()
        except Exception as error:
            print(type(error).__name__, error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork has no forked workers")
def test_a_client_that_was_opened_before_a_fork_says_so_instead_of_hanging() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("InvalidUse this Dtm was opened before its process was forked")
