"""The barrier on sqlite3, pymysql, psycopg and psycopg2 (PROTOCOL §12): the same rules, in threads."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import psycopg2
import psycopg2.extras
import pymysql
import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from coordinator.client import BarrierError, BranchContext, Failure, InvalidUse, Outcome
from coordinator.client.barriers.table import barrier_schema
from coordinator.client.sync import barrier, query_prepared
from tests.support.servers import Database, PostgresDatabase

CONCURRENT_CALLS = 50
# INSERT IGNORE on MySQL says what it ignored, and pymysql passes that on
pytestmark = pytest.mark.filterwarnings("ignore:.*Duplicate entry")


@dataclass
class Business:
    """An account, and the barrier beside it. connect: a connection of one's own, as a service opens it."""

    connect: Callable[[], Any]

    def run(self, connection: Any, statement: str) -> Any:
        """Return the first column of the first row, where the statement has rows."""
        if not hasattr(connection, "cursor"):
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
        with closing(connection.cursor()) as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None

    def add(self, connection: Any, amount: int) -> None:
        self.run(connection, f"UPDATE account SET balance = balance + {amount}")

    def balance(self) -> int:
        with closing(self.connect()) as connection:
            return int(self.run(connection, "SELECT balance FROM account"))

    def call(self, op: str, amount: int, gid: str = "g1") -> Outcome:
        with (
            closing(self.connect()) as connection,
            barrier(BranchContext(gid, "saga", "01", op), connection) as transaction,
        ):
            if transaction.runs:
                self.add(connection, amount)
            return transaction.outcome


ACCOUNT = "CREATE TABLE account (balance int); INSERT INTO account VALUES (0);"


def of_sqlite(path: Path) -> Business:
    def connect() -> Any:
        return sqlite3.connect(path, timeout=30)

    with closing(connect()) as connection:
        connection.executescript(barrier_schema("sqlite") + ACCOUNT)
    return Business(connect)


def of_mariadb(one: Database) -> Business:
    one.execute(f"{barrier_schema('mysql')} TRUNCATE dtm_barrier.barrier; {ACCOUNT}")
    return Business(lambda: pymysql.connect(host=one.host, port=one.port, user=one.user, database=one.name))


def of_postgres(one: PostgresDatabase, connect: Callable[..., Any], **options: Any) -> Business:
    one.execute(barrier_schema("postgres") + ACCOUNT)
    return Business(lambda: connect(host=one.host, port=one.port, user=one.user, dbname=one.name, **options))


def in_rows_of_names(**where: Any) -> Any:
    return psycopg2.connect(**where, cursor_factory=psycopg2.extras.RealDictCursor)


POSTGRES: dict[str, Callable[..., Any]] = {"psycopg": psycopg.connect, "psycopg2": psycopg2.connect}


def of_sqlalchemy(inner: Business, driver: str, *, own_connection: bool = False) -> Business:
    """The same accounts and barrier, reached through a Session, or a Connection."""
    dialect = {"sqlite3": "sqlite", "pymysql": "mysql+pymysql"}.get(driver, f"postgresql+{driver}")
    engine = create_engine(f"{dialect}://", creator=inner.connect, poolclass=NullPool)
    return Business(engine.connect if own_connection else lambda: Session(engine))


@pytest.fixture(
    params=[
        *("sqlite3", "pymysql", *POSTGRES),
        *(f"{one} by Session" for one in ("sqlite3", "pymysql", *POSTGRES)),
        "psycopg by Connection",
    ]
)
def business(request: pytest.FixtureRequest, tmp_path: Path) -> Business:
    driver, _, by = request.param.partition(" by ")
    own = of_driver(driver, request, tmp_path)
    return of_sqlalchemy(own, driver, own_connection=by == "Connection") if by else own


