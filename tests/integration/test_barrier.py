"""The barrier on real databases (PROTOCOL §12): repeated, empty, dangling, concurrent calls, exceptions."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiomysql
import aiosqlite
import asyncpg
import psycopg
import pymysql
import pytest
from pymysql.constants import CLIENT
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from coordinator.client import (
    BarrierError,
    BranchContext,
    CursorBarrier,
    Failure,
    InvalidUse,
    MySqlBarrier,
    Outcome,
    SqliteBarrier,
    barrier,
    query_prepared,
    sync,
)
from coordinator.client.barriers.rules import BarrierRow
from tests.support.servers import Database, PostgresDatabase

SQL = Path(__file__).resolve().parents[2] / "sql"
CONCURRENT_CALLS = 50


class Business(Protocol):
    """One business database: an account, and the barrier beside it."""

    def connect(self) -> AbstractAsyncContextManager[Any]:
        """A connection of one's own."""

    async def add(self, connection: Any, amount: int) -> None:
        """The business: change the balance."""

    async def balance(self) -> int:
        """What is committed, seen from another connection."""

    async def barrier_rows(self) -> list[tuple[str, ...]]:
        """Committed (branch_id, op, barrier_id, reason), first inserted first."""


class SqliteBusiness:
    def __init__(self, path: Path) -> None:
        self._path = path

    async def prepare(self) -> None:
        async with self.connect() as connection:
            await connection.executescript((SQL / "barrier.sqlite.sql").read_text(encoding="utf-8"))
            await connection.executescript(
                "CREATE TABLE account (balance int); INSERT INTO account VALUES (0)"
            )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[aiosqlite.Connection]:
        async with aiosqlite.connect(self._path, timeout=30) as connection:
            yield connection

    async def add(self, connection: aiosqlite.Connection, amount: int) -> None:
        await connection.execute("UPDATE account SET balance = balance + ?", (amount,))

    async def balance(self) -> int:
        return int((await self._rows("SELECT balance FROM account"))[0][0])

    async def barrier_rows(self) -> list[tuple[str, ...]]:
        return await self._rows("SELECT branch_id, op, barrier_id, reason FROM barrier ORDER BY id")

    async def _rows(self, sql: str) -> list[Any]:
        async with self.connect() as connection, connection.execute(sql) as cursor:
            return [tuple(row) for row in await cursor.fetchall()]


class MariaDBBusiness:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def prepare(self) -> None:
        database = self._database
        await asyncio.to_thread(database.execute, (SQL / "barrier.mysql.sql").read_text(encoding="utf-8"))
        await asyncio.to_thread(
            database.execute,
            "TRUNCATE dtm_barrier.barrier;CREATE TABLE account (balance int); INSERT INTO account VALUES (0)",
        )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[aiomysql.Connection]:
        database = self._database
        connection = await aiomysql.connect(
            host=database.host, port=database.port, user=database.user, db=database.name
        )
        try:
            yield connection
        finally:
            connection.close()

    async def add(self, connection: aiomysql.Connection, amount: int) -> None:
        async with connection.cursor() as cursor:
            await cursor.execute("UPDATE account SET balance = balance + %s", (amount,))

    async def balance(self) -> int:
        return int(str((await self._rows("SELECT balance FROM account"))[0][0]))

    async def barrier_rows(self) -> list[tuple[str, ...]]:
        return await self._rows(
            "SELECT branch_id, op, barrier_id, reason FROM dtm_barrier.barrier ORDER BY id"
        )

    async def _rows(self, sql: str) -> list[Any]:
        return await asyncio.to_thread(self._database.execute, sql)


class PostgresBusiness:
    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def prepare(self) -> None:
        schema = (SQL / "barrier.postgres.sql").read_text(encoding="utf-8")
        accounts = "CREATE TABLE account (balance int); INSERT INTO account VALUES (0)"
        await asyncio.to_thread(self._database.execute, schema + accounts)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[asyncpg.Connection]:
        one = self._database
        connection = await asyncpg.connect(host=one.host, port=one.port, user=one.user, database=one.name)
        try:
            yield connection
        finally:
            await connection.close()

    async def add(self, connection: asyncpg.Connection, amount: int) -> None:
        if not connection.is_in_transaction():  # for what a caller does before its barrier
            await connection.execute("BEGIN")
        await connection.execute("UPDATE account SET balance = balance + $1", amount)

    async def balance(self) -> int:
        return int(str((await self._rows("SELECT balance FROM account"))[0][0]))

    async def barrier_rows(self) -> list[tuple[str, ...]]:
        return await self._rows(
            "SELECT branch_id, op, barrier_id, reason FROM dtm_barrier.barrier ORDER BY id"
        )

    async def _rows(self, sql: str) -> list[Any]:
        return await asyncio.to_thread(self._database.execute, sql)


