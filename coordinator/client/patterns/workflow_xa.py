"""A step of a workflow in a local transaction that is prepared now, ended with the workflow (PROTOCOL §7)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from coordinator.client.errors import DtmError, Ongoing
from coordinator.client.patterns.workflow_progress import BUSINESS, ProgressLog
from coordinator.client.patterns.workflow_rows import ROW_BYTES_MAX, Step, to_json
from coordinator.client.patterns.workflow_run import Later
from coordinator.client.transport.context import BranchContext
from coordinator.client.xa.branch import Connect, end_prepared, open_xa, xa_row
from coordinator.client.xa.databases import DuplicateId, XaDatabase
from coordinator.model import BranchStatus, Op, TransType


@dataclass(frozen=True, slots=True)
class XaStep:
    """connect, table: as `Dtm.xa_branch` takes them. business: gets the connection, its result is JSON."""

    log: ProgressLog
    gid: str
    step: Step
    connect: Connect
    table: str
    business: Callable[[Any], Awaitable[Any]]

    @property
    def later(self) -> Later:
        """How it is ended."""
        return Later(self.step, lambda: self._end(Op.COMMIT), lambda: self._end(Op.ROLLBACK))

    async def act(self) -> bytes:
        """Do the business and prepare it; return its result, maybe that of an earlier attempt."""
        connection, database = await open_xa(self.connect, self.table)
        try:
            return await self._prepare(connection, database)
        finally:
            await database.close()

    async def _end(self, op: Op) -> bytes:
        _, database = await open_xa(self.connect, self.table)
        try:
            await end_prepared(database, self._xid, xa_row(self._branch(op), op))
        finally:
            await database.close()
        return b""

    async def _prepare(self, connection: Any, database: XaDatabase) -> bytes:
        done_before = await self.log.find(self.step, BUSINESS)
        try:
            inserted = await self._begin(database)
        except DuplicateId as error:
            # An attempt that died between its prepare and its record; or one that still lives.
            if done_before is not None and await database.is_prepared(self._xid):
                return done_before
            raise Ongoing(f"XA step {self.step} is being done by another process", gid=self.gid) from error
        try:
            if not inserted:
                raise DtmError(f"XA step {self.step} has been ended by another process", gid=self.gid)
            data = to_json(await self.business(connection), "result")
            if done_before is None:
                key, what = self.step.branch_id, f"step {self.step}"
                row = await self.log.row_of(key, data, ROW_BYTES_MAX, what)
                await self.log.record(self.step, BUSINESS, BranchStatus.SUCCEED, row)
        except BaseException:
            await database.abandon(self._xid)
            raise
        await database.prepare(self._xid)
        return data

    async def _begin(self, database: XaDatabase) -> bool:
        """Begin; return whether this is the first to have come. Raises DuplicateId, with nothing begun."""
        await database.begin(self._xid)
        try:
            return await database.insert_ignore(xa_row(self._branch(Op.ACTION), Op.ACTION))
        except BaseException:
            await database.abandon(self._xid)
            raise

    def _branch(self, op: Op) -> BranchContext:
        return BranchContext(self.gid, TransType.WORKFLOW, self.step.branch_id, op)

    @property
    def _xid(self) -> str:
        return f"{self.gid}-{self.step.branch_id}"
