"""The branch's side of XA: prepared by the action, ended by commit or rollback (PROTOCOL §7, §12)."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, TypeAlias

from coordinator.client.barriers.rules import FIRST_BARRIER, BarrierRow, checked
from coordinator.client.errors import DtmError, Failure, InvalidUse, NoBranchContext
from coordinator.client.transport.base import BranchRegistration
from coordinator.client.transport.context import BranchContext
from coordinator.client.transport.coordinator import Coordinator
from coordinator.client.xa.connections import xa_database
from coordinator.client.xa.databases import Busy, DuplicateId, XaDatabase
from coordinator.model import Op

Connect: TypeAlias = Callable[[], Awaitable[Any]]

# A connection that was closed a moment ago may still hold its prepared transaction at the server.
_ATTEMPTS: Final = 8
_FIRST_PAUSE_SECONDS: Final = 0.01
_LOST: Final = "MariaDB may have lost its end: restart that, and the next attempt succeeds"


@dataclass(frozen=True, slots=True)
class XaTransaction:
    """The open local transaction of one XA call (PROTOCOL §12). runs: do the business, on `connection`."""

    runs: bool
    connection: Any


class XaBranch:
    """One XA call, as a block (PROTOCOL §7, §12); made by `Dtm.xa_branch`.

    Entering it as commit or rollback ends the prepared transaction, whichever process prepared it. As action
    it begins one and registers the branch; leaving prepares it, an exception undoes it. Raises InvalidUse for
    another operation or a database without XA, entering NoBranchContext where the call does not say
    phase2_url, Failure where a rollback came first or the transaction has ended.
    """

    def __init__(self, coordinator: Coordinator, branch: BranchContext, connect: Connect, table: str) -> None:
        self._coordinator = coordinator
        self._branch = branch
        self._connect = connect
        self._table = table
        self._xid = f"{branch.gid}-{branch.branch_id}"
        self._database: XaDatabase | None = None
        if branch.op not in (Op.ACTION, Op.COMMIT, Op.ROLLBACK):
            raise InvalidUse(
                f"XA has no operation {branch.op!r}: action, commit and rollback", gid=branch.gid
            )

    async def __aenter__(self) -> XaTransaction:
        if self._branch.op == Op.ACTION and not self._branch.phase_two_url:
            raise NoBranchContext(
                "the call does not say phase2_url, where commit and rollback are to be sent: call this "
                "branch with Xa.call_branch",
                gid=self._branch.gid,
            )
        connection, database = await open_xa(self._connect, self._table)
        self._database = database
        try:
            if self._branch.op == Op.ACTION:
                await self._begin(database)
                return XaTransaction(runs=True, connection=connection)
            await end_prepared(database, self._xid, xa_row(self._branch, self._branch.op))
        except BaseException:
            await self._close()
            raise
        return XaTransaction(runs=False, connection=connection)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        database = self._database
        assert database is not None, "left without being entered"
        try:
            if self._branch.op == Op.ACTION:
                if error is None:
                    await database.prepare(self._xid)
                else:
                    await database.abandon(self._xid)
        finally:
            await self._close()

    async def _begin(self, database: XaDatabase) -> None:
        branch = self._branch
        try:
            await self._begin_registered(database)
        except DuplicateId as error:
            raise DtmError(
                f"XA branch {branch.branch_id} is being done, or is prepared, by an earlier call of it",
                gid=branch.gid,
            ) from error

    async def _begin_registered(self, database: XaDatabase) -> None:
        branch = self._branch
        await database.begin(self._xid)
        try:
            if not await database.insert_ignore(xa_row(branch, Op.ACTION)):
                raise Failure(
                    f"XA branch {branch.branch_id} was ended before this action came", gid=branch.gid
                )
            await self._coordinator.register_branch(
                BranchRegistration(
                    branch.gid, branch.trans_type, branch.branch_id, {"url": branch.phase_two_url}
                )
            )
        except BaseException:
            await database.abandon(self._xid)
            raise

    async def _close(self) -> None:
        # Closed, not returned to a pool: MariaDB and older MySQL let nobody else end a prepared transaction
        # while the connection that prepared it is open.
        database, self._database = self._database, None
        if database is not None:
            await database.close()


async def open_xa(connect: Connect, table: str) -> tuple[Any, XaDatabase]:
    """Return a new connection and its adapter. Raises InvalidUse for a database without XA, closing it."""
    connection = await connect()
    try:
        return connection, xa_database(connection, table)
    except InvalidUse:
        closing = connection.close()
        if inspect.isawaitable(closing):
            await closing
        raise


def xa_row(branch: BranchContext, op: str) -> BarrierRow:
    """The row that action and rollback both insert, so that the first of them wins (§12)."""
    return checked(BarrierRow(branch.trans_type, branch.gid, branch.branch_id, Op.ACTION, FIRST_BARRIER, op))


async def end_prepared(database: XaDatabase, xid: str, row: BarrierRow) -> None:
    """Commit or roll back, as row.reason says, what any connection has prepared. Safe to repeat.

    The action's barrier row lies inside the prepared transaction, so it tells "committed before" from "not
    there": an unknown id is a success only where the row agrees. Raises DtmError where it cannot be ended
    now; asked again, it will.
    """
    commits = row.reason == Op.COMMIT
    pause = _FIRST_PAUSE_SECONDS
    for _ in range(_ATTEMPTS):
        try:
            known = await (database.commit(xid) if commits else database.rollback(xid))
            if known and commits:
                if not await database.is_lost(row):
                    return
                raise DtmError(
                    f"the database confirmed the commit of XA transaction {xid}, whose rows are locked as "
                    f"before: {_LOST}",
                    gid=row.gid,
                )
            if commits:
                if await database.reason_of(row) == Op.ACTION:
                    return  # committed before
            elif await _shut_out(database, row):
                return
        except Busy:
            pass
        await asyncio.sleep(pause)
        pause *= 2
    raise DtmError(
        f"XA transaction {xid} cannot be ended now: another connection holds it, or it was never prepared "
        f"here. Where that lasts, {_LOST}",
        gid=row.gid,
    )


async def _shut_out(database: XaDatabase, row: BarrierRow) -> bool:
    """Take the action's place in the barrier, so that a late one fails."""
    if await database.insert_alone(row):
        return True
    reason = await database.reason_of(row)
    if reason == Op.ACTION:
        raise DtmError(f"XA branch {row.branch_id} of {row.gid} is committed already", gid=row.gid)
    return reason == Op.ROLLBACK