class SqlAlchemyBusiness:
    """The same accounts and barrier, reached through an AsyncSession."""

    def __init__(self, inner: "SqliteBusiness | MariaDBBusiness | PostgresBusiness", url: str) -> None:
        self._inner = inner
        options = {"connect_args": {"timeout": 30}} if url.startswith("sqlite") else {}
        self._engine = create_async_engine(url, poolclass=NullPool, **options)
        self.prepare, self.balance, self.barrier_rows = inner.prepare, inner.balance, inner.barrier_rows

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self._engine) as session:
            yield session

    async def add(self, session: AsyncSession, amount: int) -> None:
        await session.execute(text("UPDATE account SET balance = balance + :amount"), {"amount": amount})


@pytest.fixture(
    params=[f"{by}{name}" for by in ("", "sqlalchemy-") for name in ("sqlite", "mariadb", "postgres")]
)
async def business(request: pytest.FixtureRequest, tmp_path: Path) -> Business:
    made: SqliteBusiness | MariaDBBusiness | PostgresBusiness
    if request.param.endswith("sqlite"):
        made = SqliteBusiness(tmp_path / "business.db")
        url = f"sqlite+aiosqlite:///{tmp_path / 'business.db'}"
    elif request.param.endswith("postgres"):
        one: PostgresDatabase = request.getfixturevalue("postgres_database")
        url = f"postgresql+asyncpg://{one.user}@{one.host}:{one.port}/{one.name}"
        made = PostgresBusiness(one)
    else:
        database: Database = request.getfixturevalue("mariadb_database")
        made, url = MariaDBBusiness(database), database.url
    await made.prepare()
    return SqlAlchemyBusiness(made, url) if request.param.startswith("sqlalchemy") else made


def branch(op: str, gid: str = "g1") -> BranchContext:
    """A new request: the coordinator calls this operation once more."""
    return BranchContext(gid=gid, trans_type="saga", branch_id="01", op=op)


async def call(business: Business, op: str, amount: int, gid: str = "g1") -> Outcome:
    """One request that adds to the account behind the barrier."""
    async with business.connect() as connection, barrier(branch(op, gid), connection) as transaction:
        if transaction.runs:
            await business.add(connection, amount)
        return transaction.outcome


async def test_the_first_call_runs_and_leaves_its_row(business: Business) -> None:
    assert await call(business, "action", 30) is Outcome.RUN
    assert await business.balance() == 30
    assert await business.barrier_rows() == [("01", "action", "01", "action")]


async def test_in_one_call_with_a_function(business: Business) -> None:
    async def give_thirty(connection: Any) -> str:
        await business.add(connection, 30)
        return "given"

    answers = []
    for _ in range(2):
        async with business.connect() as connection:
            answers.append(await barrier(branch("action"), connection).call(give_thirty))
    assert answers == ["given", None]
    assert await business.balance() == 30


async def test_a_repeated_call_does_nothing(business: Business) -> None:
    assert [await call(business, "action", 30) for _ in range(3)] == [Outcome.RUN] + [Outcome.REPEATED] * 2
    assert await business.balance() == 30


async def test_a_compensation_undoes_once(business: Business) -> None:
    await call(business, "action", 30)
    assert [await call(business, "compensate", -30) for _ in range(2)] == [Outcome.RUN, Outcome.REPEATED]
    assert await business.balance() == 0


@pytest.mark.parametrize(
    ("forward", "back"), [("action", "compensate"), ("try", "cancel"), ("action", "rollback")]
)
async def test_an_empty_compensation_undoes_nothing(business: Business, forward: str, back: str) -> None:
    assert await call(business, back, -30) is Outcome.EMPTY
    assert await call(business, back, -30) is Outcome.REPEATED
    assert await business.balance() == 0
    assert await business.barrier_rows() == [("01", forward, "01", back), ("01", back, "01", back)]


