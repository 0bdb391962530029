"""The workflows of a service: begun here, gone on with when the coordinator calls back (PROTOCOL §5, §7)."""

import asyncio
import base64
import binascii
import importlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Unpack

import orjson
from aiohttp import web

from coordinator.client.dtm import Dtm, make_gid
from coordinator.client.errors import DtmError, Failure, InvalidUse, Ongoing, Unreachable
from coordinator.client.frameworks.for_aiohttp import branch_endpoint
from coordinator.client.frameworks.for_grpclib import branch_method
from coordinator.client.patterns.workflow import Workflow, from_json, to_json
from coordinator.client.patterns.workflow_progress import ProgressLog
from coordinator.client.transport.attempts import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from coordinator.client.transport.base import Operation, WorkflowState
from coordinator.client.transport.context import BranchContext
from coordinator.client.transport.options import TransactionOptions, make_options
from coordinator.model import Status, TransactionRequest, TransType
from coordinator.proto.workflow import WorkflowData

GRPC_PATH: Final = "/workflow.Workflow/Execute"
_REASON_CHARACTERS_MAX: Final = 500

Function = Callable[[Workflow, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class WorkflowFunction:
    """A function that is a workflow, and the name by which the coordinator calls it back (PROTOCOL §7)."""

    name: str
    function: Function


def workflow(name: str) -> Callable[[Function], WorkflowFunction]:
    """Make a function a workflow (PROTOCOL §7). name: stored with each transaction, so it must not change.

    Example:
        @workflow("register")
        async def register(wf: Workflow, data: dict[str, str]) -> dict[str, str]:
            await wf.saga(f"{user}/save", f"{user}/remove", data)
            await wf.saga(f"{score}/give", f"{score}/take", data)
            return {"welcome": data["name"]}
    """
    return lambda function: WorkflowFunction(name, function)


class Workflows:
    """The workflow functions of one service (PROTOCOL §5, §7).

    callback: the url under which the coordinator reaches `handler` (http://…), or `service()` or
    `grpc_handler()` (written `host:port/workflow.Workflow/Execute`), from where an unfinished one is gone on
    with after a crash.
    options: see TransactionOptions; retry_interval is when the coordinator calls back first. Raises
    InvalidUse without callback.

    Example:
        workflows = Workflows(dtm, [register], callback="http://me:8080/workflow")
        application.router.add_route("*", "/workflow", workflows.handler)
        answer = await workflows.execute(register, {"name": "ann"})
    """

    def __init__(
        self,
        dtm: Dtm,
        functions: Iterable[WorkflowFunction],
        *,
        callback: str,
        **options: Unpack[TransactionOptions],
    ) -> None:
        if not callback:
            raise InvalidUse("callback: give the url where the coordinator reaches this service's workflows")
        self._dtm = dtm
        self._functions = {one.name: one for one in functions}
        self._callback = callback
        self._options = make_options(**options)
        self._running: set[str] = set()

    async def execute(
        self,
        workflow: WorkflowFunction,
        data: Any = None,
        *,
        gid: str | None = None,
        wait_seconds: float = 0.0,
    ) -> Any:
        """Run a workflow and return its result; with gid and data of an earlier one, go on with that.

        data: what the function gets, anything that JSON can say (the protocol has room for some 700 bytes).
        wait_seconds: how long to wait for the end where it is not reached at once, because a step is ongoing
        or not known about, or another process has it. Raises Failure when it is rolled back, whatever the
        step raised when it stays open (the coordinator has it run again), Ongoing when it runs elsewhere,
        Unreachable, InvalidUse for a workflow that was not given to Workflows.
        """
        if self._functions.get(workflow.name) is not workflow:
            raise InvalidUse(f"workflow {workflow.name!r} is not one of those given to Workflows")
        request = self._request(workflow.name, gid or make_gid(), to_json(data, "data"))
        deadline = asyncio.get_running_loop().time() + wait_seconds
        try:
            return from_json(await self._run(workflow, request, data))
        except Failure:
            raise
        except Exception:
            if wait_seconds <= 0:
                raise
            ended = await self._wait(request, deadline)
            if ended is None:
                raise
            return from_json(ended)

    @property
    def handler(self) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The aiohttp handler that the coordinator calls back, for every method (GET where data is empty)."""
        return branch_endpoint(self.resume)

    def service(self) -> Any:
        """The grpclib service that the coordinator calls back, for `BranchServer`."""

        return branch_method(GRPC_PATH, self._answer_grpc)

    def grpc_handler(self) -> Any:
        """The same for `add_generic_rpc_handlers` of `grpc.aio.server`.

        Raises InvalidUse where grpcio is not installed.
        """
        return grpcio_module().branch_method(GRPC_PATH, self._answer_grpc)

    async def resume(self, branch: BranchContext, body: bytes) -> bytes:
        """Go on with the workflow that a callback is about; for adapters to other frameworks.

        branch: of the callback, whose op is the workflow's name. Returns the body of a success. A workflow
        that is rolled back has ended well too, as far as the callback goes. Raises DtmError: ask again.
        """
        found = self._functions.get(branch.op)
        if found is None:
            raise DtmError(
                f"workflow {branch.op!r} is not known here, only {', '.join(sorted(self._functions))}",
                gid=branch.gid,
            )
        request = self._request(found.name, branch.gid, body)
        try:
            return await self._run(found, request, from_json(body))
        except Failure:
            return b""  # rolled back, and stored as such

    async def _answer_grpc(self, branch: BranchContext, body: bytes) -> bytes:
        await self.resume(branch, WorkflowData.FromString(body).data)
        return b""

    async def _run(self, workflow: WorkflowFunction, request: TransactionRequest, data: Any) -> bytes:
        """Run to the end; return the result's JSON."""
        gid = request.gid
        if gid in self._running:
            raise Ongoing(f"workflow {gid} is running in this process", gid=gid)
        self._running.add(gid)
        try:
            coordinator = self._dtm.coordinator
            state = await coordinator.prepare_workflow(request)
            if state.status is not Status.PREPARED:
                return _result_of(state, gid)
            running = Workflow(
                coordinator, gid, self._options, ProgressLog(coordinator, gid, state.progresses)
            )
            try:
                result, failure = await _outcome(workflow, running, data)
            finally:
                await running.returned()
            await running.finish(failure)
            return await self._end(request, result, failure)
        finally:
            self._running.discard(gid)

    async def _end(self, request: TransactionRequest, result: bytes, failure: Failure | None) -> bytes:
        reason = failure.reason[:_REASON_CHARACTERS_MAX] if failure else ""
        ending = TransactionRequest(
            gid=request.gid,
            trans_type=request.trans_type,
            query_prepared=request.query_prepared,
            protocol=request.protocol,
            options=request.options,
            custom_data=request.custom_data,
            rollback_reason=reason,
            req_extra={
                "status": Status.FAILED if failure else Status.SUCCEED,
                "rollback_reason": reason,
                "result": base64.b64encode(result).decode(),
            },
        )
        try:
            await self._dtm.coordinator.operate(Operation.SUBMIT, ending)
        except Unreachable:
            raise
        except DtmError:
            # Another process, or our own attempt whose answer was lost, may have ended it.
            state = await self._dtm.coordinator.prepare_workflow(request)
            if state.status is Status.PREPARED:
                raise
            return _result_of(state, request.gid)
        if failure:
            raise failure
        return result

    async def _wait(self, request: TransactionRequest, deadline: float) -> bytes | None:
        """Return the result as soon as it is stored; None when the time is up."""
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE_SECONDS
        while loop.time() + pause < deadline:
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            state = await self._dtm.coordinator.prepare_workflow(request)
            if state.status is not Status.PREPARED:
                return _result_of(state, request.gid)
        return None

    def _request(self, name: str, gid: str, data: bytes) -> TransactionRequest:
        stored = {"name": name, "data": base64.b64encode(data).decode()}
        return TransactionRequest(
            gid=gid,
            trans_type=TransType.WORKFLOW,
            query_prepared=self._callback,
            protocol=self._dtm.coordinator.protocol,
            options=self._options,
            custom_data=orjson.dumps(stored).decode(),
        )


def grpcio_module() -> Any:
    """Return `coordinator.client.grpcio`. Raises InvalidUse where grpcio is not installed."""
    try:
        return importlib.import_module("coordinator.client.grpcio")
    except ModuleNotFoundError as error:
        raise InvalidUse("this needs grpcio: pip install 'dtm-coordinator[grpcio]'") from error


async def _outcome(workflow: WorkflowFunction, running: Workflow, data: Any) -> tuple[bytes, Failure | None]:
    try:
        return to_json(await workflow.function(running, data), "result"), None
    except Failure as failure:
        return b"", failure


def _result_of(state: WorkflowState, gid: str) -> bytes:
    """Return the stored result of a workflow that has ended; raise Failure where it was rolled back."""
    match state.status:
        case Status.SUCCEED:
            try:
                return base64.b64decode(state.result, validate=True)
            except binascii.Error as error:
                raise DtmError(f"the result of workflow {gid} is no base64", gid=gid) from error
        case Status.FAILED:
            raise Failure(state.rollback_reason or "rolled back", gid=gid, answer=state.rollback_reason)
        case _:
            raise DtmError(f"workflow {gid} is {state.status}, which no workflow can be", gid=gid)
