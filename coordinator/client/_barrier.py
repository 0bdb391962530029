"""The barrier: one branch call has its effect once, in the caller's own local transaction (PROTOCOL §12)."""

import functools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Generic, TypeVar

from aiohttp.web import StreamResponse

from coordinator.client._barrier_connections import barrier_database
from coordinator.client._barrier_rules import Outcome, judge, plan
from coordinator.client._context import BranchContext, current_branch
from coordinator.client._request import Source, branch_of

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

    Commits at its end, rolls back on any exception. Entering raises BarrierError where the table is missing.
    """

    def __init__(self, branch: BranchContext, connection: ConnectionT, table: str = "") -> None:
        self._connection = connection
        self._database = barrier_database(connection, table)
        self._plan = plan(branch, branch.next_barrier_id())
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
            self._may_be_committed = True
            await self._database.commit()
        else:
            await self._database.rollback()


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


def with_barrier(
    lend: Callable[[], AbstractAsyncContextManager[Any]], *, repeated: Callable[[], T], table: str = ""
) -> Callable[[Callable[..., Awaitable[T]]], Callable[..., Awaitable[T]]]:
    """Decorate a branch handler: it runs once for each call, with the barrier's row (PROTOCOL §12).

    The handler gets the keyword `connection`, lent by `lend()` (`pool.acquire`, or whatever returns an async
    context manager). A response other than 200 that it returns rolls back, as an exception does: only 200 is
    done for the coordinator. repeated: makes the answer of a call that is not to run, a success. The context
    is `current_branch()`: the framework's adapter must be there. table: as for `barrier`.

    Example:
        @with_barrier(pool.acquire, repeated=web.Response)
        async def withdraw(request: web.Request, *, connection: aiomysql.Connection) -> web.Response:
            ...
    """

    def decorate(handler: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        @functools.wraps(handler)
        async def guarded(*arguments: Any, **named: Any) -> T:
            branch = current_branch()
            answer: T
            try:
                async with lend() as connection, barrier(branch, connection, table=table) as transaction:
                    if not transaction.runs:
                        return repeated()
                    answer = await handler(*arguments, connection=connection, **named)
                    if _is_no_success(answer):
                        raise _NotDone
            except _NotDone:
                pass
            return answer

        return guarded

    return decorate


class _NotDone(Exception):
    """Rolls the barrier back; the handler's own answer goes out."""


def _is_no_success(answer: object) -> bool:
    """True for a response of aiohttp, Starlette or FastAPI other than 200 (PROTOCOL §2, §10)."""
    if isinstance(answer, StreamResponse):
        return answer.status != HTTPStatus.OK
    status = getattr(answer, "status_code", HTTPStatus.OK) if hasattr(answer, "headers") else HTTPStatus.OK
    return isinstance(status, int) and status != HTTPStatus.OK
