"""The branch's side of XA on MariaDB and PostgreSQL (PROTOCOL §7, §12): nothing dangles, whoever dies."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomysql
import asyncpg
import pytest

from coordinator.client import BarrierError, BranchContext, Dtm, DtmError, Failure
from tests.support.children import child
from tests.support.servers import Database
from tests.unit.client.fake_coordinator import Answer, Fake, fake_http_coordinator

ROOT = Path(__file__).resolve().parents[2]
URL = "http://me/xa"


class Bank:
    """One account in a database, and the XA calls that change it."""

    server = "mariadb"
    begin = "XA START '{}'"
    prepare = ("XA END '{}'", "XA PREPARE '{}'")
    end = "XA {} '{}'"

    def __init__(self, database: Database, dtm: Dtm) -> None:
        self.database = database
        self.dtm = dtm

    async def connect(self) -> Any:
        one = self.database
        return await aiomysql.connect(host=one.host, port=one.port, user=one.user, db=one.name)

    async def execute(self, connection: Any, sql: str) -> None:
        await connection.query(sql)

    async def call(self, op: str, gid: str = "g1", *, refuse: bool = False) -> bool:
        branch = BranchContext(gid, "xa", "01", op, URL)
        async with self.dtm.xa_branch(branch, self.connect) as transaction:
            if transaction.runs:
                await self.execute(transaction.connection, "UPDATE account SET balance = balance + 30")
                if refuse:
                    raise Failure("account is locked")
            return transaction.runs

    async def prepared_by_hand(self, gid: str, *business: str) -> Any:
        """What an action prepares, on a connection that is still open."""
        connection = await self.connect()
        columns = "trans_type, gid, branch_id, op, barrier_id, reason"
        values = f"'xa', '{gid}', '01', 'action', '01', 'action'"
        for sql in (
            self.begin.format(f"{gid}-01"),
            f"INSERT INTO dtm_barrier.barrier ({columns}) VALUES ({values})",
            *business,
            *(one.format(f"{gid}-01") for one in self.prepare),
        ):
            await self.execute(connection, sql)
        return connection

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return await asyncio.to_thread(self.database.execute, sql)

    async def balance(self) -> int:
        return int((await self.rows("SELECT balance FROM account"))[0][0])

    async def dangling(self, gid: str = "g1") -> list[str]:
        ids = await self.prepared_ids()
        return [xid for xid in ids if xid.startswith(gid)]

    async def prepared_ids(self) -> list[str]:
        return [row[3].decode() for row in await self.rows("XA RECOVER")]


class PostgresBank(Bank):
    server = "postgres"
    begin = "BEGIN"
    prepare = ("PREPARE TRANSACTION '{}'",)
    end = "{} PREPARED '{}'"

    async def connect(self) -> Any:
        one = self.database
        return await asyncpg.connect(host=one.host, port=one.port, user=one.user, database=one.name)

    async def execute(self, connection: Any, sql: str) -> None:
        await connection.execute(sql)

    async def prepared_ids(self) -> list[str]:
        query = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        return [str(row[0]) for row in await self.rows(query)]


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    async with fake_http_coordinator() as fake:
        yield fake


@pytest.fixture(params=["mariadb", "postgres"])
async def bank(request: pytest.FixtureRequest, fake: Fake) -> AsyncIterator[Bank]:
    over_mariadb = request.param == "mariadb"
    database: Database = request.getfixturevalue(f"{request.param}_database")
    kind = "mysql" if over_mariadb else "postgres"
    schema = (ROOT / "sql" / f"barrier.{kind}.sql").read_text(encoding="utf-8")
    await asyncio.to_thread(
        database.execute,
        f"{schema}TRUNCATE dtm_barrier.barrier;CREATE TABLE account (balance int);"
        "INSERT INTO account VALUES (0)",
    )
    async with Dtm(fake.url) as dtm:
        bank = Bank(database, dtm) if over_mariadb else PostgresBank(database, dtm)
        yield bank
        for xid in await bank.dangling(""):  # of a test that failed; its locks would hang the next one
            await bank.rows(bank.end.format("ROLLBACK", xid))


async def test_the_action_prepares_and_the_commit_commits(bank: Bank, fake: Fake) -> None:
    assert await bank.call("action") is True
    assert await bank.balance() == 0, "prepared is not committed"
    assert await bank.dangling() == ["g1-01"]
    assert fake.asked[0].body == {
        "gid": "g1",
        "trans_type": "xa",
        "branch_id": "01",
        "url": URL,
        "data": b"",
    }
    assert await bank.call("commit") is False
    assert await bank.balance() == 30
    assert await bank.dangling() == []


@pytest.mark.parametrize("bank", ["postgres"], indirect=True)
async def test_an_action_that_postgres_undid_is_not_prepared(bank: Bank) -> None:
    """After a failed statement PREPARE TRANSACTION rolls back without an error."""
    with pytest.raises(BarrierError, match="the error was caught"):
        async with bank.dtm.xa_branch(BranchContext("g1", "xa", "01", "action", URL), bank.connect) as branch:
            with contextlib.suppress(asyncpg.PostgresError):
                await bank.execute(branch.connection, "SELECT 1 / 0")
    assert await bank.dangling() == []
    await bank.call("rollback")


async def test_the_rollback_undoes_it(bank: Bank) -> None:
    await bank.call("action")
    await bank.call("rollback")
    assert (await bank.balance(), await bank.dangling()) == (0, [])


@pytest.mark.parametrize(("op", "balance"), [("commit", 30), ("rollback", 0)])
async def test_a_second_phase_may_come_again_and_again(bank: Bank, op: str, balance: int) -> None:
    await bank.call("action")
    for _ in range(3):
        await bank.call(op)
    assert (await bank.balance(), await bank.dangling()) == (balance, [])


async def test_a_rollback_that_comes_first_wins_and_the_late_action_fails(bank: Bank) -> None:  # §12
    await bank.call("rollback")
    with pytest.raises(Failure, match="ended before this action came"):
        await bank.call("action")
    assert (await bank.balance(), await bank.dangling()) == (0, [])


async def test_a_commit_of_what_was_never_prepared_is_no_success(bank: Bank) -> None:
    with pytest.raises(DtmError, match="never prepared here"):
        await bank.call("commit")


async def test_an_action_that_comes_after_the_commit_fails_and_has_no_second_effect(bank: Bank) -> None:
    await bank.call("action")
    await bank.call("commit")
    with pytest.raises(Failure):
        await bank.call("action")
    assert (await bank.balance(), await bank.dangling()) == (30, [])


async def test_a_rollback_after_the_commit_is_an_error_and_not_a_success(bank: Bank) -> None:
    await bank.call("action")
    await bank.call("commit")
    with pytest.raises(DtmError, match="is committed already"):
        await bank.call("rollback")
    assert await bank.balance() == 30


async def test_a_business_exception_leaves_nothing(bank: Bank) -> None:
    with pytest.raises(Failure, match="locked"):
        await bank.call("action", refuse=True)
    assert await bank.dangling() == []
    await bank.call("rollback")
    assert await bank.balance() == 0


async def test_a_coordinator_that_refuses_the_branch_leaves_nothing(bank: Bank, fake: Fake) -> None:
    fake.scripts["registerBranch"] = [Answer.NOT_PREPARED]
    with pytest.raises(Failure, match="status: prepared found"):
        await bank.call("action")
    assert (await bank.balance(), await bank.dangling()) == (0, [])


async def test_fifty_actions_at_once_have_one_effect(bank: Bank) -> None:
    results = await asyncio.gather(*(bank.call("action") for _ in range(50)), return_exceptions=True)
    assert [result for result in results if result is True] == [True], results
    await bank.call("commit")
    assert (await bank.balance(), await bank.dangling()) == (30, [])


async def test_actions_commits_and_rollbacks_of_many_transactions_at_once(bank: Bank) -> None:
    gids = [f"many-{number}" for number in range(20)]

    async def whole(gid: str, op: str) -> None:
        while True:  # branches of one account queue for its row, as MySQL's lock waits
            try:
                await bank.call("action", gid)
                break
            except (aiomysql.OperationalError, asyncpg.PostgresError):
                await bank.call("rollback", gid)
                return
        await bank.call(op, gid)

    await asyncio.gather(*(whole(gid, ("commit", "rollback")[n % 2]) for n, gid in enumerate(gids)))
    assert await bank.dangling("many") == []
    committed = await bank.rows("SELECT count(*) FROM dtm_barrier.barrier WHERE reason = 'action'")
    assert await bank.balance() == 30 * int(committed[0][0])


async def test_a_rollback_waits_for_an_action_that_is_just_being_done(bank: Bank) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with bank.dtm.xa_branch(BranchContext("g1", "xa", "01", "action", URL), bank.connect):
            inside.set()
            await go_on.wait()

    action = asyncio.create_task(slow())
    await inside.wait()
    rollback = asyncio.create_task(bank.call("rollback"))
    done, _ = await asyncio.wait({rollback}, timeout=0.5)
    assert not done, "it must not say 'rolled back' while the action may still prepare"
    go_on.set()
    await action
    await rollback
    assert (await bank.balance(), await bank.dangling()) == (0, [])


async def test_a_commit_while_the_preparing_connection_is_still_open_is_not_lost(bank: Bank) -> None:
    connection = await bank.prepared_by_hand("g1", "UPDATE account SET balance = balance + 30")
    commit = asyncio.create_task(bank.call("commit"))
    if bank.server == "mariadb":
        done, _ = await asyncio.wait({commit}, timeout=0.5)
        assert not done, "MariaDB says 'unknown id' here; that must not be taken for 'committed before'"
    closing = connection.close()
    if closing is not None:
        await closing
    await commit
    assert (await bank.balance(), await bank.dangling()) == (30, [])


@pytest.mark.parametrize("bank", ["mariadb"], indirect=True)
async def test_a_commit_beside_a_closing_connection_is_made_or_is_an_error(
    bank: Bank, request: pytest.FixtureRequest
) -> None:
    """MariaDB confirms one in some hundreds, and does not make it, until it is restarted."""

    async def succeeds(gid: str) -> bool:
        connection = await bank.prepared_by_hand(gid)
        opened = await bank.connect()  # so that the commit comes the sooner

        async def connect() -> Any:
            return opened

        await connection.ensure_closed()
        try:
            async with bank.dtm.xa_branch(BranchContext(gid, "xa", "01", "commit", URL), connect):
                return True
        except DtmError as error:
            assert "confirmed the commit" in str(error)
            return False

    gids = [f"at-once-{number}" for number in range(200)]
    made = []
    for first in range(0, len(gids), 10):
        made += await asyncio.gather(*map(succeeds, gids[first : first + 10]))
    lost = [gid for gid, is_made in zip(gids, made, strict=True) if not is_made]
    query = "SELECT count(*) FROM dtm_barrier.barrier WHERE gid LIKE 'at-once-%'"
    assert (await bank.rows(query))[0][0] == len(gids) - len(lost)
    if lost:
        server = request.getfixturevalue("mariadb")
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        for gid in lost:
            await bank.call("commit", gid)
    assert (await bank.rows(query))[0][0] == len(gids)


CRASHING_BRANCH = """
import asyncio, sys, aiomysql, asyncpg
from coordinator.client import BranchContext, Dtm

