"""XA of blocking code on pymysql, psycopg and psycopg2, over HTTP and gRPC (PROTOCOL §7, §12)."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import psycopg2
import pymysql
import pytest

from coordinator.client import BranchContext, DtmError, Failure, InvalidUse, Status
from coordinator.client.barriers.table import barrier_schema
from coordinator.client.sync import Dtm
from coordinator.testing import Call, FakeBranches, Kit, Says
from tests.integration.client.conftest import OwnLoop
from tests.support.servers import Database, PostgresDatabase


class Bank:
    """Two accounts, changed by blocking handlers of `/bank.Bank/Out` and `/bank.Bank/In`."""

    def __init__(self, database: Database, dtm: Dtm, driver: str) -> None:
        self.database = database
        self.driver = driver
        self.dtm = dtm
        self.postgres = isinstance(database, PostgresDatabase)
        self.refuse_in = False
        self.lose: set[str] = set()  # operations whose first answer is lost after they were done

    async def serve(self, call: Call) -> Any:
        return await asyncio.to_thread(self.handle, call)

    def handle(self, call: Call) -> Any:
        with self.dtm.xa_branch(call.branch, self.connect) as transaction:
            if transaction.runs:
                self.change(transaction.connection, call.path)
        if call.op in self.lose:
            self.lose.discard(call.op)
            return Says.BROKEN
        return b"{}"

    def change(self, connection: Any, path: str) -> str:
        if path.endswith("In") and self.refuse_in:
            raise Failure("account 2 is locked")
        account, amount = (1, -30) if path.endswith("Out") else (2, 30)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE account SET balance = balance + %s WHERE id = %s", (amount, account))
        return threading.current_thread().name

    def connect(self) -> Any:
        one = self.database
        if self.postgres:
            connect: Any = psycopg2.connect if self.driver == "psycopg2" else psycopg.connect
            return connect(host=one.host, port=one.port, user=one.user, dbname=one.name)
        return pymysql.connect(host=one.host, port=one.port, user=one.user, database=one.name)

    def balances(self) -> list[Any]:
        return [row[0] for row in self.database.execute("SELECT balance FROM account ORDER BY id")]

    def prepared_ids(self) -> list[str]:
        if self.postgres:
            query = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
            return [str(row[0]) for row in self.database.execute(query)]
        rows: Any = self.database.execute("XA RECOVER")
        return [row[3].decode() if isinstance(row[3], bytes) else row[3] for row in rows]

    def transfer(self, branches: FakeBranches) -> None:
        url = branches.http_url if self.dtm.inner.url.startswith("http") else branches.grpc_url
        with self.dtm.xa("g1", timeout_to_fail=35) as xa:
            xa.call_branch(f"{url}/bank.Bank/Out", {"amount": 30})
            xa.call_branch(f"{url}/bank.Bank/In")


@pytest.fixture(params=["pymysql", "psycopg", "psycopg2"])
def bank(request: pytest.FixtureRequest, dtm: Dtm, branches: FakeBranches) -> Iterator[Bank]:
    over_mariadb = request.param == "pymysql"
    database: Database = request.getfixturevalue("mariadb_database" if over_mariadb else "postgres_database")
    schema = barrier_schema("mysql" if over_mariadb else "postgres")
    accounts = "CREATE TABLE account (id int PRIMARY KEY, balance int)"
    values = "INSERT INTO account VALUES (1, 100), (2, 0)"
    database.execute(f"{schema} TRUNCATE dtm_barrier.barrier; {accounts}; {values}")
    bank = Bank(database, dtm, request.param)
    for path in ("Out", "In"):
        branches.answer(f"/bank.Bank/{path}", bank.serve)
    yield bank
    for xid in bank.prepared_ids():  # of a test that failed; its locks would hang the next one
        database.execute(f"ROLLBACK PREPARED '{xid}'" if bank.postgres else f"XA ROLLBACK '{xid}'")


def status(kit: Kit, loop: OwnLoop) -> Status:
    loop.run(kit.settle())
    found = loop.run(kit.dtm.query("g1"))
    assert found is not None
    return found.status


def test_both_are_committed(bank: Bank, branches: FakeBranches, kit: Kit, loop: OwnLoop) -> None:
    bank.transfer(branches)
    assert status(kit, loop) is Status.SUCCEED
    assert (bank.balances(), bank.prepared_ids()) == ([70, 30], [])


def test_a_refusal_rolls_both_back(bank: Bank, branches: FakeBranches, kit: Kit, loop: OwnLoop) -> None:
    bank.refuse_in = True
    with pytest.raises(Failure, match="account 2 is locked"):
        bank.transfer(branches)
    assert status(kit, loop) is Status.FAILED
    assert (bank.balances(), bank.prepared_ids()) == ([100, 0], [])


def test_a_commit_whose_answer_is_lost_is_repeated_and_commits_once(
    bank: Bank, branches: FakeBranches, kit: Kit, loop: OwnLoop
) -> None:
    bank.lose = {"commit"}
    bank.transfer(branches)
    loop.run(kit.advance(30))
    assert status(kit, loop) is Status.SUCCEED
    assert branches.ops() == ["action", "action", "commit", "commit", "commit"]
    assert (bank.balances(), bank.prepared_ids()) == ([70, 30], [])


def test_a_client_that_died_in_the_middle_leaves_nothing_dangling(
    bank: Bank, branches: FakeBranches, kit: Kit, loop: OwnLoop
) -> None:
    url = branches.http_url if bank.dtm.inner.url.startswith("http") else branches.grpc_url
    xa = bank.dtm.xa("g1", timeout_to_fail=35)
    xa.__enter__()  # and never left: the process is gone
    xa.call_branch(f"{url}/bank.Bank/Out", {"amount": 30})
    assert bank.prepared_ids() == ["g1-01"]
    loop.run(kit.advance(37))
    assert status(kit, loop) is Status.FAILED
    assert (bank.balances(), bank.prepared_ids()) == ([100, 0], [])


def test_the_same_action_again_while_it_is_prepared_has_no_second_effect(
    bank: Bank, branches: FakeBranches
) -> None:
    call = BranchContext("g1", "xa", "01", "action", "http://me/xa")
    xa = bank.dtm.xa("g1")
    with pytest.raises(LookupError), xa:
        for attempt in range(2):
            try:
                with bank.dtm.xa_branch(call, bank.connect) as transaction:
                    bank.change(transaction.connection, "/bank.Bank/Out")
            except DtmError as error:
                assert attempt == 1
                assert "is being done, or is prepared" in str(error)
            else:
                assert attempt == 0
        with bank.dtm.xa_branch(BranchContext("g1", "xa", "01", "rollback"), bank.connect) as transaction:
            assert not transaction.runs
        raise LookupError
    assert (bank.balances(), bank.prepared_ids()) == ([100, 0], [])


def test_what_has_no_xa_is_closed_and_explained(dtm: Dtm) -> None:
    call = BranchContext("g1", "xa", "01", "action", "http://me/xa")
    opened = sqlite3.connect(":memory:")
    with pytest.raises(InvalidUse, match="SQLite has no XA"), dtm.xa_branch(call, lambda: opened):
        pass
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened.execute("SELECT 1")
    with pytest.raises(InvalidUse, match="pymysql, psycopg or psycopg2"), dtm.xa_branch(call, object):
        pass
