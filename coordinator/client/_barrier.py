"""The barrier: one branch call has its effect once, in the caller's own local transaction (PROTOCOL §12)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, TypeVar

from aiohttp import web

from coordinator.client._barrier_databases import barrier_database
from coordinator.client._barrier_rules import Outcome, judge, plan
from coordinator.client._context import BranchContext

ConnectionT = TypeVar("ConnectionT")
T = TypeVar("T")

_REQUEST_KEY: Final = web.RequestKey("branch", BranchContext)


@dataclass(frozen=True, slots=True)
class BarrierTransaction(Generic[ConnectionT]):
    """The open local transaction of one barrier."""

    connection: ConnectionT
    outcome: Outcome

    @property
    def runs(self) -> bool:
        """True when the business is to be done; False for a repeated, late or empty call: a success."""
        return self.outcome is Outcome.RUN


class Barrier(Generic[ConnectionT]):
    """One barrier on one connection; made by `barrier`. Commits at its end, rolls back on any exception."""

    def __init__(self, branch: BranchContext, connection: ConnectionT, table: str = "") -> None:
        self._connection = connection
        self._database = barrier_database(connection, table)
        self._plan = plan(branch, branch.next_barrier_id())

    async def call(self, business: Callable[[ConnectionT], Awaitable[T]]) -> T | None:
        """Run `business(connection)` if this call is the first of its kind, and commit both together.

        Returns what business returned, None when it was not run (repeated, late, or nothing to undo: all a
        success). An exception of business rolls back both and comes through.
        """
        async with self as transaction:
            return await business(transaction.connection) if transaction.runs else None

    async def __aenter__(self) -> BarrierTransaction[ConnectionT]:
        database = self._database
        try:
            await database.begin()
            origin = self._plan.origin
            origin_inserted = await database.insert_ignore(origin) if origin else False
            own_inserted = await database.insert_ignore(self._plan.own)
        except BaseException:
            # Whatever it was, a cancelled task included, no half-open transaction goes back to the caller's
            # pool.
            await database.rollback()
            raise
        return BarrierTransaction(
            self._connection, judge(origin_inserted=origin_inserted, own_inserted=own_inserted)
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self._database.commit()
        else:
            await self._database.rollback()


def barrier(
    source: BranchContext | web.BaseRequest, connection: ConnectionT, *, table: str = ""
) -> Barrier[ConnectionT]:
    """Return the barrier for this branch call on this connection.

    source: the branch context (`current_branch()`), or an aiohttp request. connection: an aiomysql or
    aiosqlite connection that nobody else uses meanwhile, or a BarrierDatabase; a transaction that is open on
    it is joined. table: `dtm_barrier.barrier` on MySQL, `barrier` on SQLite unless said otherwise. Raises
    NoBranchContext, InvalidUse, BarrierError.

    Example:
        async with barrier(current_branch(), connection) as transaction:
            if transaction.runs:
                await connection.execute("UPDATE account SET balance = balance - 30 WHERE id = 1")

        # the same, in one call
        await barrier(current_branch(), connection).call(take_thirty)
    """
    return Barrier(source if isinstance(source, BranchContext) else branch_of(source), connection, table)


def branch_of(request: web.BaseRequest) -> BranchContext:
    """Return the branch context of an aiohttp request, the same object each time it is asked.

    Raises NoBranchContext where the query string carries none.
    """
    if _REQUEST_KEY not in request:
        request[_REQUEST_KEY] = BranchContext.from_query(request.query)
    return request[_REQUEST_KEY]
