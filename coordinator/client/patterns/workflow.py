"""A workflow while it runs: ordinary code, whose steps are remembered and undone (PROTOCOL §7)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import orjson

from coordinator.client.errors import DtmError, Failure, InvalidUse, Ongoing
from coordinator.client.patterns.workflow_progress import ProgressLog
from coordinator.client.transport.branch_calls import BranchAnswer, BranchCall
from coordinator.client.transport.context import BranchContext
from coordinator.client.transport.coordinator import Coordinator
from coordinator.client.transport.payload import Payload, as_json, encode_payload
from coordinator.client.xa.branch import Connect, end_prepared, open_xa, xa_row
from coordinator.client.xa.databases import DuplicateId, XaDatabase
from coordinator.model import BranchStatus, Op, Options, TransType

BUSINESS: Final = "business"  # the op of what an XA step has done before it is prepared (§1)

Act = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class _Later:
    """What a step leaves for the end: how it is confirmed and how it is undone, None for nothing."""

    branch_id: str
    commit: Act | None
    rollback: Act | None


class Workflow:
    """What a workflow function works with: `async def register(wf: Workflow, data)` (PROTOCOL §7).

    The function is run again from its beginning after a crash, and the steps that were recorded are not done
    again, so it must take the same way each time: what may differ (time, random numbers, reads) belongs in a
    `do`. Steps may run at once (`asyncio.gather(wf.do(a), wf.do(b))`), two chains of steps may not: they are
    numbered as they begin, and the numbers must be the same each time. A step that raises Failure undoes the
    steps before it, in reverse, unless the function catches it; the failed step itself is not undone. Any
    other exception leaves the workflow open, and the coordinator has it run again later.
    """

    def __init__(self, coordinator: Coordinator, gid: str, options: Options, log: ProgressLog) -> None:
        self.gid = gid
        self._coordinator = coordinator
        self._options = options
        self._log = log
        self._root = BranchContext(gid, TransType.WORKFLOW, "", "")
        self._later: list[_Later] = []
        self._unknown: dict[str, BaseException] = {}  # steps whose result nobody knows
        self._function_task = asyncio.current_task()
        self._begun: dict[asyncio.Task[Any], int] = {}  # steps, of each task beside the function's own
        self._running = 0
        self._over = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def saga(self, action: str, compensate: str = "", payload: Payload = None) -> BranchAnswer:
        """Call `action`, undone by `compensate` (op `rollback`); return its answer.

        Raises Failure when it says no, Ongoing, DtmError when it is not known whether it was done.
        """
        return await self._call_step(payload, action, confirm="", undo=compensate)

    async def tcc(self, payload: Payload, try_url: str, confirm_url: str, cancel_url: str) -> BranchAnswer:
        """Call try; confirm follows when the workflow succeeds, cancel when it fails; return try's answer.

        The branch sees them as `action`, `commit` and `rollback`. Raises as `saga`.
        """
        return await self._call_step(payload, try_url, confirm=confirm_url, undo=cancel_url)

    async def do(
        self,
        function: Callable[[BranchContext], Awaitable[Any]],
        *,
        rollback: Callable[[BranchContext], Awaitable[object]] | None = None,
    ) -> Any:
        """Run a function of this process, once it is recorded never again; return its result.

        function, rollback: get the branch context, for `barrier`. The result must be something that JSON can
        say, and comes back as JSON gives it back. A crash between the function and its record runs it again:
        use the barrier for what must not happen twice. Raises what function raises.
        """
        branch_id = self._next_branch_id()

        async def act() -> bytes:
            return to_json(await function(self._branch(branch_id, Op.ACTION)), "result")

        async def undo() -> bytes:
            assert rollback is not None
            await rollback(self._branch(branch_id, Op.ROLLBACK))
            return b""

        later = _Later(branch_id, commit=None, rollback=undo if rollback else None)
        return from_json(await self._step(later, act))

    async def xa(
        self, connect: Connect, business: Callable[[Any], Awaitable[Any]], *, table: str = ""
    ) -> Any:
        """Run `business(connection)` in a transaction that is prepared now and ended with the workflow.

        connect, table: as `Dtm.xa_branch` takes them. Returns what business returned, as JSON gives it back;
        after a crash it may be that of an earlier attempt. Raises what business raises.
        """
        branch_id = self._next_branch_id()

        async def end(op: Op) -> bytes:
            _, database = await open_xa(connect, table)
            try:
                row = xa_row(self._branch(branch_id, op), op)
                await end_prepared(database, self._xid(branch_id), row)
            finally:
                await database.close()
            return b""

        async def act() -> bytes:
            connection, database = await open_xa(connect, table)
            try:
                return await self._prepare_xa(database, branch_id, lambda: business(connection))
            finally:
                await database.close()

        later = _Later(branch_id, commit=lambda: end(Op.COMMIT), rollback=lambda: end(Op.ROLLBACK))
        return from_json(await self._step(later, act))

    async def returned(self) -> None:
        """The function has ended, however: wait for its steps that still run, and let no other begin.

        What begins later would be neither undone nor waited for, and run beside the next attempt. For
        `Workflows`.
        """
        self._over = True
        await self._idle.wait()

    async def finish(self, failure: Failure | None) -> None:
        """Confirm or undo what the steps left, last first. For `Workflows`.

        Raises DtmError where one of them does not succeed: it is done again later.
        """
        if failure is None:
            for unknown in self._unknown.values():
                raise unknown  # the function swallowed it, but nobody knows what the step did
        for later in reversed(self._later):
            op = Op.COMMIT if failure is None else Op.ROLLBACK
            act = later.commit if failure is None else later.rollback
            if act is None:
                continue
            try:
                await self._log.recorded(later.branch_id, op, _never_failing(act))
            except Failure as refused:
                raise DtmError(
                    f"{op} of step {later.branch_id} said no, which it cannot: {refused}", gid=self.gid
                ) from refused

    async def _call_step(self, payload: Payload, url: str, *, confirm: str, undo: str) -> BranchAnswer:
        branch_id = self._next_branch_id()
        encoded = encode_payload(payload, self._coordinator.protocol)

        def call(op: Op, to: str) -> Act:
            async def act() -> bytes:
                return (await self._call(branch_id, op, to, encoded)).body

            return act

        later = _Later(
            branch_id,
            commit=call(Op.COMMIT, confirm) if confirm else None,
            rollback=call(Op.ROLLBACK, undo) if undo else None,
        )
        return BranchAnswer(await self._step(later, call(Op.ACTION, url)))

    async def _call(self, branch_id: str, op: Op, url: str, payload: bytes) -> BranchAnswer:
        headers: Mapping[str, str] = self._options.branch_headers
        call = BranchCall(url, payload, self.gid, TransType.WORKFLOW, branch_id, op, headers=headers)
        return await self._coordinator.call_branch(call, self._options.request_timeout)

    async def _step(self, later: _Later, act: Act) -> bytes:
        """Do the action of a step; what it leaves for the end counts unless it definitely failed."""
        if self._over:
            raise DtmError(
                f"workflow {self.gid}: its function has ended, so step {later.branch_id} is not begun: await "
                "all steps before it returns or raises (asyncio.TaskGroup does)",
                gid=self.gid,
            )
        self._later.append(later)
        async with self._counted():
            try:
                return await self._log.recorded(later.branch_id, Op.ACTION, act)
            except Failure:
                self._later.remove(later)
                raise
            except BaseException as error:
                self._unknown[later.branch_id] = error
                raise

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if self._running == 0:
                self._idle.set()

    async def _prepare_xa(self, database: XaDatabase, branch_id: str, business: Any) -> bytes:
        xid = self._xid(branch_id)
        done_before = self._log.find(branch_id, BUSINESS)
        try:
            inserted = await self._begin_xa(database, branch_id)
        except DuplicateId as error:
            # An attempt that died between its prepare and its record; or one that still lives.
            if done_before is not None and await database.is_prepared(xid):
                return done_before
            raise Ongoing(f"XA step {branch_id} is being done by another process", gid=self.gid) from error
        try:
            if not inserted:
                raise DtmError(f"XA step {branch_id} has been ended by another process", gid=self.gid)
            data = to_json(await business(), "result")
            if done_before is None:
                await self._log.record(branch_id, BUSINESS, BranchStatus.SUCCEED, data)
        except BaseException:
            await database.abandon(xid)
            raise
        await database.prepare(xid)
        return data

    async def _begin_xa(self, database: XaDatabase, branch_id: str) -> bool:
        """Begin; return whether this is the first to have come. Raises DuplicateId, with nothing begun."""
        xid = self._xid(branch_id)
        await database.begin(xid)
        try:
            return await database.insert_ignore(xa_row(self._branch(branch_id, Op.ACTION), Op.ACTION))
        except BaseException:
            await database.abandon(xid)
            raise

    def _next_branch_id(self) -> str:
        """Return the id of the next step; raises InvalidUse where it depends on which of two is faster."""
        task = asyncio.current_task()
        if task is not None and task is not self._function_task:
            if task not in self._begun:
                self._begun = {one: steps for one, steps in self._begun.items() if not one.done()}
            self._begun[task] = self._begun.get(task, 0) + 1
            if self._begun[task] > 1 and sum(steps > 1 for steps in self._begun.values()) > 1:
                raise InvalidUse(
                    f"workflow {self.gid}: two chains of steps run at once, so that a step's number, by "
                    "which its result is found again after a crash, depends on which is faster: run one "
                    "after the other, or only single steps at once",
                    gid=self.gid,
                )
        return self._root.next_branch_id()

    def _branch(self, branch_id: str, op: Op) -> BranchContext:
        return BranchContext(self.gid, TransType.WORKFLOW, branch_id, op)

    def _xid(self, branch_id: str) -> str:
        return f"{self.gid}-{branch_id}"


def _never_failing(act: Act) -> Act:
    async def acting() -> bytes:
        try:
            return await act()
        except Failure as refused:
            # Not recorded: it is called again.
            raise DtmError(f"a commit or rollback said no: {refused}", gid=refused.gid) from refused

    return acting


def to_json(value: Any, what: str) -> bytes:
    """Return the JSON that `from_json` reads, nothing for None. Raises InvalidUse, saying what has none."""
    return b"" if value is None else as_json(value, what)


def from_json(data: bytes) -> Any:
    """Return the value. Raises DtmError for what is no JSON."""
    if not data:
        return None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DtmError(f"not JSON: {data[:200]!r}") from error
