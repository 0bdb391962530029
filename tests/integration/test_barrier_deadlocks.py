"""A real deadlock inside the barrier: whoever the database gives up does it again, and both succeed (§12)."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomysql
import asyncpg
import psycopg
import pymysql
import pytest
from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from coordinator.client import BranchContext, barrier, sync
from tests.support.servers import Database, PostgresDatabase

SQL = Path(__file__).resolve().parents[2] / "sql"
ACCOUNTS = "CREATE TABLE account (id int PRIMARY KEY, balance int); INSERT INTO account VALUES (1, 0), (2, 0)"
ADD = "UPDATE account SET balance = balance + 1 WHERE id = {}"
CONCURRENT_CANCELS = 30


def branch(gid: str, op: str = "action") -> BranchContext:
    return BranchContext(gid, "saga", "01", op)


class Bank:
    """Two accounts, and the barrier beside them. driver: by which connections are opened."""

    def __init__(self, driver: str, database: Any) -> None:
        self._driver = driver
        self._database = database

    def prepare(self) -> None:
        kind = "postgres" if isinstance(self._database, PostgresDatabase) else "mysql"
        self._database.execute((SQL / f"barrier.{kind}.sql").read_text(encoding="utf-8"))
        self._database.execute("TRUNCATE TABLE dtm_barrier.barrier")
        self._database.execute(ACCOUNTS)

    def balances(self) -> list[int]:
        return [int(row[0]) for row in self._database.execute("SELECT balance FROM account ORDER BY id")]

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        one = self._database
        where = {"host": one.host, "port": one.port, "user": one.user}
        if self._driver == "aiomysql":
            connection = await aiomysql.connect(**where, db=one.name)
            yield connection
            connection.close()
        elif self._driver == "asyncpg":
            connection = await asyncpg.connect(**where, database=one.name)
            yield connection
            await connection.close()
        else:
            url = f"{self._driver}://{one.user}@{one.host}:{one.port}/{one.name}"
            engine = create_async_engine(url, poolclass=NullPool)
            async with AsyncSession(engine) as session:
                yield session
            await engine.dispose()

    def connect_blocking(self) -> Any:
        one = self._database
        if self._driver == "pymysql":
            return pymysql.connect(host=one.host, port=one.port, user=one.user, database=one.name)
        return psycopg.connect(host=one.host, port=one.port, user=one.user, dbname=one.name)


def bank_of(request: pytest.FixtureRequest) -> Bank:
    driver = request.param
    fixture = "mariadb_database" if "mysql" in driver else "postgres_database"
    database: Database | PostgresDatabase = request.getfixturevalue(fixture)
    bank = Bank(driver, database)
    bank.prepare()
    return bank


@pytest.fixture(params=["aiomysql", "asyncpg", "mysql+aiomysql", "postgresql+asyncpg"])
def bank(request: pytest.FixtureRequest) -> Bank:
    return bank_of(request)


@pytest.fixture(params=["pymysql", "psycopg"])
def blocking_bank(request: pytest.FixtureRequest) -> Bank:
    return bank_of(request)


async def add(connection: Any, account: int) -> None:
    statement = ADD.format(account)
    if isinstance(connection, AsyncSession):
        await connection.execute(text(statement))
    elif hasattr(connection, "cursor") and not isinstance(connection, asyncpg.Connection):
        async with connection.cursor() as cursor:
            await cursor.execute(statement)
    else:
        await connection.execute(statement)


async def test_two_that_wait_for_each_other_both_succeed(bank: Bank) -> None:
    both_have_one, runs = asyncio.Barrier(2), 0

    async def transfer(gid: str, first: int, second: int) -> None:
        is_first_run = True

        async def business(connection: Any) -> None:
            nonlocal is_first_run, runs
            runs += 1
            await add(connection, first)
            if is_first_run:
                is_first_run = False
                await both_have_one.wait()
            await add(connection, second)

        async with bank.connect() as connection:
            await barrier(branch(gid), connection).call(business)

    await asyncio.gather(transfer("g1", 1, 2), transfer("g2", 2, 1))
    assert runs == 3, "the one that was given up ran again"
    assert await asyncio.to_thread(bank.balances) == [2, 2]


def test_two_threads_that_wait_for_each_other_both_succeed(blocking_bank: Bank) -> None:
    both_have_one, runs = threading.Barrier(2), []
    failed: list[BaseException] = []

    def transfer(gid: str, first: int, second: int) -> None:
        connection = blocking_bank.connect_blocking()

        def business(given: Any) -> None:
            runs.append(gid)
            with given.cursor() as cursor:
                cursor.execute(ADD.format(first))
                if runs.count(gid) == 1:
                    both_have_one.wait(20)
                cursor.execute(ADD.format(second))

        try:
            sync.barrier(branch(gid), connection).call(business)
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            failed.append(error)
        finally:
            connection.close()

    run(lambda: transfer("g1", 1, 2), lambda: transfer("g2", 2, 1))
    assert failed == []
    assert len(runs) == 3
    assert blocking_bank.balances() == [2, 2]


def run(*works: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


async def test_an_open_transaction_of_the_caller_is_not_done_again_behind_his_back(bank: Bank) -> None:
    """What he did in it before is lost with it: the error is his."""
    both_have_one = asyncio.Barrier(2)
    outcomes: list[str] = []

    async def transfer(gid: str, first: int, second: int) -> None:
        async def business(connection: Any) -> None:
            await both_have_one.wait()
            await add(connection, second)

        async with bank.connect() as connection:
            if isinstance(connection, asyncpg.Connection):
                await connection.execute("BEGIN")
            elif isinstance(connection, aiomysql.Connection):
                await connection.begin()
            await add(connection, first)
            try:
                await barrier(branch(gid), connection).call(business)
            except Exception as error:  # noqa: BLE001 - of any driver
                outcomes.append("deadlock" if "eadlock" in str(error) else repr(error))
            else:
                outcomes.append("done")

    await asyncio.gather(transfer("g1", 1, 2), transfer("g2", 2, 1))
    assert sorted(outcomes) == ["deadlock", "done"]
    assert await asyncio.to_thread(bank.balances) == [1, 1]


async def test_many_cancels_at_once_raise_nothing(bank: Bank) -> None:
    async def cancel(number: int) -> None:
        async def business(connection: Any) -> None:
            await add(connection, 1)

        for op in ("action", "compensate"):
            async with bank.connect() as connection:
                await barrier(branch(f"g{number}", op), connection).call(business)

    await asyncio.gather(*map(cancel, range(CONCURRENT_CANCELS)))
    assert await asyncio.to_thread(bank.balances) == [2 * CONCURRENT_CANCELS, 0]
