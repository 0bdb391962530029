"""Recorded histories of workflows, run against the code of today: nothing is called, nothing is done."""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from coordinator.client import Failure, InvalidUse, Mismatch, Status, WorkflowFunction, sync
from coordinator.client.patterns.workflow import Workflow
from coordinator.client.patterns.workflow_execution import outcome
from coordinator.client.patterns.workflow_places import Places
from coordinator.client.patterns.workflow_progress import External, ProgressLog, loaded
from coordinator.client.patterns.workflow_rows import Halted, begun_with, from_json
from coordinator.client.patterns.workflow_run import Run
from coordinator.client.patterns.workflow_state import result_of
from coordinator.client.portal import Portal
from coordinator.client.sync.workflow import inner_of
from coordinator.client.transport.base import Progress, WorkflowState
from coordinator.client.transport.coordinator import Coordinator
from coordinator.client.transport.open import Urls
from coordinator.model import LATEST, BranchStatus, Options, TransType

_NOWHERE: Final = "http://127.0.0.1:1"  # nothing is sent
_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Replayed:
    """How far a recorded workflow (PROTOCOL §7) comes with the code of today.

    status: how it ends, None where the record does not reach so far. next: what would be done then, such as
    `03 saga:stock/take` or `rollback 02 do:charge`; "" where it has ended. result: what the function
    returns. reason: why it is rolled back.
    """

    status: Status | None = None
    next: str = ""
    result: Any = None
    reason: str = ""


async def replay(
    history: Mapping[str, Any],
    *functions: WorkflowFunction[Any, Any] | sync.WorkflowFunction[Any, Any],
    external: External | None = None,
) -> Replayed:
    """Run the workflow function that a history is of (PROTOCOL §7), against what is recorded.

    history: what `dtm show --json GID` prints, by somebody who may see payloads, or `query` over HTTP.
    functions: as given to Workflows; blocking ones run in a thread. Steps that are recorded return what they
    returned, sleeps are over, and the first step that is not recorded is not done: it is `next`. Raises
    Mismatch where the code does another thing than was recorded, or ends in another way; what the function
    raises; InvalidUse for a history that is no workflow's of these.

    Example:
        @pytest.mark.parametrize("file", Path("histories").glob("*.json"))
        async def test_what_runs_in_production_goes_on(file: Path) -> None:
            await replay(json.loads(file.read_text()), register)
    """
    row, branches = history.get("transaction") or {}, history.get("branches") or ()
    begun = begun_with(row.get("custom_data", ""))
    found = {one.name: one for one in functions}
    if row.get("trans_type") != TransType.WORKFLOW or begun is None or begun[0] not in found:
        raise InvalidUse(
            f"the history is no workflow's of these, {', '.join(found)}, with its data: take it as somebody "
            "who may see payloads",
            gid=str(row.get("gid", "")),
        )
    data = await loaded(external, begun[1], row["gid"])
    recorded = _Recorded(_state(row, branches), row["gid"], data, external)
    function = found[begun[0]]
    if isinstance(function, WorkflowFunction):
        return await recorded.run(function)
    return await asyncio.to_thread(recorded.run_blocking, function)


def _state(row: Mapping[str, Any], branches: Any) -> WorkflowState:
    progresses = [
        Progress(
            one["branch_id"],
            one["op"],
            BranchStatus(one["status"]),
            base64.b64decode(one.get("bin_data") or ""),
            one.get("url", ""),
        )
        for one in branches
    ]
    status, reason = Status(row["status"]), row.get("rollback_reason", "")
    return WorkflowState(status, reason, row.get("result", ""), progresses)


@dataclass(frozen=True, slots=True)
class _Recorded:
    state: WorkflowState
    gid: str
    data: bytes
    external: External | None

    def run_blocking(self, function: sync.WorkflowFunction[Any, Any]) -> Replayed:
        portal = Portal()
        try:
            return portal.call(lambda: self.run(inner_of(function, portal)))
        finally:
            portal.close(_nothing)

    async def run(self, function: WorkflowFunction[Any, Any]) -> Replayed:
        coordinator = Coordinator(Urls([_NOWHERE]), _SECONDS)
        log = ProgressLog(coordinator, self.gid, self.state.progresses, self.external, is_replay=True)
        run = Run(self.gid, log)
        workflow = Workflow(coordinator, Options(), run, Places(self.gid), lambda: LATEST)
        try:
            return await self._ended(function, workflow, run)
        except Halted as halted:
            await run.returned()
            return await self._checked(Replayed(next=str(halted)))
        except BaseExceptionGroup as group:
            halts, others = group.split(Halted)
            if halts is None or others is not None:
                raise
            await run.returned()
            return await self._checked(Replayed(next=str(_first(halts))))
        finally:
            await run.returned()
            await coordinator.close()

    async def _ended(self, function: WorkflowFunction[Any, Any], workflow: Workflow, run: Run) -> Replayed:
        result, failure = await outcome(function.function, workflow, run, self.data)
        await run.returned()
        failure = run.verdict(failure)
        await run.finish(failure)
        if failure is not None:
            return await self._checked(Replayed(Status.FAILED, reason=failure.reason))
        return await self._checked(Replayed(Status.SUCCEED, result=from_json(result)))

    async def _checked(self, replayed: Replayed) -> Replayed:
        """Raise Mismatch where it has ended in another way."""
        if not self.state.status.is_final:
            return replayed
        try:
            ended = from_json(await result_of(self.state, self.gid, self.external))
            then = Replayed(Status.SUCCEED, result=ended)
        except (Failure, InvalidUse) as failure:
            then = Replayed(Status.FAILED, reason=failure.reason)
        if (replayed.status, replayed.result) == (then.status, then.result):
            return replayed
        now = f"goes on with step {replayed.next}" if replayed.next else _told(replayed)
        raise Mismatch(f"workflow {self.gid}: it {_told(then)}, and {now} now", gid=self.gid)


def _told(replayed: Replayed) -> str:
    if replayed.status is Status.FAILED:
        return f"was rolled back ({replayed.reason})"
    return f"succeeded with {replayed.result!r}"[:300]


def _first(group: BaseException) -> BaseException:
    return _first(group.exceptions[0]) if isinstance(group, BaseExceptionGroup) else group


async def _nothing() -> None:
    return None
