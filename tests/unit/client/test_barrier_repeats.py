"""A deadlock inside the barrier is repeated from the start of the local transaction (PROTOCOL §12)."""

from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from pymysql.err import OperationalError
from sqlalchemy.exc import DBAPIError

from coordinator.client import Barrier, BranchContext, query_prepared, with_barrier
from coordinator.client import sync as blocking
from coordinator.client.barriers.repeats import ATTEMPTS_MAX, is_given_up
from coordinator.client.barriers.rules import BarrierRow
from coordinator.client.sync import barriers as blocking_barriers
from coordinator.client.sync import decorator
from coordinator.client.transport.context import as_current

DEADLOCK = OperationalError(1213, "Deadlock found when trying to get lock")


class PostgresError(Exception):
    """Known by its name, as asyncpg's is."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(f"state {sqlstate}")
        self.sqlstate = sqlstate


class Failing:
    """A database that fails at the places that are named, each once: `begin`, `insert`, `commit`."""

    def __init__(self, *places: str, joined: bool = False, error: Exception = DEADLOCK) -> None:
        self.joined = joined
        self.said: list[str] = []
        self._places = list(places)
        self._error = error

    async def begin(self) -> None:
        self._say("begin")

    async def insert_ignore(self, row: BarrierRow) -> bool:
        self._say("insert")
        return True

    async def reason_of(self, row: BarrierRow) -> str:
        return row.reason

    async def commit(self) -> None:
        self._say("commit")

    async def rollback(self) -> None:
        self.said.append("rollback")

    def _say(self, place: str) -> None:
        self.said.append(place)
        if place in self._places:
            self._places.remove(place)
            raise self._error


def branch() -> BranchContext:
    return BranchContext("g1", "saga", "01", "action")


def failing_first(times: int, error: Exception = DEADLOCK) -> tuple[list[int], Callable[[], str]]:
    """A business that fails so often, and how often it was called."""
    calls: list[int] = []

    def business() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    return calls, business


@pytest.mark.parametrize("place", ["begin", "insert", "commit"])
async def test_wherever_it_comes_the_transaction_is_done_again_from_its_start(place: str) -> None:
    database = Failing(place)
    calls, business = failing_first(0)

    async def work(connection: Any) -> str:
        return business()

    assert await Barrier(branch(), database).call(work) == "done"
    assert database.said[-3:] == ["begin", "insert", "commit"]
    assert database.said.count("begin") == 2
    assert len(calls) == (2 if place == "commit" else 1)


async def test_the_business_may_run_twice() -> None:
    database = Failing()
    calls, business = failing_first(1)

    async def work(connection: Any) -> str:
        return business()

    assert await Barrier(branch(), database).call(work) == "done"
    assert len(calls) == 2
    assert database.said == ["begin", "insert", "rollback", "begin", "insert", "commit"]


async def test_it_is_not_repeated_for_ever() -> None:
    calls, business = failing_first(100)

    async def work(connection: Any) -> str:
        return business()

    with pytest.raises(OperationalError, match="Deadlock"):
        await Barrier(branch(), Failing()).call(work)
    assert len(calls) == ATTEMPTS_MAX


@pytest.mark.parametrize(
    ("database", "error"),
    [
        (Failing(joined=True), DEADLOCK),  # what the caller did before in it would be lost
        (Failing(), OperationalError(1205, "Lock wait timeout exceeded")),
        (Failing(), LookupError(1213)),
    ],
)
async def test_what_may_not_be_done_again_comes_through(database: Failing, error: Exception) -> None:
    calls, business = failing_first(1, error)

    async def work(connection: Any) -> str:
        return business()

    with pytest.raises(type(error)):
        await Barrier(branch(), database).call(work)
    assert len(calls) == 1
    assert database.said[-1] == "rollback"


async def test_a_block_repeats_its_own_statements_and_says_how_to_have_the_business_repeated() -> None:
    async with Barrier(branch(), Failing("insert")) as transaction:
        assert transaction.runs
    with pytest.raises(OperationalError) as caught:
        async with Barrier(branch(), Failing()):
            raise OperationalError(1213, "Deadlock found")
    assert "call" in "".join(caught.value.__notes__)


async def test_a_decorated_handler_runs_again() -> None:
    database = Failing()
    calls, business = failing_first(1)

    @asynccontextmanager
    async def lend() -> Any:
        yield database

    @with_barrier(lend, repeated=lambda: "repeated")
    async def handler(*, connection: Any) -> str:
        return business()

    with as_current(branch()):
        assert await handler() == "done"
    assert len(calls) == 2


async def test_the_question_of_the_coordinator_is_asked_again() -> None:
    database = Failing("insert", "commit")
    with pytest.raises(Exception, match="never committed"):
        await query_prepared(BranchContext("g1", "msg", "00", "msg"), database)
    assert database.said.count("begin") == 3


def test_blocking_code_has_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking_barriers, "blocking_database", lambda connection, table="": connection)
    calls, business = failing_first(1)
    database = Failing("insert", "commit")
    assert blocking.barrier(branch(), database).call(lambda connection: business()) == "done"
    assert len(calls) == 3, "once given up itself, once at its commit"
    assert database.said.count("begin") == 4
    decorated_calls, decorated = failing_first(1)

    @contextmanager
    def lend() -> Any:
        yield Failing()

    @decorator.with_barrier(lend, repeated=lambda: "repeated")
    def handler(given: BranchContext, *, connection: Any) -> str:
        return decorated()

    assert handler(branch()) == "done"
    assert len(decorated_calls) == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DEADLOCK, True),
        (PostgresError("40P01"), True),
        (PostgresError("40001"), True),
        (DBAPIError("UPDATE", {}, DEADLOCK), True),
        (DBAPIError("UPDATE", {}, PostgresError("40P01")), True),
        (PostgresError("23505"), False),
        (OperationalError(1062, "Duplicate entry"), False),
        (ValueError(1213), False),
        (ValueError(), False),
    ],
)
def test_what_the_database_has_given_up(error: Exception, expected: bool) -> None:
    assert is_given_up(error) is expected