async def test_an_action_that_dangles_behind_its_compensation_does_nothing(business: Business) -> None:
    await call(business, "compensate", -30)
    assert await call(business, "action", 30) is Outcome.REPEATED
    assert await business.balance() == 0


@pytest.mark.parametrize("by", ["asyncpg", "sqlalchemy", "psycopg"])
async def test_postgres_that_undid_a_business_which_caught_an_error_is_no_success(
    postgres_database: PostgresDatabase, by: str
) -> None:
    """PROTOCOL §12: both commit together. After a failed statement its COMMIT rolls back without an error."""
    one = postgres_database
    inner = PostgresBusiness(one)
    await inner.prepare()
    if by == "psycopg":
        connection = psycopg.connect(host=one.host, port=one.port, user=one.user, dbname=one.name)
        caught = pytest.raises(BarrierError, match="the error was caught")
        with connection, caught, sync.barrier(branch("action"), connection):
            connection.execute("UPDATE account SET balance = 30")
            with contextlib.suppress(psycopg.Error):
                connection.execute("SELECT 1 / 0")
    else:
        url = f"postgresql+asyncpg://{one.user}@{one.host}:{one.port}/{one.name}"
        business: Business = inner if by == "asyncpg" else SqlAlchemyBusiness(inner, url)
        async with business.connect() as borrowed:
            with pytest.raises(BarrierError, match="the error was caught"):
                async with barrier(branch("action"), borrowed):
                    await business.add(borrowed, 30)
                    with contextlib.suppress(asyncpg.PostgresError, DBAPIError):
                        await borrowed.execute(text("SELECT 1 / 0") if by == "sqlalchemy" else "SELECT 1 / 0")
            async with barrier(branch("action", "g2"), borrowed):  # the connection is as good as new
                await business.add(borrowed, 1)
    assert await inner.balance() == (0 if by == "psycopg" else 1)


@pytest.mark.parametrize("by", ["aiomysql", "pymysql", "psycopg", "aiosqlite", "sqlite3"])
async def test_a_connection_whose_rows_are_dicts_has_its_barrier(
    request: pytest.FixtureRequest, tmp_path: Path, by: str
) -> None:
    """PROTOCOL §12: from the first call to query_prepared's."""

    def as_dict(cursor: Any, row: Any) -> dict[str, Any]:
        return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}

    sender = BranchContext(gid="g1", trans_type="msg", branch_id="00", op="msg")
    asked = BranchContext(gid="g1", trans_type="msg", branch_id="00", op="msg")
    connection: Any
    if by in ("aiosqlite", "sqlite3"):
        await SqliteBusiness(tmp_path / "business.db").prepare()
    else:
        server = "postgres" if by == "psycopg" else "mariadb"
        one = request.getfixturevalue(f"{server}_database")
        await (PostgresBusiness(one) if by == "psycopg" else MariaDBBusiness(one)).prepare()
        address = {"host": one.host, "port": one.port, "user": one.user}
    match by:
        case "aiomysql":
            connection = await aiomysql.connect(**address, db=one.name, cursorclass=aiomysql.DictCursor)
        case "aiosqlite":
            connection = await aiosqlite.connect(tmp_path / "business.db")
            connection.row_factory = as_dict
        case "pymysql":
            connection = pymysql.connect(**address, database=one.name, cursorclass=pymysql.cursors.DictCursor)
        case "psycopg":
            connection = psycopg.connect(**address, dbname=one.name, row_factory=psycopg.rows.dict_row)  # type: ignore[arg-type]
        case _:
            connection = sqlite3.connect(tmp_path / "business.db")
            connection.row_factory = as_dict
    try:
        if by.startswith("aio"):
            async with barrier(sender, connection) as transaction:
                assert transaction.runs
            await query_prepared(asked, connection)
        else:
            with sync.barrier(sender, connection) as transaction:
                assert transaction.runs
            sync.query_prepared(asked, connection)
    finally:  # a thread of aiosqlite would outlive the tests
        closing = connection.close()
        if by == "aiosqlite":
            await closing


