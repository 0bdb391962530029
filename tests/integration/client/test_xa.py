"""XA from end to end on MariaDB and PostgreSQL, over HTTP and gRPC (PROTOCOL §7, §12): nothing dangles."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomysql
import asyncpg
import pytest

from coordinator.client import Failure, Status, Workflow, Workflows, workflow
from coordinator.testing import Call, Says
from tests.integration.client.conftest import World
from tests.support.servers import Database, PostgresDatabase

ROOT = Path(__file__).resolve().parents[3]
OUT, IN = "/bank.Bank/Out", "/bank.Bank/In"


class Bank:
    """Two accounts; `/Out` and `/In` are XA branches of the fake, with a real database behind them."""

    def __init__(self, database: Database, world: World) -> None:
        self.database = database
        self.world = world
        self.postgres = isinstance(database, PostgresDatabase)
        self.refuse_in = False
        self.lose: set[str] = set()  # operations whose first answer is lost after they were done
        for path in (OUT, IN):
            world.branches.answer(path, self.serve)

    async def serve(self, call: Call) -> Any:
        async with self.world.dtm.xa_branch(call.branch, self.connect) as transaction:
            if transaction.runs:
                await self.change(transaction.connection, call.path)
        if call.op in self.lose:
            self.lose.discard(call.op)
            return Says.BROKEN
        return b"{}"

    async def change(self, connection: Any, path: str) -> int:
        account, amount = (1, -30) if path == OUT else (2, 30)
        if path == IN and self.refuse_in:
            raise Failure("account 2 is locked")
        statement = f"UPDATE account SET balance = balance + {amount} WHERE id = {account}"
        if self.postgres:
            return int(str(await connection.execute(statement)).split()[1])
        return int(await connection.query(statement))

    async def connect(self) -> Any:
        one = self.database
        if self.postgres:
            return await asyncpg.connect(host=one.host, port=one.port, user=one.user, database=one.name)
        return await aiomysql.connect(host=one.host, port=one.port, user=one.user, db=one.name)

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return await asyncio.to_thread(self.database.execute, sql)

    async def balances(self) -> tuple[int, ...]:
        return tuple(row[0] for row in await self.rows("SELECT balance FROM account ORDER BY id"))

    async def prepared_ids(self) -> list[str]:
        if self.postgres:
            query = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
            return [str(row[0]) for row in await self.rows(query)]
        return [row[3].decode() for row in await self.rows("XA RECOVER")]

    async def dangling(self) -> int:
        return len(await self.prepared_ids())


@pytest.fixture(params=["mariadb", "postgres"])
async def bank(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Bank]:
    database: Database = request.getfixturevalue(f"{request.param}_database")
    kind = "mysql" if request.param == "mariadb" else "postgres"
    schema = (ROOT / "sql" / f"barrier.{kind}.sql").read_text(encoding="utf-8")
    accounts = "CREATE TABLE account (id int PRIMARY KEY, balance int)"
    values = "INSERT INTO account VALUES (1, 100), (2, 0)"
    await asyncio.to_thread(database.execute, f"{schema}TRUNCATE dtm_barrier.barrier; {accounts}; {values}")
    bank = Bank(database, world)
    yield bank
    for xid in await bank.prepared_ids():  # of a test that failed; its locks would hang the next one
        await bank.rows(f"ROLLBACK PREPARED '{xid}'" if bank.postgres else f"XA ROLLBACK '{xid}'")


async def transfer(world: World, gid: str = "g1") -> None:
    async with world.dtm.xa(gid) as xa:
        await xa.call_branch(world.bank + OUT, {"amount": 30})
        await xa.call_branch(world.bank + IN)


async def test_both_are_committed(world: World, bank: Bank) -> None:
    await transfer(world)
    assert (await world.stored("g1")).status is Status.SUCCEED
    assert (await bank.balances(), await bank.dangling()) == ((70, 30), 0)
    assert await world.rows("g1") == [
        "01 rollback prepared",
        "01 commit succeed",
        "02 rollback prepared",
        "02 commit succeed",
    ]


async def test_a_refusal_rolls_both_back(world: World, bank: Bank) -> None:
    bank.refuse_in = True
    with pytest.raises(Failure, match="account 2 is locked"):
        await transfer(world)
    assert (await world.stored("g1")).status is Status.FAILED
    assert (await bank.balances(), await bank.dangling()) == ((100, 0), 0)


async def test_an_action_whose_answer_is_lost_is_rolled_back(world: World, bank: Bank) -> None:
    bank.lose = {"action"}
    with pytest.raises(Exception, match="told to break"):
        await transfer(world)
    assert (await world.stored("g1")).status is Status.FAILED
    assert (await bank.balances(), await bank.dangling()) == ((100, 0), 0)


async def test_a_commit_whose_answer_is_lost_is_repeated_and_commits_once(world: World, bank: Bank) -> None:
    bank.lose = {"commit"}
    await transfer(world)
    await world.kit.advance(40)
    assert (await world.stored("g1")).status is Status.SUCCEED
    assert (await bank.balances(), await bank.dangling()) == ((70, 30), 0)


async def test_a_second_phase_that_is_ongoing_is_called_until_it_succeeds(world: World, bank: Bank) -> None:
    world.branches.answer(OUT, Says.ONGOING, bank.serve, op="commit")
    await transfer(world)
    assert (await world.stored("g1")).status is Status.SUBMITTED
    assert await bank.dangling() >= 1
    await world.kit.advance(12)
    assert (await world.stored("g1")).status is Status.SUCCEED
    assert (await bank.balances(), await bank.dangling()) == ((70, 30), 0)


async def test_a_client_that_died_in_the_middle_leaves_nothing_dangling(world: World, bank: Bank) -> None:
    block = world.dtm.xa("g1")
    xa = await block.__aenter__()
    await xa.call_branch(world.bank + OUT)
    assert await bank.dangling() == 1
    await world.kit.advance(40)
    assert (await world.stored("g1")).status is Status.FAILED
    assert (await bank.balances(), await bank.dangling()) == ((100, 0), 0)


# ---- as steps of a workflow


def both(bank: Bank, name: str = "both", crash: str = "") -> Any:
    class Crash(Exception):
        pass

    @workflow(name)
    async def function(wf: Workflow, data: Any) -> list[int]:
        async def out(connection: Any) -> int:
            return await bank.change(connection, OUT)

        async def into(connection: Any) -> int:
            changed = await bank.change(connection, IN)
            if crash == "in business":
                raise Crash
            return changed

        results = [await wf.xa(bank.connect, out), await wf.xa(bank.connect, into)]
        if crash == "after the steps":
            raise Crash
        return results

    return function


async def test_xa_steps_of_a_workflow_are_committed_and_stored_as_the_protocol_says(
    world: World, bank: Bank
) -> None:
    function = both(bank)
    workflows = Workflows(world.dtm, [function], callback="http://127.0.0.1:1/none")
    assert await workflows.execute(function, gid="g1") == [1, 1]
    assert (await bank.balances(), await bank.dangling()) == ((70, 30), 0)
    rows = [row.rpartition(" ")[0] for row in await world.rows("g1")]
    assert rows == [  # §1
        *("01 business", "01 action", "02 business", "02 action", "02 commit", "01 commit")
    ]


async def test_a_refused_xa_step_rolls_the_first_one_back(world: World, bank: Bank) -> None:
    bank.refuse_in = True
    function = both(bank)
    workflows = Workflows(world.dtm, [function], callback="http://127.0.0.1:1/none")
    with pytest.raises(Failure, match="account 2 is locked"):
        await workflows.execute(function, gid="g1")
    assert (await world.stored("g1")).status is Status.FAILED
    assert (await bank.balances(), await bank.dangling()) == ((100, 0), 0)


@pytest.mark.parametrize("crash", ["in business", "after the steps"])
async def test_a_workflow_that_crashed_goes_on_with_what_is_prepared(
    world: World, bank: Bank, crash: str
) -> None:
    dying, whole = both(bank, crash=crash), both(bank)
    workflows = Workflows(world.dtm, [dying], callback="http://127.0.0.1:1/none")
    with pytest.raises(Exception, match=r"^$"):
        await workflows.execute(dying, gid="g1")
    workflows = Workflows(world.dtm, [whole], callback="http://127.0.0.1:1/none")
    assert await workflows.execute(whole, gid="g1") == [1, 1]
    assert (await bank.balances(), await bank.dangling()) == ((70, 30), 0)


async def test_a_crash_between_prepare_and_its_record_is_adopted(
    world: World, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator.client.patterns.workflow_progress import ProgressLog

    record = ProgressLog.record

    async def dies(self: Any, branch_id: str, op: str, *more: Any) -> None:
        if op == "action":
            raise ConnectionError("the process is gone")
        await record(self, branch_id, op, *more)

    function = both(bank)
    workflows = Workflows(world.dtm, [function], callback="http://127.0.0.1:1/none")
    with monkeypatch.context() as patched:
        patched.setattr(ProgressLog, "record", dies)
        with pytest.raises(ConnectionError):
            await workflows.execute(function, gid="g1")
    assert await bank.dangling() == 1
    assert await workflows.execute(function, gid="g1") == [1, 1]
    assert (await bank.balances(), await bank.dangling()) == ((70, 30), 0)
