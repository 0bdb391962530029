"""Answering "was the local transaction of this message committed?" (PROTOCOL §8, §12)."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from coordinator.client.barriers.connections import barrier_database
from coordinator.client.barriers.repeats import Pause, pausing, repeated
from coordinator.client.barriers.rules import GIVEN_UP, plan_query
from coordinator.client.errors import Failure
from coordinator.client.frameworks.request import Source, branch_of
from coordinator.client.transport.context import BranchContext

Lend = Callable[[], AbstractAsyncContextManager[Any]]


async def query_prepared(source: Source, connection: Any, *, table: str = "") -> None:
    """Return when the local transaction of the message was committed; raise Failure when it never will be.

    source, connection, table: as `barrier` takes them; the barrier row of the sender must lie in this
    database. After Failure the sender cannot commit any more: its row is taken (PROTOCOL §8, §12).
    """
    await ask_prepared(branch_of(source), connection, table, pausing)


async def ask_prepared(branch: BranchContext, connection: Any, table: str, pause: Pause) -> None:
    """The same of one branch. pause: between attempts, after a deadlock."""
    row = plan_query(branch)
    database = barrier_database(connection, table)

    async def attempt() -> str:
        try:
            await database.begin()
            inserted = await database.insert_ignore(row)
            reason = row.reason if inserted else await database.reason_of(row)
            await database.commit()
        except BaseException:
            await database.rollback()
            raise
        return reason

    reason = await repeated(database, attempt, pause)
    if reason == GIVEN_UP:
        raise Failure("the local transaction was never committed", gid=branch.gid)


def query_prepared_handler(lend: Lend, *, table: str = "") -> Callable[[Any], Any]:
    """Return an aiohttp handler for the url that is given as `query_prepared` (PROTOCOL §8).

    lend: returns an async context manager that lends a connection, such as `pool.acquire`.

    Example:
        application.router.add_get("/query-prepared", query_prepared_handler(pool.acquire))
    """
    from coordinator.client.frameworks.for_aiohttp import branch_endpoint

    async def answer(branch: BranchContext, body: bytes) -> bytes:
        async with lend() as connection:
            await query_prepared(branch, connection, table=table)
        return b'{"dtm_result":"SUCCESS"}'

    return branch_endpoint(answer)


def query_prepared_service(path: str, lend: Lend, *, table: str = "") -> Any:
    """Return a grpclib service that answers query_prepared (PROTOCOL §8), for `BranchServer`.

    path: `/package.Service/Method`, what follows host:port in `query_prepared`. lend: as for
    `query_prepared_handler`.

    Example:
        BranchServer([Orders(), query_prepared_service("/shop.Shop/QueryPrepared", pool.acquire)])
    """
    from coordinator.client.frameworks.for_grpclib import branch_method

    async def answer(branch: BranchContext, body: bytes) -> bytes:
        async with lend() as connection:
            await query_prepared(branch, connection, table=table)
        return b""

    return branch_method(path, answer)