@pytest.mark.parametrize("by", ["aiomysql", "sqlalchemy", "pymysql"])
async def test_mysql_that_undid_the_barrier_inside_the_business_is_no_success(
    mariadb_database: Database, by: str
) -> None:
    """PROTOCOL §12: both commit together. A deadlock rolls all back; a repeated statement begins anew."""
    one = mariadb_database
    inner = MariaDBBusiness(one)
    await inner.prepare()
    caught = pytest.raises(BarrierError, match="after a deadlock MySQL undoes all of it")
    if by == "pymysql":
        connection = pymysql.connect(host=one.host, port=one.port, user=one.user, database=one.name)
        with connection, caught, sync.barrier(branch("action"), connection):
            connection.query("ROLLBACK")
            connection.query("UPDATE account SET balance = 30")
    else:
        business: Business = inner if by == "aiomysql" else SqlAlchemyBusiness(inner, one.url)
        async with business.connect() as borrowed:
            with caught:
                async with barrier(branch("action"), borrowed):
                    await (borrowed.execute(text("ROLLBACK")) if by == "sqlalchemy" else borrowed.rollback())
                    await business.add(borrowed, 30)
    assert await inner.balance() == 0
    assert await call(inner, "action", 30) is Outcome.RUN


async def test_an_exception_of_the_business_rolls_both_back(business: Business) -> None:
    with pytest.raises(Failure, match="no money"):
        async with business.connect() as connection, barrier(branch("action"), connection):
            await business.add(connection, 30)
            raise Failure("no money")
    assert await business.balance() == 0
    assert await business.barrier_rows() == []
    assert await call(business, "compensate", -30) is Outcome.EMPTY, "what rolled back never ran"


async def test_a_cancelled_request_leaves_nothing_and_its_connection_is_usable_or_closed(
    business: Business,
) -> None:
    inside = asyncio.Event()

    async def hang(connection: Any) -> None:
        await business.add(connection, 30)
        inside.set()
        await asyncio.sleep(60)

    async with business.connect() as connection:
        task = asyncio.create_task(barrier(branch("action"), connection).call(hang))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await business.balance() == 0
        await barrier(branch("action"), connection).call(lambda c: business.add(c, 5))
    assert await business.balance() == 5


async def test_a_commit_that_is_refused_leaves_no_open_transaction(tmp_path: Path) -> None:
    """§12: the next call on this connection would join it, and could never commit either."""
    business = SqliteBusiness(tmp_path / "business.db")
    await business.prepare()
    async with business.connect() as connection:
        await connection.execute("PRAGMA foreign_keys = ON")
        await connection.executescript(
            "CREATE TABLE person (id integer PRIMARY KEY);"
            "CREATE TABLE card (owner int REFERENCES person (id) DEFERRABLE INITIALLY DEFERRED)"
        )
        with pytest.raises(sqlite3.IntegrityError):
            async with barrier(branch("action"), connection):
                await connection.execute("INSERT INTO card VALUES (7)")
        async with barrier(branch("action", "g2"), connection) as transaction:
            assert transaction.runs
            await business.add(connection, 1)
    assert await business.balance() == 1


async def test_postgres_refusing_or_losing_a_commit_leaves_its_connection_usable(
    postgres_database: PostgresDatabase,
) -> None:
    """§12; what was cancelled stays cancelled, and is not another error."""
    business = PostgresBusiness(postgres_database)
    await business.prepare()
    async with business.connect() as connection:
        await connection.execute(
            "CREATE TABLE person (id int PRIMARY KEY);"
            "CREATE TABLE card (owner int REFERENCES person (id) DEFERRABLE INITIALLY DEFERRED)"
        )
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            async with barrier(branch("action"), connection):
                await connection.execute("INSERT INTO card VALUES (7)")
        assert not connection.is_in_transaction()
        leaving = barrier(branch("action", "g2"), connection)
        await leaving.__aenter__()
        task = asyncio.create_task(leaving.__aexit__(None, None, None))
        await asyncio.sleep(0)  # now it waits for the server
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not connection.is_in_transaction()
        async with barrier(branch("action", "g3"), connection):
            await business.add(connection, 1)
    assert await business.balance() == 1


async def test_a_request_that_is_cancelled_while_its_transaction_begins_is_cancelled(
    postgres_database: PostgresDatabase,
) -> None:
    business = PostgresBusiness(postgres_database)
    await business.prepare()
    async with business.connect() as connection:
        for _ in range(100):  # which of BEGIN and its cancellation is first is chance
            task = asyncio.create_task(barrier(branch("action"), connection).__aenter__())
            await asyncio.sleep(0)  # now it waits for the server
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await connection.fetchval("SELECT 1") == 1  # whatever is under way has ended
            assert not connection.is_in_transaction()


