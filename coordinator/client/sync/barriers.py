"""The barrier for blocking code (PROTOCOL §12)."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from coordinator.client.barriers import barrier as _barrier
from coordinator.client.barriers import query_prepared as _query_prepared
from coordinator.client.barriers.repeats import pausing_in_thread
from coordinator.client.frameworks.for_wsgi import blocking_branch_of
from coordinator.client.frameworks.request import Source
from coordinator.client.portal import at_once
from coordinator.client.sync.connections import blocking_database
from coordinator.client.transport.context import BranchContext

T = TypeVar("T")
ConnectionT = TypeVar("ConnectionT")


class Barrier(Generic[ConnectionT]):
    """One barrier on one blocking connection (PROTOCOL §12); made by `barrier`."""

    def __init__(self, branch: BranchContext, connection: ConnectionT, table: str) -> None:
        self._connection = connection
        self._barrier = _barrier.Barrier(
            branch, blocking_database(connection, table), pause=pausing_in_thread
        )

    def call(self, business: Callable[[ConnectionT], T]) -> T | None:
        """Run `business(connection)` if this call is the first of its kind, and commit both together.

        After a deadlock it runs again.
        """
        return self.run(lambda transaction: business(self._connection) if transaction.runs else None)

    def run(self, work: Callable[[_barrier.BarrierTransaction[ConnectionT]], T]) -> T:
        """Run `work(transaction)` in the local transaction, `runs` or not; after a deadlock again."""

        async def working(transaction: _barrier.BarrierTransaction[Any]) -> T:
            return work(_barrier.BarrierTransaction(self._connection, transaction.outcome))

        return at_once(self._barrier.run(working))

    def __enter__(self) -> _barrier.BarrierTransaction[ConnectionT]:
        transaction = at_once(self._barrier.__aenter__())
        return _barrier.BarrierTransaction(self._connection, transaction.outcome)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        at_once(self._barrier.__aexit__(kind, error, traceback))


def barrier(source: Source, connection: ConnectionT, *, table: str = "") -> Barrier[ConnectionT]:
    """Return the barrier for this branch call on this connection (PROTOCOL §12).

    source: a BranchContext, or the request of Flask or Django. connection: of sqlite3, pymysql, psycopg
    or psycopg2, or a Session, scoped_session or Connection of SQLAlchemy.

    Example:
        with barrier(flask.request, connection) as transaction:
            if transaction.runs:
                connection.execute("UPDATE account SET balance = balance - 30 WHERE id = 1")
    """
    return Barrier(blocking_branch_of(source), connection, table)


def query_prepared(source: Source, connection: Any, *, table: str = "") -> None:
    """Return when the local transaction of the message was committed (PROTOCOL §8, §12).

    Raises Failure when it never will be, and what `barrier` raises.
    """
    database = blocking_database(connection, table)
    at_once(_query_prepared.ask_prepared(blocking_branch_of(source), database, "", pausing_in_thread))