def of_driver(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> Business:
    match driver:
        case "sqlite3":
            return of_sqlite(tmp_path / "business.db")
        case "pymysql":
            return of_mariadb(request.getfixturevalue("mariadb_database"))
        case _:
            return of_postgres(request.getfixturevalue("postgres_database"), POSTGRES[driver])


@pytest.fixture(params=list(POSTGRES))
def postgres_business(request: pytest.FixtureRequest, postgres_database: PostgresDatabase) -> Business:
    return of_postgres(postgres_database, POSTGRES[request.param])


def test_a_repeated_call_does_nothing(business: Business) -> None:
    assert [business.call("action", 30) for _ in range(2)] == [Outcome.RUN, Outcome.REPEATED]
    assert [business.call("compensate", -10) for _ in range(2)] == [Outcome.RUN, Outcome.REPEATED]
    assert business.balance() == 20


def test_an_empty_compensation_undoes_nothing_and_shuts_the_late_action_out(business: Business) -> None:
    assert business.call("compensate", -30) is Outcome.EMPTY
    assert business.call("action", 30) is Outcome.REPEATED
    assert business.balance() == 0


def test_an_exception_of_the_business_rolls_both_back(business: Business) -> None:
    with closing(business.connect()) as connection:
        with pytest.raises(Failure), barrier(BranchContext("g1", "saga", "01", "action"), connection):
            business.add(connection, 30)
            raise Failure("no money")
        assert business.balance() == 0
        # the same connection goes on, and what rolled back never ran
        with barrier(BranchContext("g1", "saga", "01", "action"), connection) as transaction:
            assert transaction.runs
            business.add(connection, 5)
    assert business.balance() == 5


def test_fifty_calls_at_once_have_one_effect(business: Business) -> None:
    with ThreadPoolExecutor(CONCURRENT_CALLS) as threads:
        outcomes = list(threads.map(lambda _: business.call("action", 30), range(CONCURRENT_CALLS)))
    assert sorted(one.value for one in outcomes) == ["repeated"] * (CONCURRENT_CALLS - 1) + ["run"]
    assert business.balance() == 30


def test_a_sender_that_never_committed_is_given_up_for_good(business: Business) -> None:  # §8
    asked = BranchContext("g1", "msg", "00", "msg")
    with closing(business.connect()) as connection:
        for _ in range(2):
            with pytest.raises(Failure, match="never committed"):
                query_prepared(asked, connection)
        with barrier(asked, connection) as late:
            assert not late.runs


def test_a_database_without_the_table_says_how_to_make_it(business: Business) -> None:
    with (
        closing(business.connect()) as connection,
        pytest.raises(BarrierError, match="barrier table nothing_here is missing"),
        barrier(BranchContext("g1", "saga", "01", "action"), connection, table="nothing_here"),
    ):
        pass


def test_a_transaction_that_is_open_is_joined(business: Business) -> None:
    with closing(business.connect()) as connection:
        business.run(connection, "BEGIN" if isinstance(connection, sqlite3.Connection) else "SELECT 1")
        business.add(connection, 7)
        with barrier(BranchContext("g1", "saga", "01", "action"), connection):
            business.add(connection, 30)
    assert business.balance() == 37


@pytest.mark.parametrize("driver", list(POSTGRES))
def test_without_transactions_it_is_refused(postgres_database: PostgresDatabase, driver: str) -> None:
    business = of_postgres(postgres_database, POSTGRES[driver])
    with closing(business.connect()) as connection:
        connection.autocommit = True
        with (
            pytest.raises(InvalidUse, match=f"open {driver} without autocommit"),
            barrier(BranchContext("g1", "saga", "01", "action"), connection),
        ):
            pass


def test_a_statement_that_failed_and_was_caught_is_not_taken_for_done(postgres_business: Business) -> None:
    """PostgreSQL's COMMIT rolls back then, and says nothing of it."""
    with closing(postgres_business.connect()) as connection:
        with (
            pytest.raises(BarrierError, match="PostgreSQL has undone all of it"),
            barrier(BranchContext("g1", "saga", "01", "action"), connection),
        ):
            postgres_business.add(connection, 30)
            with pytest.raises((psycopg.Error, psycopg2.Error)), closing(connection.cursor()) as cursor:
                cursor.execute("SELECT 1 / 0")
        assert postgres_business.balance() == 0
        with barrier(BranchContext("g1", "saga", "01", "action"), connection) as transaction:
            assert transaction.runs, "the same connection goes on, and what was undone never ran"


def test_a_connection_lost_in_the_business_is_its_error_and_no_other(
    postgres_business: Business, postgres_database: PostgresDatabase
) -> None:
    with (
        closing(postgres_business.connect()) as connection,
        pytest.raises((psycopg.OperationalError, psycopg2.OperationalError), match="terminat"),
        barrier(BranchContext("g1", "saga", "01", "action"), connection),
    ):
        postgres_business.add(connection, 30)
        postgres_database.end_connections()
        postgres_business.add(connection, 30)
    assert postgres_business.balance() == 0
    assert postgres_business.call("action", 5) is Outcome.RUN


def test_rows_may_be_dicts(postgres_database: PostgresDatabase) -> None:
    business = of_postgres(postgres_database, in_rows_of_names)
    asked = BranchContext("g1", "msg", "00", "msg")
    with closing(business.connect()) as connection:
        for _ in range(2):
            with pytest.raises(Failure, match="never committed"):
                query_prepared(asked, connection)


def test_a_scoped_session_is_that_of_its_thread(tmp_path: Path) -> None:
    business = of_sqlite(tmp_path / "business.db")
    engine = create_engine("sqlite://", creator=business.connect, poolclass=NullPool)
    session = scoped_session(sessionmaker(engine))
    for outcome in (Outcome.RUN, Outcome.REPEATED):
        with barrier(BranchContext("g1", "saga", "01", "action"), session) as transaction:
            assert transaction.outcome is outcome
            if transaction.runs:
                session.execute(text("UPDATE account SET balance = 30"))
    session.remove()
    assert business.balance() == 30


@pytest.mark.parametrize("make", [create_engine, create_async_engine])
def test_an_engine_is_refused(make: Callable[[str], Any]) -> None:
    engine = make("sqlite://" if make is create_engine else "sqlite+aiosqlite://")
    with pytest.raises(InvalidUse, match="takes a Session or Connection of SQLAlchemy, not a"):
        barrier(BranchContext("g1", "saga", "01", "action"), engine)


def test_a_connection_of_a_class_of_one_s_own_is_known_by_its_parents(tmp_path: Path) -> None:
    class Own(sqlite3.Connection):
        pass

    of_sqlite(tmp_path / "business.db")
    with closing(sqlite3.connect(tmp_path / "business.db", factory=Own)) as connection:
        assert barrier(BranchContext("g1", "saga", "01", "action"), connection).call(lambda _: "ran") == "ran"
