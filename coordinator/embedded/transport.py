"""The client's transport to a coordinator in the same process: its operations, without a port."""

import asyncio
from collections.abc import Coroutine, Mapping
from contextvars import Context
from dataclasses import replace
from datetime import tzinfo
from typing import Any, Final, TypeVar

from coordinator.access.audit import Actor
from coordinator.api.decode import step_headers
from coordinator.api.listing import filter_from, next_position_of
from coordinator.api.render import render_all, render_query, rendered
from coordinator.client import InvalidUse
from coordinator.client.transport.answers import Result, raise_for_answer
from coordinator.client.transport.base import (
    ONLY_FORWARD,
    BranchRegistration,
    ConnectionProblem,
    ListFilter,
    Operation,
    Progress,
    TopicOperation,
    WorkflowState,
)
from coordinator.client.transport.said import said_by
from coordinator.client.transport.step_results import Results
from coordinator.errors import Busy, DtmError, Failure, Invalid, Ongoing, Stopping
from coordinator.model import PROTOCOL_HTTP, BranchRequest, TransactionRequest
from coordinator.service import Operations

T = TypeVar("T")
ADDRESS: Final = "the coordinator in this process"
_SELF: Final = Actor("this program", "embedded")


class LocalTransport:
    """zone: of times shown. context: in which operations run, whoever asks for them.

    What was asked goes on when nobody waits for it any more, as it does at a port.
    """

    protocol = PROTOCOL_HTTP

    def __init__(self, operations: Operations, zone: tzinfo | None, context: Context) -> None:
        self._operations = operations
        self._zone = zone
        self._context = context
        self._asked: set[asyncio.Task[Any]] = set()

    @property
    def address(self) -> str:
        """See Transport; nobody else reaches it."""
        return ""

    async def operate(self, operation: Operation, request: TransactionRequest, timeout: float) -> Results:
        """See Transport."""
        transactions = self._operations.transactions
        if headers := step_headers(request.steps):
            request = replace(request, options=replace(request.options, step_headers=headers))
        asked: Coroutine[Any, Any, Results | None]
        match operation:
            case Operation.SUBMIT:
                asked = transactions.submit(request)
            case Operation.PREPARE:
                asked = transactions.prepare(request)
            case _:
                asked = transactions.abort(request)
        only_forward = operation is Operation.SUBMIT and request.trans_type in ONLY_FORWARD
        return await self._ask(asked, timeout, request.gid, only_forward=only_forward) or {}

    async def kept_results(self, gid: str, timeout: float) -> Results:
        """See Transport."""
        return await self._ask(self._operations.transactions.kept_results(gid), timeout, gid)

    async def register_branch(self, registration: BranchRegistration, timeout: float) -> None:
        """See Transport."""
        request = BranchRequest(
            registration.gid,
            registration.trans_type,
            registration.branch_id,
            registration.payload,
            dict(registration.data),
        )
        await self._ask(self._operations.branches.register(request), timeout, registration.gid)

    async def prepare_workflow(self, request: TransactionRequest, timeout: float) -> WorkflowState:
        """See Transport."""
        stored = await self._ask(self._operations.workflows.prepare(request), timeout, request.gid)
        transaction = stored.transaction
        return WorkflowState(
            status=transaction.status,
            rollback_reason=transaction.rollback_reason,
            result=transaction.result,
            progresses=[
                Progress(it.branch_id, it.op, it.status, it.payload, it.url) for it in stored.branches
            ],
            branch_headers=transaction.options.branch_headers,
            custom_data=transaction.custom_data,
        )

    async def change_topic(
        self, operation: TopicOperation, topic: str, url: str, remark: str, timeout: float
    ) -> None:
        """See Transport."""
        topics = self._operations.topics
        asked: Coroutine[Any, Any, None]
        match operation:
            case TopicOperation.SUBSCRIBE:
                asked = topics.subscribe(topic, url, remark, _SELF)
            case TopicOperation.UNSUBSCRIBE:
                asked = topics.unsubscribe(topic, url, _SELF)
            case _:
                asked = topics.delete(topic, _SELF)
        await self._ask(asked, timeout)

    async def new_gid(self, timeout: float) -> str:
        """See Transport."""
        return self._operations.transactions.new_gid()

    async def query(self, gid: str, timeout: float) -> Mapping[str, Any]:
        """See Transport."""
        stored = await self._ask(self._operations.operators.query(gid), timeout, gid)
        return await rendered(render_query, stored, self._zone)

    async def list(self, wanted: ListFilter, timeout: float) -> Mapping[str, Any]:
        """See Transport."""
        listed = await self._ask(self._operations.operators.all(filter_from(wanted.parameters())), timeout)
        return render_all(listed.rows, next_position_of(listed), self._zone)

    async def stop(self, gid: str, timeout: float) -> None:
        """See Transport."""
        await self._ask(self._operations.operators.force_stop(gid, _SELF), timeout, gid)

    async def retry(self, gid: str, timeout: float) -> None:
        """See Transport."""
        await self._ask(self._operations.operators.reset_next_cron_time(gid, _SELF), timeout, gid)

    async def close(self) -> None:
        """See Transport. What still waits for its answer gets none."""
        asked = list(self._asked)
        for task in asked:
            task.cancel()
        if asked:
            await asyncio.wait(asked)

    async def _ask(
        self, asked: Coroutine[Any, Any, T], timeout: float, gid: str = "", *, only_forward: bool = False
    ) -> T:
        task = asyncio.create_task(asked, context=self._context.copy())
        self._asked.add(task)
        task.add_done_callback(self._forget)
        await asyncio.wait({task}, timeout=timeout)
        if not task.done():
            raise ConnectionProblem(f"{ADDRESS} did not answer within {timeout:.1f} s", sent=True)
        if task.cancelled():
            raise ConnectionProblem(f"{ADDRESS} is closed", sent=True)
        try:
            return task.result()
        except DtmError as error:
            _raise_for(error, gid, only_forward=only_forward)
            raise AssertionError("every error means something to its caller") from error

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._asked.discard(task)
        if not task.cancelled():
            task.exception()  # has been asked for: nobody may be left who waits for it


def _raise_for(error: DtmError, gid: str, *, only_forward: bool) -> None:
    """Raise what the error would have meant had it come through a port (PROTOCOL §2)."""
    match error:
        case Busy() | Stopping():
            raise ConnectionProblem(str(error), sent=True) from error
        case Invalid():
            raise InvalidUse(error.message, gid=gid) from error
        case Failure():
            result = Result.FAILURE
        case Ongoing():
            result = Result.ONGOING
        case _:
            result = Result.ERROR
    told = None
    if (branch := error.branch) is not None:
        told = said_by(branch.url, branch.branch_id, branch.op, branch.status, branch.said)
    raise_for_answer(result, error.message, gid, only_forward=only_forward, told=told)