async def main(url, server, host, port, name, where):
    async with Dtm(url) as dtm:
        branch = BranchContext("g1", "xa", "01", "action", "http://me/xa")
        if server == "mariadb":
            connect = lambda: aiomysql.connect(host=host, port=int(port), user="root", db=name)
        else:
            connect = lambda: asyncpg.connect(host=host, port=int(port), user="root", database=name)
        block = dtm.xa_branch(branch, connect)
        transaction = await block.__aenter__()
        connection = transaction.connection
        execute = connection.query if server == "mariadb" else connection.execute
        await execute("UPDATE account SET balance = balance + 30")
        if where == "after-prepare":
            await block._database.prepare(block._xid)  # and the connection stays open until the crash
        print("now", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("op", ["commit", "rollback"])
async def test_a_branch_killed_between_prepare_and_the_second_phase_leaves_nothing_dangling(
    bank: Bank, fake: Fake, op: str
) -> None:
    await crash(bank, fake, "after-prepare")
    await bank.call(op)
    assert await bank.balance() == (30 if op == "commit" else 0)
    assert await bank.dangling() == []


async def test_a_branch_killed_before_prepare_leaves_nothing(bank: Bank, fake: Fake) -> None:
    await crash(bank, fake, "before-prepare")
    await bank.call("rollback")
    assert (await bank.balance(), await bank.dangling()) == (0, [])


async def crash(bank: Bank, fake: Fake, where: str) -> None:
    """Run a branch in a process of its own, kill -9 it at the place."""
    database = bank.database
    arguments = (fake.url, bank.server, database.host, str(database.port), database.name, where)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    async with child(sys.executable, "-c", CRASHING_BRANCH, *arguments, environment=environment) as process:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"now\n"
        process.kill()


async def test_a_database_that_crashed_keeps_what_is_prepared(
    bank: Bank, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(bank.server)
    await bank.call("action")
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    assert await bank.dangling() == ["g1-01"]
    await bank.call("commit")
    assert (await bank.balance(), await bank.dangling()) == (30, [])


async def test_an_id_that_is_too_long_is_explained(bank: Bank) -> None:
    bytes_max = {"mariadb": 64, "postgres": 199}[bank.server]
    gid = "g" * 126 if bank.server == "mariadb" else "g" * 128
    if len(gid) + len("-01") > bytes_max:
        with pytest.raises(DtmError, match=f"more than {bytes_max} bytes"):
            await bank.call("action", gid)
    else:
        await bank.call("action", gid)
        await bank.call("commit", gid)


async def test_an_id_with_quotes_is_an_id(bank: Bank) -> None:
    gid = "o'clock\\'; DROP TABLE account"
    await bank.call("action", gid)
    await bank.call("commit", gid)
    assert await bank.balance() == 30