def test_sqlalchemy_s_blocking_engine_that_commits_each_statement_is_refused() -> None:
    engine = create_engine("sqlite://", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(InvalidUse, match="needs a transaction"):
        sync.barrier(branch("action"), connection).__enter__()
    engine.dispose()


@pytest.mark.parametrize("of", ["engine", "connection"])
async def test_sqlalchemy_that_commits_each_statement_by_itself_is_refused(tmp_path: Path, of: str) -> None:
    """§12: what fails would leave its row, and be taken for done when it is called again."""
    await SqliteBusiness(tmp_path / "business.db").prepare()
    options = {"isolation_level": "AUTOCOMMIT"}
    url = f"sqlite+aiosqlite:///{tmp_path / 'business.db'}"
    engine = create_async_engine(url, poolclass=NullPool, **(options if of == "engine" else {}))
    async with engine.connect() as connection:
        if of == "connection":
            await connection.execution_options(**options)
        with pytest.raises(InvalidUse, match="needs a transaction"):
            async with barrier(branch("action"), connection):
                pass


async def test_two_barriers_in_one_request_are_two(business: Business) -> None:
    request = branch("action")
    async with business.connect() as connection:
        for _ in range(2):
            async with barrier(request, connection) as transaction:
                assert transaction.runs
                await business.add(connection, 1)
    assert await business.balance() == 2
    assert [row[2] for row in await business.barrier_rows()] == ["01", "02"]


async def test_what_the_caller_did_before_in_the_same_transaction_goes_with_it(business: Business) -> None:
    async with business.connect() as connection:
        await business.add(connection, 100)
        with pytest.raises(Failure):
            async with barrier(branch("action"), connection):
                raise Failure("no")
        await business.add(connection, 1)
        async with barrier(branch("action"), connection) as transaction:
            assert transaction.runs
    assert await business.balance() == 1


async def test_transactions_do_not_meet(business: Business) -> None:
    assert [await call(business, "action", 1, gid=gid) for gid in ("g1", "g2", "G1")] == [Outcome.RUN] * 3
    assert await business.balance() == 3


# --- at once ---


async def test_fifty_calls_at_once_have_one_effect(business: Business) -> None:
    outcomes = await asyncio.gather(*(call(business, "action", 30) for _ in range(CONCURRENT_CALLS)))
    assert sorted(outcome.value for outcome in outcomes) == ["repeated"] * (CONCURRENT_CALLS - 1) + ["run"]
    assert await business.balance() == 30


async def test_fifty_actions_and_compensations_at_once_leave_nothing(business: Business) -> None:
    ops = ["action", "compensate"] * (CONCURRENT_CALLS // 2)
    results = await asyncio.gather(
        *(call(business, op, 30 if op == "action" else -30) for op in ops), return_exceptions=True
    )
    # A deadlock may have a victim in MySQL; such a branch answers Internal and is called again.
    assert all(
        isinstance(result, (Outcome, aiomysql.OperationalError, asyncpg.DeadlockDetectedError, DBAPIError))
        for result in results
    ), results
    await call(business, "compensate", -30)
    assert await business.balance() == 0


async def test_while_one_holds_the_row_another_waits_and_then_does_nothing(business: Business) -> None:
    holding, let_go = asyncio.Event(), asyncio.Event()

    async def first(connection: Any) -> None:
        await business.add(connection, 30)
        holding.set()
        await let_go.wait()

    async def hold() -> None:
        async with business.connect() as connection:
            await barrier(branch("action"), connection).call(first)

    holder = asyncio.create_task(hold())
    await holding.wait()
    waiter = asyncio.create_task(call(business, "action", 30))
    done, _ = await asyncio.wait({waiter}, timeout=0.2)
    assert not done, "the second must not decide before the first has"
    let_go.set()
    await holder
    assert await waiter is Outcome.REPEATED
    assert await business.balance() == 30


# --- each database's own ---


async def test_sqlite_without_the_table_says_which_file_makes_it(tmp_path: Path) -> None:
    async with aiosqlite.connect(tmp_path / "empty.db") as connection:
        with pytest.raises(
            BarrierError, match=r"barrier is missing: create it with sql/barrier\.sqlite\.sql"
        ):
            async with barrier(branch("action"), connection):
                pass
        assert not connection.in_transaction


async def test_mariadb_without_the_table_says_which_file_makes_it(mariadb_database: Database) -> None:
    async with MariaDBBusiness(mariadb_database).connect() as connection:
        for table in ("nothing_here", "no_such_database.barrier"):
            with pytest.raises(
                BarrierError, match=rf"{table} is missing: create it with sql/barrier\.mysql\.sql"
            ):
                async with barrier(branch("action"), connection, table=table):
                    pass


async def test_mariadb_with_another_table_and_found_rows(mariadb_database: Database) -> None:
    business = MariaDBBusiness(mariadb_database)
    await business.prepare()
    await asyncio.to_thread(mariadb_database.execute, "CREATE TABLE own LIKE dtm_barrier.barrier")
    for outcome in (Outcome.RUN, Outcome.REPEATED):
        connection = await aiomysql.connect(
            host=mariadb_database.host,
            port=mariadb_database.port,
            user=mariadb_database.user,
            db=mariadb_database.name,
            client_flag=CLIENT.FOUND_ROWS,
            autocommit=True,
        )
        async with barrier(branch("action"), connection, table="own") as transaction:
            assert transaction.outcome is outcome
            if transaction.runs:
                await business.add(connection, 30)
        connection.close()
    assert await business.balance() == 30
    assert await business.barrier_rows() == []


@pytest.mark.filterwarnings("ignore:Duplicate entry")  # what aiomysql's cursors say of INSERT IGNORE
async def test_any_async_cursor_of_mysql_follows_the_same_rules(mariadb_database: Database) -> None:
    business = MariaDBBusiness(mariadb_database)
    await business.prepare()
    for outcome in (Outcome.RUN, Outcome.REPEATED):
        async with (
            business.connect() as connection,
            barrier(branch("action"), CursorBarrier(connection)) as transaction,
        ):
            assert transaction.outcome is outcome
            if transaction.runs:
                await business.add(connection, 30)
    assert await business.balance() == 30


async def test_a_database_that_goes_away_is_an_error_of_its_driver(mariadb_database: Database) -> None:
    business = MariaDBBusiness(mariadb_database)
    await business.prepare()
    async with business.connect() as connection:
        number = connection.thread_id()
        with pytest.raises((aiomysql.OperationalError, aiomysql.InterfaceError)):
            async with barrier(branch("action"), connection):
                await asyncio.to_thread(mariadb_database.execute, f"KILL {number}")
                await business.add(connection, 30)
    assert await business.balance() == 0


async def test_a_driver_of_one_s_own_is_three_statements(tmp_path: Path) -> None:
    """sqlite3 itself, blocking, behind the methods that the barrier asks for."""

    class Own:
        def __init__(self, connection: sqlite3.Connection) -> None:
            self.connection = connection

        async def begin(self) -> None:
            self.connection.execute("BEGIN")

        async def insert_ignore(self, row: BarrierRow) -> bool:
            values = (row.gid, row.branch_id, row.op, row.barrier_id)
            sql = "INSERT OR IGNORE INTO barrier (gid, branch_id, op, barrier_id) VALUES (?, ?, ?, ?)"
            return bool(self.connection.execute(sql, values).rowcount)

        async def commit(self) -> None:
            self.connection.execute("COMMIT")

        async def rollback(self) -> None:
            self.connection.execute("ROLLBACK")

    connection = sqlite3.connect(tmp_path / "own.db", isolation_level=None)
    connection.executescript((SQL / "barrier.sqlite.sql").read_text(encoding="utf-8"))
    outcomes = []
    for _ in range(2):
        async with barrier(branch("action"), Own(connection)) as transaction:
            outcomes.append(transaction.outcome)
    connection.close()
    assert outcomes == [Outcome.RUN, Outcome.REPEATED]


@pytest.mark.parametrize("adapter", [MySqlBarrier, SqliteBarrier])
@pytest.mark.parametrize("table", ["barrier; DROP TABLE account", "a.b.c", "a-b", "", " "])
def test_a_table_name_is_a_name(adapter: Any, table: str) -> None:
    if not table:
        adapter(None, table)  # the default
        return
    with pytest.raises(InvalidUse, match="letters, digits and _ only"):
        adapter(None, table)


def test_a_connection_that_nobody_knows() -> None:
    with pytest.raises(InvalidUse, match="aiomysql or aiosqlite connection"):
        barrier(branch("action"), object())
