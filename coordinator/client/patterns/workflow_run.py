"""One run of a workflow function: what its steps leave for the end, whether others may begin (§7)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Final

from coordinator.client.errors import DtmError, Failure, InvalidUse, Mismatch
from coordinator.client.patterns.workflow_places import Places
from coordinator.client.patterns.workflow_progress import ProgressLog
from coordinator.client.patterns.workflow_rows import (
    PATCH,
    Cancelled,
    Halted,
    ResultTooLarge,
    Step,
    moment_in,
    moment_row,
    patch,
)
from coordinator.model import BranchStatus, Op

CANCELLING_SECONDS: Final = 60  # for the undoing, before the coordinator calls back
LONGEST_SLEEP_SECONDS: Final = 30 * 86_400  # then it is called back, and sleeps on

Act = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Later:
    """What a step leaves for the end: how it is confirmed and how it is undone, None for nothing."""

    step: Step
    commit: Act | None = None
    rollback: Act | None = None


class Run:
    """The steps of one run, from the first to the last that is confirmed or undone."""

    def __init__(self, gid: str, log: ProgressLog) -> None:
        self.gid = gid
        self.log = log
        self.cancelled = log.cancelled  # why no other step is done; None: nobody has cancelled it
        self.stopped: DtmError | None = None  # why no other step begins, whatever the function does
        self.asleep_until: datetime | None = None  # the first of its sleeps is over then
        self._sleeps: list[tuple[datetime, Step, bytes, bool]] = []  # until, …, row, whether it is new
        self._later: list[Later] = []
        self._unknown: dict[str, BaseException] = {}  # steps whose result nobody knows
        self._patches: dict[str, bool] = {}  # as they were answered, which stays in a run
        self._running = 0
        self._over = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def step(self, later: Later, act: Act, url: str = "") -> bytes:
        """Do the action of a step; what it leaves for the end counts unless it definitely failed."""
        self.check_may_begin(later.step)
        self._later.append(later)
        async with self._counted():
            try:
                return await self.log.recorded(later.step, Op.ACTION, self._unless_cancelled(act), url=url)
            except Cancelled as error:  # it may be under way in another process: undone, too
                self.stopped = self.stopped or error
                raise
            except Failure:
                self._later.remove(later)
                raise
            except (ResultTooLarge, Mismatch) as error:
                self.stopped = self.stopped or error
                raise
            except Halted:
                raise
            except BaseException as error:
                self._unknown[later.step.branch_id] = error
                raise

    def check_may_begin(self, step: Step) -> None:
        """Raise why no other step begins: what began after the function has ended would never be undone."""
        if self.stopped is not None:
            raise self.stopped
        if self._over:
            raise InvalidUse(
                f"workflow {self.gid}: its function has ended, so step {step.branch_id} is not begun: await "
                "all steps before it returns or raises (asyncio.TaskGroup does)",
                gid=self.gid,
            )

    async def sleep(self, places: Places, name: str, until: datetime, now: Callable[[], datetime]) -> None:
        """Return when the sleep is over; raise Halted where it is not: `arm` says so at the run's end."""
        step = places.next(name)
        self.check_may_begin(step)
        try:
            found = self.log.found(step, Op.ACTION)
        except Mismatch as error:
            self.stopped = error
            raise
        if found is None:
            self.log.check_may_do(step, Op.ACTION)
            if self.cancelled is not None:
                self.stopped = self._cancelled()
                raise self.stopped
        await asyncio.sleep(0)  # what is begun beside it is done, not put off
        row = moment_row(until) if found is None else found.data
        until = moment_in(row)
        if until <= now():
            if found is None:
                async with self._counted():
                    await self.log.record(step, Op.ACTION, BranchStatus.SUCCEED, row)
            return
        if self.cancelled is not None:  # nobody else goes on with it meanwhile
            await self._call_back(step, row, CANCELLING_SECONDS)
            return
        self._sleeps.append((until, step, row, found is None))
        self.asleep_until = min(until, self.asleep_until or until)
        places.is_asleep = True
        await self._idle.wait()  # a task group would cancel what is under way beside it
        raise Halted

    async def arm(self, now: Callable[[], datetime]) -> None:
        """Have the coordinator call back when the first sleep is over; raises what nobody knows of a step.

        That is asked again at the coordinator's own pace, whatever sleeps beside it.
        """
        earliest, *others = sorted(self._sleeps, key=lambda it: it[0])
        for _, step, row, is_new in others if not self._unknown else self._sleeps:
            if is_new:
                await self.log.record(step, Op.ACTION, BranchStatus.SUCCEED, row)
        for unknown in self._unknown.values():
            raise unknown
        until, step, row, _ = earliest
        left = ceil((until - now()).total_seconds())
        await self._call_back(step, row, min(max(0, left), LONGEST_SLEEP_SECONDS))

    async def _call_back(self, step: Step, row: bytes, seconds: int) -> None:
        await self.log.record(step, Op.ACTION, BranchStatus.SUCCEED, row, wake_after=seconds)

    def _unless_cancelled(self, act: Act) -> Act:
        async def refusing() -> bytes:
            raise self._cancelled()

        return act if self.cancelled is None else refusing

    def _cancelled(self) -> Cancelled:
        return Cancelled(self.cancelled or "", self.gid)

    def check_nested(self, step: Step) -> None:
        """The same for what has steps inside. Raises Mismatch where a step stands at its place."""
        self.check_may_begin(step)
        try:
            self.log.check_nested(step)
        except Mismatch as error:
            self.stopped = error
            raise

    async def patched(self, places: Places, name: str) -> bool:
        """Whether a change counts in this chain of steps; see `Workflow.patched`."""
        mark = patch(places.prefix, name)
        self.check_may_begin(mark)
        if mark.branch_id not in self._patches:
            is_past = self.log.is_ahead(places.prefix, places.taken + 1)
            known = self.log.found(mark, PATCH) is not None
            if not known and not is_past:
                await self.log.record(mark, PATCH, BranchStatus.SUCCEED, b"")
            self._patches[mark.branch_id] = known or not is_past
        return self._patches[mark.branch_id]

    async def returned(self) -> None:
        """The function has ended, however: wait for its steps that still run, and let no other begin.

        What begins later would be neither undone nor waited for, and run beside the next attempt.
        """
        self._over = True
        await self._idle.wait()

    def verdict(self, failure: DtmError | None) -> DtmError | None:
        """Return why it is rolled back, None where it is not. failure: as the function ended.

        Raises Mismatch, and what a step raised whose result nobody knows: the function swallowed that.
        """
        if isinstance(self.stopped, Mismatch):
            raise self.stopped
        failure = self.stopped or failure
        if self.cancelled is not None and failure is None:
            failure = self._cancelled()
        self.log.check_all_came()
        if failure is not None:
            self.log.check_direction(Op.COMMIT, "fails now")
            return failure
        for unknown in self._unknown.values():
            raise unknown
        self.log.check_direction(Op.ROLLBACK, "does not fail now")
        return None

    async def finish(self, failure: DtmError | None) -> None:
        """Confirm or undo what the steps left, last first.

        Raises DtmError where one of them does not succeed: it is done again later.
        """
        op = Op.COMMIT if failure is None else Op.ROLLBACK
        # By number, not by which was begun first: steps in parallel are undone in one order each time.
        for later in sorted(self._later, key=lambda it: it.step.branch_id, reverse=True):
            act = later.commit if failure is None else later.rollback
            if act is not None:
                await self._finish_one(later.step, op, act)

    async def undo_inside(self, prefix: str) -> None:
        """Undo the steps inside of a chain that has failed, last first, since the function may go on.

        Raises DtmError where one of them is not undone: then the workflow stays open, whatever is done then.
        """
        inside = [later for later in self._later if later.step.branch_id.startswith(prefix)]
        for later in sorted(inside, key=lambda it: it.step.branch_id, reverse=True):
            self.log.undone_on_the_way(later.step)
            if later.rollback is not None:
                async with self._counted():
                    try:
                        await self._finish_one(later.step, Op.ROLLBACK, later.rollback)
                    except Halted:
                        raise
                    except BaseException as error:
                        self._unknown[later.step.branch_id] = error
                        raise
            self._later.remove(later)
            self._unknown.pop(later.step.branch_id, None)

    async def _finish_one(self, step: Step, op: Op, act: Act) -> None:
        try:
            await self.log.recorded(step, op, _never_failing(act))
        except Failure as refused:
            raise DtmError(
                f"{op} of step {step} said no, which it cannot: {refused}", gid=self.gid
            ) from refused

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


def _never_failing(act: Act) -> Act:
    async def acting() -> bytes:
        try:
            return await act()
        except Failure as refused:
            # Not recorded: it is called again.
            raise DtmError(f"a commit or rollback said no: {refused}", gid=refused.gid) from refused

    return acting
