"""The recorded steps of one workflow: what was done is not done again (PROTOCOL §5, §7)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from coordinator.client.errors import DtmError, Failure, Mismatch
from coordinator.client.patterns import workflow_rows as rows
from coordinator.client.patterns.workflow_rows import Cancelled, Halted, ResultTooLarge, Step
from coordinator.client.transport.base import WAKE_AFTER, BranchRegistration, Progress
from coordinator.client.transport.coordinator import Coordinator
from coordinator.client.transport.said import said_by
from coordinator.model import BranchStatus, Op, TransType

BUSINESS: Final = "business"  # the op of what an XA step has done before it is prepared (§1)
_CANCEL: Final = Step("00", "cancel")  # where it is recorded that it was cancelled; op and name are one
_FORWARD: Final = (Op.ACTION, BUSINESS)
_REASON_BYTES_MAX: Final = 16_384  # of what a step that said no answered


class External(Protocol):
    """Where a service keeps what is too large for the coordinator's rows (PROTOCOL §14): files, a bucket.

    What it raises leaves the step without a record, as if the process had died there.
    """

    async def save(self, key: str, data: bytes) -> None:
        """Keep the data, durably, under a key of 150 characters at most; given again, the latest counts."""
        ...

    async def load(self, key: str) -> bytes:
        """Return what was kept under the key."""
        ...


class ProgressLog:
    """What the coordinator knows of a workflow's steps, and the way to tell it more."""

    def __init__(
        self,
        coordinator: Coordinator,
        gid: str,
        progresses: Iterable[Progress],
        external: External | None = None,
        *,
        is_replay: bool = False,
    ) -> None:
        self._coordinator = coordinator
        self._gid = gid
        self._external = external
        self._known = {(one.branch_id, one.op): one for one in progresses}
        # Places that have steps inside, as far as was known at the beginning: 03 of 0301.
        self._with_inside = {
            branch_id[:length]
            for branch_id, op in self._known
            if op in _FORWARD
            for length in range(2, len(branch_id), 2)
        }
        self._is_replay = is_replay  # nothing that is not recorded is done
        self._undone: set[str] = set()  # places of steps that were undone on the way
        self._came_to: set[str] = set()  # places of steps

    async def recorded(
        self, step: Step, op: str, act: Callable[[], Awaitable[bytes]], *, url: str = ""
    ) -> bytes:
        """Return the recorded result, or act and record it; what it is not known about is not recorded.

        url: of the branch that is called, "" for none. Raises Failure, now and whenever it is asked again,
        where the step said so; ResultTooLarge in the same way; Mismatch where another step is recorded.
        """
        found = self.found(step, op)
        if found is None:
            self._check_nothing_inside(step)
            self.check_may_do(step, op)
            try:
                data = await act()
            except Cancelled as cancelled:
                await self.record(step, op, BranchStatus.FAILED, rows.marked_cancelled(cancelled.why))
                raise
            except Failure as failure:
                said = (failure.raw or failure.reason).encode()[:_REASON_BYTES_MAX]
                await self.record(step, op, BranchStatus.FAILED, rows.packed(said))
                raise
            except ResultTooLarge as error:
                await self.record(step, op, BranchStatus.SUCCEED, rows.marked_too_large(error.size))
                raise
            return await self._record_result(step, op, data)
        await asyncio.sleep(0)  # as when it is done: others that were begun before go first
        if found.status is BranchStatus.FAILED:
            why = rows.why_cancelled(found.data)
            if why is not None:
                raise Cancelled(why, self._gid)
            text = rows.unpacked(found.data).decode(errors="replace")
            said_then = said_by(url, step.branch_id, op, None, text)
            raise Failure(said_then.reason or text, gid=self._gid, answer=text, said=said_then)
        return await self.result_in(step, found.data)

    def found(self, step: Step, op: str) -> Progress | None:
        """Return what is recorded at the step's place. Raises Mismatch where that is another step."""
        self._came_to.add(step.branch_id)
        found = self._known.get((step.branch_id, op))
        if found is not None and found.name not in ("", step.name):
            raise self._mismatch(f"step {step.branch_id} was {found.name}, and is {step.name} now")
        return found

    def check_may_do(self, step: Step, op: str) -> None:
        """Raise Halted where nothing new is done, as the recorded steps alone are looked at."""
        if self._is_replay:
            what = f"{step}" if op == Op.ACTION else f"{op} {step}"
            raise Halted(what)

    def check_nested(self, step: Step) -> None:
        """Raise Mismatch where a step is recorded at the place of what has steps inside."""
        found = self.found(step, Op.ACTION)
        if found is not None:
            was = found.name or "a step"
            raise self._mismatch(f"step {step.branch_id} was {was}, and is {step.name} now")

    def _check_nothing_inside(self, step: Step) -> None:
        if step.branch_id in self._with_inside:
            raise self._mismatch(f"step {step.branch_id} had steps inside, and is {step.name} now")

    def check_all_came(self) -> None:
        """Raise Mismatch where the function has ended without coming to a recorded step."""
        for (branch_id, op), one in self._known.items():
            if op in _FORWARD and branch_id not in self._came_to:
                step = f"step {branch_id} {one.name}".rstrip()
                raise self._mismatch(f"{step} is recorded, and the function ended without it")

    def check_direction(self, refused_op: str, how: str) -> None:
        """Raise Mismatch where steps were ended the other way. refused_op: what must not be recorded."""
        for (branch_id, op), one in self._known.items():
            if op == refused_op and branch_id not in self._undone:
                name = one.name and f" {one.name}"
                raise self._mismatch(
                    f"the {op} of step {branch_id}{name} is recorded, and the function {how}"
                )

    def is_ahead(self, prefix: str, number: int) -> bool:
        """Whether a step with this number or a later one is recorded, or the end was begun."""
        places = [
            branch_id.removeprefix(prefix)[:2]
            for branch_id, op in self._known
            if op in _FORWARD and branch_id.startswith(prefix)
        ]
        return self.is_ending or any(place >= f"{number:02d}" for place in places)

    @property
    def cancelled(self) -> str | None:
        """Why it was cancelled; None where it was not."""
        found = self._known.get((_CANCEL.branch_id, _CANCEL.name))
        return None if found is None else found.data.decode()

    async def cancel(self, why: str) -> None:
        """Have it rolled back by whoever goes on with it. Raises as `record` does."""
        await self.record(_CANCEL, _CANCEL.name, BranchStatus.SUCCEED, why.encode())

    @property
    def is_ending(self) -> bool:
        """Whether steps were confirmed or undone already, as the end of all."""
        ends = (Op.COMMIT, Op.ROLLBACK)
        return any(op in ends and place not in self._undone for place, op in self._known)

    def undone_on_the_way(self, step: Step) -> None:
        """Take note that a step was undone before the end: that says nothing of how all ends."""
        self._undone.add(step.branch_id)

    async def find(self, step: Step, op: str) -> bytes | None:
        """Return the result that is recorded as done, None where nothing is."""
        found = self.found(step, op)
        return None if found is None else await self.result_in(step, found.data)

    async def row_of(self, key: str, data: bytes, most: int, what: str) -> bytes:
        """Return what is stored of a result, which is kept elsewhere where it has more than `most` bytes.

        key: of this workflow. Raises ResultTooLarge where there is no such place. what: whose result.
        """
        row = rows.packed(data)
        if len(row) <= most:
            return row
        if self._external is None:
            raise ResultTooLarge(what, len(row), most, self._gid)
        await self._external.save(f"{self._gid}/{key}", data)
        return rows.kept_elsewhere(f"{self._gid}/{key}")

    async def result_in(self, step: Step, row: bytes) -> bytes:
        """Return what is in a row, or where it says. Raises ResultTooLarge where it was lost."""
        size = rows.size_too_large(row)
        if size is not None:
            raise ResultTooLarge(f"step {step}", size, rows.ROW_BYTES_MAX, self._gid)
        return await loaded(self._external, row, self._gid)

    async def record(
        self, step: Step, op: str, status: BranchStatus, row: bytes, *, wake_after: int | None = None
    ) -> None:
        """Tell the coordinator. wake_after: seconds, of a sleep: when it is to call back.

        Raises DtmError where another process has recorded something else.
        """
        if self._is_replay:
            return
        data: dict[str, str] = {"op": op, "status": status, "url": step.name}
        if wake_after is not None:
            data[WAKE_AFTER] = str(wake_after)
        registration = BranchRegistration(self._gid, TransType.WORKFLOW, step.branch_id, data, row)
        try:
            await self._coordinator.register_branch(registration)
        except Failure as refused:  # about the record, not about the step: nothing is to be undone here
            raise DtmError(
                f"step {step} {op} could not be recorded, the workflow has ended elsewhere: {refused}",
                gid=self._gid,
                answer=refused.answer,
            ) from refused
        self._known[step.branch_id, op] = Progress(step.branch_id, op, status, row, step.name)

    async def _record_result(self, step: Step, op: str, data: bytes) -> bytes:
        if op != Op.ACTION:  # nobody reads what a commit or rollback answered
            row = rows.packed(data)
            await self.record(step, op, BranchStatus.SUCCEED, row if len(row) <= rows.ROW_BYTES_MAX else b"")
            return data
        try:
            row = await self.row_of(f"{step.branch_id}", data, rows.ROW_BYTES_MAX, f"step {step}")
        except ResultTooLarge as error:
            await self.record(step, op, BranchStatus.SUCCEED, rows.marked_too_large(error.size))
            raise
        await self.record(step, op, BranchStatus.SUCCEED, row)
        return data

    def _mismatch(self, what: str) -> Mismatch:
        return Mismatch(
            f"workflow {self._gid}: {what}. It was begun with other code: run that, or let the change count "
            "for new ones alone (wf.patched)",
            gid=self._gid,
        )


async def loaded(external: External | None, row: bytes, gid: str) -> bytes:
    """Return what was packed into a row, or is kept elsewhere. Raises DtmError where nobody knows where."""
    key = rows.key_elsewhere(row)
    if key is None:
        return rows.unpacked(row)
    if external is None:
        raise DtmError(f"{key} is kept elsewhere, and these Workflows have no external=", gid=gid)
    return await external.load(key)
