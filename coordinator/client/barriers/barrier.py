"""The barrier: one branch call has its effect once, in the caller's own local transaction (PROTOCOL §12)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

from coordinator.client.barriers.connections import barrier_database
from coordinator.client.barriers.repeats import Pause, is_given_up, pausing, repeated
from coordinator.client.barriers.rules import Outcome, judge, plan
from coordinator.client.frameworks.request import Source, branch_of
from coordinator.client.transport.context import BranchContext

ConnectionT = TypeVar("ConnectionT")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BarrierTransaction(Generic[ConnectionT]):
    """The open local transaction of one barrier (PROTOCOL §12)."""

    connection: ConnectionT
    outcome: Outcome

    @property
    def runs(self) -> bool:
        """True when the business is to be done; False for a repeated, late or empty call: a success."""
        return self.outcome is Outcome.RUN


class Barrier(Generic[ConnectionT]):
    """One barrier on one connection (PROTOCOL §12); made by `barrier`.

    Commits at its end, rolls back on any exception. Entering raises BarrierError where the table is
    missing. What the database gives up for another transaction's sake (a deadlock) is done again from the
    start of the local transaction: by `call` and `run` with the business, which may so run twice, in a
    block the barrier's own statements alone. A transaction that was open before is not: what its owner did
    in it is lost, too.
    """

    def __init__(
        self, branch: BranchContext, connection: ConnectionT, table: str = "", *, pause: Pause = pausing
    ) -> None:
        self._connection = connection
        self._database = barrier_database(connection, table)
        self._plan = plan(branch, branch.next_barrier_id())
        self._pause = pause
        self._may_be_committed = False

    @property
    def rolled_back(self) -> bool:
        """True when the local transaction ended without an attempt to commit it."""
        return not self._may_be_committed

    async def own_reason(self) -> str:
        """Return the operation that inserted the row of this call; inside the open transaction."""
        return await self._database.reason_of(self._plan.own)

    async def call(self, business: Callable[[ConnectionT], Awaitable[T]]) -> T | None:
        """Run `business(connection)` if this call is the first of its kind, and commit both together.

        Returns what business returned, None when it was not run (repeated, late, or nothing to undo: all a
        success). An exception of business rolls back both and comes through. After a deadlock the business
        runs again: what it does beside the database must bear that.
        """

        async def work(transaction: BarrierTransaction[ConnectionT]) -> T | None:
            return await business(transaction.connection) if transaction.runs else None

        return await self.run(work)

    async def run(self, work: Callable[[BarrierTransaction[ConnectionT]], Awaitable[T]]) -> T:
        """Run `work(transaction)` in the local transaction, whether it `runs` or not, and return what it did.

        After a deadlock it runs again. Raises what work raises.
        """

        async def attempt() -> T:
            transaction = await self._begin()
            try:
                result = await work(transaction)
            except BaseException:
                await self._database.rollback()
                raise
            await self._commit()
            return result

        return await repeated(self._database, attempt, self._pause)

    async def __aenter__(self) -> BarrierTransaction[ConnectionT]:
        return await repeated(self._database, self._begin, self._pause)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self._commit()
            return
        if is_given_up(error):
            error.add_note(
                "The barrier repeats this by itself where the business is a function: barrier(…).call"
            )
        await self._database.rollback()

    async def _begin(self) -> BarrierTransaction[ConnectionT]:
        database = self._database
        self._may_be_committed = False
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

    async def _commit(self) -> None:
        self._may_be_committed = True
        try:
            await self._database.commit()
        except BaseException as error:
            if is_given_up(error):
                self._may_be_committed = False
            # One that is refused (a deferred constraint) or cancelled may leave the transaction open.
            await self._database.rollback()
            raise


def barrier(source: Source, connection: ConnectionT, *, table: str = "") -> Barrier[ConnectionT]:
    """Return the barrier for this branch call on this connection (PROTOCOL §12).

    source: the branch context (`current_branch()`), or the request of aiohttp, Starlette, FastAPI, grpclib or
    grpcio. connection: one of aiomysql, aiosqlite or asyncpg, or an AsyncSession or AsyncConnection of
    SQLAlchemy, that nobody else uses meanwhile, or a BarrierDatabase; a transaction that is open on it is
    joined. table: `dtm_barrier.barrier` on MySQL and PostgreSQL, `barrier` on SQLite unless said otherwise.
    Raises NoBranchContext, InvalidUse, BarrierError.

    Example:
        async with barrier(current_branch(), connection) as transaction:
            if transaction.runs:
                await connection.execute("UPDATE account SET balance = balance - 30 WHERE id = 1")

        # the same, in one call
        await barrier(current_branch(), connection).call(take_thirty)
    """
    return Barrier(branch_of(source), connection, table)
