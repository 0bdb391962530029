"""One execution of a workflow: its function is run, then what its steps left is ended (PROTOCOL §5, §7)."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from coordinator.client.errors import DtmError, Failure, Ongoing, Unreachable
from coordinator.client.patterns.workflow import Workflow
from coordinator.client.patterns.workflow_places import Places
from coordinator.client.patterns.workflow_progress import External, ProgressLog
from coordinator.client.patterns.workflow_rows import (
    ResultTooLarge,
    Step,
    from_json,
    marked_too_large,
    result_bytes_max,
    to_json,
)
from coordinator.client.patterns.workflow_run import Run
from coordinator.client.patterns.workflow_state import RESULT, check_same, result_of
from coordinator.client.transport.base import Operation, WorkflowState
from coordinator.client.transport.coordinator import Coordinator
from coordinator.model import BranchStatus, Status, TransactionRequest

REASON_CHARACTERS_MAX: Final = 500


class Asleep(Ongoing):
    """It sleeps, and the coordinator calls back. until: aware, UTC."""

    def __init__(self, until: datetime, gid: str) -> None:
        super().__init__(f"workflow {gid} sleeps until {until:%Y-%m-%d %H:%M:%S} UTC", gid=gid)
        self.until = until


@dataclass(slots=True)
class Execution:
    """name, function: of the workflow. stored: what the request has of the data; data: their JSON.

    now: the wall clock, aware.
    """

    coordinator: Coordinator
    external: External | None
    name: str
    function: Callable[[Workflow, Any], Awaitable[Any]]
    request: TransactionRequest
    stored: bytes
    data: bytes
    now: Callable[[], datetime]
    _run: Run | None = None

    @property
    def gid(self) -> str:
        """Of the workflow."""
        return self.request.gid

    async def run(self) -> bytes:
        """Run to the end, or from where it was left; return the result's JSON.

        Raises what `Workflows.execute` raises.
        """
        state = await self._prepared()
        if state.status is not Status.PREPARED:
            return await result_of(state, self.gid, self.external)
        options = self.request.options
        if state.branch_headers:  # as it was begun
            options = replace(options, branch_headers=state.branch_headers)
        run = Run(self.gid, ProgressLog(self.coordinator, self.gid, state.progresses, self.external))
        self._run = run
        workflow = Workflow(self.coordinator, options, run, Places(self.gid), self.now)
        try:
            result, failure = await outcome(self.function, workflow, run, self.data)
        finally:
            await run.returned()
        if run.asleep_until is not None and failure is None and run.stopped is None:
            await run.arm(self.now)
            raise Asleep(run.asleep_until.astimezone(UTC), self.gid)
        failure = run.verdict(failure)
        row = b""
        if failure is None:
            row, failure = await self._row_of_result(run, result)
        await run.finish(failure)
        return await self._end(result, row, failure)

    def cancel(self, why: str) -> None:
        """Let no other step begin, and all be undone; the record of it is another matter."""
        if self._run is not None:
            self._run.cancelled = why

    async def record_cancelled(self, why: str) -> None:
        """Have it rolled back by whoever goes on with it; nothing where that stands already.

        Raises why it was rolled back, where it was.
        """
        state = await self._prepared()
        log = ProgressLog(self.coordinator, self.gid, state.progresses, self.external)
        if state.status is not Status.PREPARED:
            await result_of(state, self.gid, self.external)
        elif log.cancelled is None:
            await log.cancel(why)

    async def ended(self) -> bytes | None:
        """Return the result where it has ended, None where it has not. Raises as `run` does."""
        state = await self._prepared()
        if state.status is Status.PREPARED:
            return None
        return await result_of(state, self.gid, self.external)

    async def _prepared(self) -> WorkflowState:
        state = await self.coordinator.prepare_workflow(self.request)
        check_same(state, self.gid, self.name, self.stored)
        return state

    async def _row_of_result(self, run: Run, result: bytes) -> tuple[bytes, DtmError | None]:
        """Return what is stored of the function's result, and why that cannot be stored."""
        try:
            return await run.log.row_of(RESULT, result, result_bytes_max(), "the function"), None
        except ResultTooLarge as error:
            mark = marked_too_large(error.size)
            await run.log.record(Step("00", ""), RESULT, BranchStatus.SUCCEED, mark)
            return b"", error

    async def _end(self, result: bytes, row: bytes, failure: DtmError | None) -> bytes:
        reason = failure.reason[:REASON_CHARACTERS_MAX] if failure else ""
        extra = {
            "status": Status.FAILED if failure else Status.SUCCEED,
            "rollback_reason": reason,
            "result": base64.b64encode(row).decode(),
        }
        ending = replace(self.request, rollback_reason=reason, req_extra=extra)
        try:
            await self.coordinator.operate(Operation.SUBMIT, ending)
        except Unreachable:
            raise
        except DtmError:
            # Another process, or our own attempt whose answer was lost, may have ended it.
            ended = await self.ended()
            if ended is None:
                raise
            return ended
        if failure:
            raise failure
        return result


async def outcome(
    function: Callable[[Workflow, Any], Awaitable[Any]], workflow: Workflow, run: Run, data: bytes
) -> tuple[bytes, DtmError | None]:
    """Run the function; return its result and why it failed, as far as the function says.

    Raises what it raises that is no Failure, unless the run knows why it ends.
    """
    try:
        return to_json(await function(workflow, from_json(data)), "result"), None
    except Failure as failure:
        return b"", failure
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        # Whatever the function made of it, that is why it ends.
        if run.stopped is not None and isinstance(error, Exception):
            return b"", None
        if run.asleep_until is not None and not isinstance(error, (KeyboardInterrupt, SystemExit)):
            return b"", None
        raise
