"""The workflows of a service: begun here, gone on with when the coordinator calls back (PROTOCOL §5, §7)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Unpack

from coordinator.client.dtm import Dtm
from coordinator.client.errors import DtmError, Failure, InvalidUse, Ongoing
from coordinator.client.extras import brought_by
from coordinator.client.patterns.workflow import Data, Result, Workflow, WorkflowFunction
from coordinator.client.patterns.workflow_execution import REASON_CHARACTERS_MAX, Asleep, Execution
from coordinator.client.patterns.workflow_progress import External, loaded
from coordinator.client.patterns.workflow_rows import (
    ResultTooLarge,
    begun_with,
    custom_data,
    data_bytes_max,
    from_json,
    kept_elsewhere,
    to_json,
)
from coordinator.client.patterns.workflow_traceback import cleaned
from coordinator.client.transport.attempts import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from coordinator.client.transport.checks import check_text, check_url, checked_gid, wrong
from coordinator.client.transport.context import BranchContext
from coordinator.client.transport.options import TransactionOptions, headers_of_call, make_options
from coordinator.client.transport.query import read_query
from coordinator.model import Options, TransactionRequest, TransType

if TYPE_CHECKING:
    from aiohttp import web

_LOG: Final = logging.getLogger(__name__)
GRPC_PATH: Final = "/workflow.Workflow/Execute"


def workflow(
    name: str,
) -> Callable[[Callable[[Workflow, Data], Awaitable[Result]]], WorkflowFunction[Data, Result]]:
    """Make a function a workflow (PROTOCOL §7). name: stored with each transaction, so it must not change.

    What it takes and returns are the types of `execute`, as JSON gives them back.

    Example:
        @workflow("register")
        async def register(wf: Workflow, data: dict[str, str]) -> dict[str, str]:
            await wf.saga(f"{user}/save", f"{user}/remove", data)
            await wf.saga(f"{score}/give", f"{score}/take", data)
            return {"welcome": data["name"]}
    """
    return lambda function: WorkflowFunction(name, function)


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Workflows:
    """The workflow functions of one service (PROTOCOL §5, §7).

    callback: the url under which the coordinator reaches `handler` (http://…), or `service()` or
    `grpc_handler()` (written `host:port/workflow.Workflow/Execute`), from where an unfinished one is gone on
    with after a crash.
    external: keeps results of steps, and data and results of workflows, that are too large for the
    coordinator; None: they are refused. now: the wall clock, aware; a test gives its own. options: see
    TransactionOptions; retry_interval is when the coordinator calls back first. Raises InvalidUse without
    callback.

    Example:
        workflows = Workflows(dtm, [register], callback="http://me:8080/workflow")
        application.router.add_route("*", "/workflow", workflows.handler)
        answer = await workflows.execute(register, {"name": "ann"})
    """

    def __init__(
        self,
        dtm: Dtm,
        functions: Iterable[WorkflowFunction[Any, Any]],
        *,
        callback: str,
        external: External | None = None,
        now: Callable[[], datetime] = utc_now,
        **options: Unpack[TransactionOptions],
    ) -> None:
        if not callback:
            raise InvalidUse("callback: give the url where the coordinator reaches this service's workflows")
        self._dtm = dtm
        self._functions = {one.name: one for one in functions}
        self._callback = callback
        self._external = external
        self._now = now
        self._options = make_options(**options)
        self._running: dict[str, Execution] = {}

    async def execute(
        self,
        workflow: WorkflowFunction[Data, Result],
        data: Data | None = None,
        *,
        gid: str | None = None,
        wait_seconds: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a workflow and return its result; with gid and data of an earlier one, go on with that.

        data: what the function gets, anything that JSON can say (the protocol has room for some 700 bytes,
        what is larger needs `external`). What the function returns has as much room.
        headers: sent with every call of this execution, before branch_headers, after a crash as well (but
        not where that is gone on with over gRPC from a coordinator in Go, which does not tell them).
        wait_seconds: how long to wait for the end where it is not reached at once, because a step is
        ongoing or not known about, or another process has it. Raises Failure when it is rolled back,
        whatever the step raised when it stays open (the coordinator has it run again), Ongoing when it runs
        elsewhere, Unreachable, InvalidUse for a workflow that was not given to Workflows, data that are too
        large, and where a result was (then it is rolled back); Mismatch where the gid is another workflow's.
        """
        if self._functions.get(workflow.name) is not workflow:
            raise InvalidUse(f"workflow {workflow.name!r} is not one of those given to Workflows")
        protocol = self._dtm.coordinator.protocol
        check_url("callback", self._callback, protocol)
        options = self._options
        if headers:
            options = replace(options, branch_headers=headers_of_call(options, headers, self._callback))
        gid = checked_gid(gid, protocol)
        encoded = to_json(data, "data")
        stored = await self._stored_data(workflow.name, gid, encoded, data)
        request = self._request(workflow.name, gid, stored, options)
        execution = self._execution(workflow, request, stored, encoded)
        deadline = asyncio.get_running_loop().time() + wait_seconds
        try:
            result: Result = from_json(await self._run(execution))
        except Failure:
            raise
        except Exception:
            if wait_seconds <= 0:
                raise
            ended = await self._wait(execution, deadline)
            if ended is None:
                raise
            result = from_json(ended)
        return result

    async def cancel(self, gid: str, *, reason: str = "") -> None:
        """Have a workflow of these rolled back that has not ended; return when it is, or will surely be.

        No other step is begun, what is recorded is undone, and so is the step that comes next, which another
        process may have under way: behind a barrier that does nothing where it was not done, and keeps it
        from being done later. A step that this process has under way is waited for by its own execution,
        which raises Failure then. reason: 500 characters at most. A second time does nothing. Raises DtmError
        where it has succeeded; InvalidUse for what is no workflow of these.
        """
        check_text("reason", reason, characters_max=REASON_CHARACTERS_MAX)
        coordinator = self._dtm.coordinator
        view = read_query(await coordinator.query(gid), gid)
        found = None if view is None else begun_with(view.raw["transaction"].get("custom_data", ""))
        if view is None or found is None or found[0] not in self._functions:
            raise InvalidUse(f"{gid} is no workflow of these, only {', '.join(self._functions)}", gid=gid)
        name, stored = found
        data = await loaded(self._external, stored, gid)
        request = self._request(name, gid, stored, self._options)
        execution = self._execution(self._functions[name], request, stored, data)
        try:
            await execution.record_cancelled(reason)
            running = self._running.get(gid)
            if running is not None:
                running.cancel(reason)
                return
            await self._run(execution)
        except (Failure, ResultTooLarge):
            return
        raise DtmError(f"workflow {gid} has succeeded: too late to cancel it", gid=gid)

    @property
    def handler(self) -> "Callable[[web.Request], Awaitable[web.StreamResponse]]":
        """The aiohttp handler that the coordinator calls back, for every method (GET where data is empty)."""
        from coordinator.client.frameworks.for_aiohttp import branch_endpoint

        return branch_endpoint(self.resume)

    def service(self) -> Any:
        """The grpclib service that the coordinator calls back, for `BranchServer`."""
        from coordinator.client.frameworks.for_grpclib import branch_method

        return branch_method(GRPC_PATH, self._answer_grpc)

    def grpc_handler(self) -> Any:
        """The same for `add_generic_rpc_handlers` of `grpc.aio.server`.

        Raises MissingExtra where grpcio is not installed.
        """
        with brought_by("grpcio"):
            from coordinator.client.frameworks.for_grpcio import branch_method

        return branch_method(GRPC_PATH, self._answer_grpc)

    async def resume(self, branch: BranchContext, body: bytes) -> bytes:
        """Go on with the workflow that a callback is about; for adapters to other frameworks.

        branch: of the callback, whose op is the workflow's name. Returns the body of a success. A workflow
        that is rolled back has ended well too, as far as the callback goes. Raises DtmError: ask again, with
        the places of the user's code that another exception came from, for who looks at the attempts.
        """
        found = self._functions.get(branch.op)
        if found is None:
            raise DtmError(
                f"workflow {branch.op!r} is not known here, only {', '.join(sorted(self._functions))}",
                gid=branch.gid,
            )
        request = self._request(found.name, branch.gid, body, self._options)
        data = await loaded(self._external, body, branch.gid)
        try:
            return await self._run(self._execution(found, request, body, data))
        except (Failure, ResultTooLarge):
            return b""  # rolled back, and stored as such
        except Asleep:
            return b""  # called back when it is over
        except DtmError:
            raise
        except Exception as error:
            _LOG.exception("workflow %s %s raised; it is called back again", found.name, branch.gid)
            raise DtmError(f"workflow {found.name!r} raised {cleaned(error)}", gid=branch.gid) from error

    async def _answer_grpc(self, branch: BranchContext, body: bytes) -> bytes:
        await self.resume(branch, data_of_message(body))
        return b""

    async def _run(self, execution: Execution) -> bytes:
        """Run to the end; return the result's JSON."""
        gid = execution.gid
        if gid in self._running:
            raise Ongoing(f"workflow {gid} is running in this process", gid=gid)
        self._running[gid] = execution
        try:
            return await execution.run()
        finally:
            del self._running[gid]

    async def _wait(self, execution: Execution, deadline: float) -> bytes | None:
        """Return the result as soon as it is stored; None when the time is up."""
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE_SECONDS
        while loop.time() + pause < deadline:
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            ended = await execution.ended()
            if ended is not None:
                return ended
        return None

    def _execution(
        self, workflow: WorkflowFunction[Any, Any], request: TransactionRequest, stored: bytes, data: bytes
    ) -> Execution:
        coordinator, function = self._dtm.coordinator, workflow.function
        return Execution(
            coordinator, self._external, workflow.name, function, request, stored, data, self._now
        )

    async def _stored_data(self, name: str, gid: str, encoded: bytes, data: Any) -> bytes:
        """Return what is stored of a workflow's data. Raises InvalidUse where there is no room for it."""
        most = data_bytes_max(name)
        if len(encoded) <= most:
            return encoded
        if self._external is None:
            raise wrong(
                "data",
                data,
                f"has {len(encoded):,} bytes as JSON, at most {most:,} can be stored with workflow {name!r}: "
                "give a key of what is kept elsewhere, or Workflows a place for large data (external=)",
                gid=gid,
            )
        await self._external.save(f"{gid}/data", encoded)
        return kept_elsewhere(f"{gid}/data")

    def _request(self, name: str, gid: str, data: bytes, options: Options) -> TransactionRequest:
        return TransactionRequest(
            gid=gid,
            trans_type=TransType.WORKFLOW,
            query_prepared=self._callback,
            protocol=self._dtm.coordinator.protocol,
            options=options,
            custom_data=custom_data(name, data),
        )


def data_of_message(body: bytes) -> bytes:
    """Return the data of a workflow that is called back over gRPC."""
    from coordinator.proto.workflow import WorkflowData

    return WorkflowData.FromString(body).data
