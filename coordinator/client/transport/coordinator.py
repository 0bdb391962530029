"""One open connection to a coordinator: every operation of the protocol, asked until an answer comes."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from coordinator.client.errors import DtmError, Failure, InvalidUse, Ongoing, Said, Unreachable
from coordinator.client.transport.answers import already
from coordinator.client.transport.attempts import LEAST_SECONDS, Attempts
from coordinator.client.transport.base import (
    ONLY_FORWARD,
    BranchRegistration,
    ConnectionProblem,
    ListFilter,
    Operation,
    TopicOperation,
    WorkflowState,
)
from coordinator.client.transport.branch_calls import BranchAnswer, BranchCall
from coordinator.client.transport.checks import check_either_url, check_text, check_topic
from coordinator.client.transport.open import Opener
from coordinator.client.transport.payload import Encoder, Payload, encode_payload
from coordinator.client.transport.query import read_query
from coordinator.client.transport.repeated import is_done, unreachable
from coordinator.client.transport.said import with_step
from coordinator.client.transport.step_results import Results
from coordinator.client.transport.tracing import TracerProvider, Tracing
from coordinator.model import Status, TransactionRequest

T = TypeVar("T")


class Coordinator:
    """An open connection. timeout: seconds for one operation, all attempts included.

    Every method raises Unreachable when no answer came in that time, and DtmError with the answer when it was
    an error.
    """

    def __init__(
        self,
        opener: Opener,
        timeout: float,
        tracer_provider: TracerProvider | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self._encoder = encoder
        self._address = opener.address
        self._tracing = Tracing(self._address, tracer_provider)
        self.timeout = timeout
        self._transport = opener.transport()
        self._branches = opener.branches()
        self._random = random.Random()
        self._closed = False

    @property
    def protocol(self) -> str:
        """What branches are called with unless their url says otherwise: `http` or `grpc`."""
        return self._transport.protocol

    def encode(self, payload: Payload) -> bytes:
        """Return the bytes that travel to a branch. Raises InvalidUse."""
        return encode_payload(payload, self._transport.protocol, self._encoder)

    @property
    def told_to_branches(self) -> dict[str, str]:
        """What branches of TCC and XA are told beside their context: Go's go on with this coordinator."""
        return {"dtm": self._transport.address}

    async def close(self) -> None:
        """Close all connections. Whoever still has a transaction of this client gets InvalidUse."""
        self._closed = True
        try:
            await self._branches.close()
        finally:
            await self._transport.close()

    async def operate(self, operation: Operation, request: TransactionRequest) -> Results:
        """Submit, prepare or abort, safe to repeat. Raises Failure and Ongoing as the coordinator said.

        Returns what steps answered that keep it, where the end was waited for.
        """
        options = request.options
        extra_seconds = options.request_timeout if options.wait_result else 0
        attempts = Attempts(self.timeout + extra_seconds, self._random)

        async def ask(seconds: float) -> Results:
            if operation is Operation.SUBMIT and options.wait_result and request.trans_type in ONLY_FORWARD:
                await self._submit_and_wait(request, seconds)
                return {}
            return await self._transport.operate(operation, request, seconds)

        try:
            with self._tracing.operation(self.protocol, operation, request.gid, request.trans_type):
                return await self._answer(
                    ask,
                    attempts,
                    lambda problem: unreachable(operation, request, problem, sent=attempts.anything_sent),
                )
        except Failure as failure:
            found = already(failure)
            if is_done(operation, found, asked_before=attempts.anything_sent):
                keeps = options.wait_result and any(step.keep_result for step in request.steps)
                return await self._kept_results(request.gid) if keeps else {}
            if failure.said is not None:
                failure.said = with_step(failure.said, request.steps)
            elif operation is Operation.SUBMIT and found in (Status.ABORTING, Status.FAILED):
                raise await self._with_reason(failure, request, attempts.seconds_left()) from None
            raise

    async def _kept_results(self, gid: str) -> Results:
        """Of what had succeeded before it was submitted again."""
        return await self._ask(
            lambda seconds: self._transport.kept_results(gid, seconds), f"results of {gid}", gid
        )

    async def _with_reason(self, failure: Failure, request: TransactionRequest, seconds: float) -> Failure:
        """Return why what was submitted again is rolled back, as far as the coordinator can say so now."""
        with suppress(DtmError, ConnectionProblem):
            stored = read_query(await self._transport.query(request.gid, seconds), request.gid)
            why = stored.failure if stored is not None and stored.rollback_reason else None
            if why is not None:
                said = why.said and with_step(why.said, request.steps)
                return Failure(
                    failure.message, gid=failure.gid, answer=failure.answer, said=said, reason=why.reason
                )
        return failure

    async def _submit_and_wait(self, request: TransactionRequest, seconds: float) -> None:
        """Submit what never rolls back; raises Ongoing where a branch is to be called again.

        The coordinator answers a branch's unknown result as if it were an error of its own (§5). Handing the
        same in again, without waiting, tells one from the other.
        """
        first: DtmError | ConnectionProblem
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        try:
            await self._transport.operate(Operation.SUBMIT, request, seconds)
        except (Failure, Ongoing):
            raise
        except DtmError as error:
            first, answer = error, error.answer
            if error.said is not None:  # our own coordinator tells a branch's answer from an error of its own
                raise _called_again(request, error.answer, error.said) from error
        except ConnectionProblem as problem:
            if not problem.answered:
                raise
            first, answer = problem, str(problem)
        else:
            return
        again = replace(request, options=replace(request.options, wait_result=False))
        await self._transport.operate(Operation.SUBMIT, again, max(deadline - loop.time(), LEAST_SECONDS))
        raise _called_again(request, answer, None) from first

    async def register_branch(self, registration: BranchRegistration) -> None:
        """Register a branch. Raises Failure where the transaction is not `prepared` any more."""
        gid = registration.gid
        with self._tracing.operation(self.protocol, "registerBranch", gid, registration.trans_type):
            await self._ask(
                lambda seconds: self._transport.register_branch(registration, seconds),
                f"branch {registration.branch_id} of {gid} could not be registered",
                gid,
            )

    async def prepare_workflow(self, request: TransactionRequest) -> WorkflowState:
        """Store a workflow, or return what is stored of it."""
        with self._tracing.operation(self.protocol, "prepareWorkflow", request.gid, request.trans_type):
            return await self._ask(
                lambda seconds: self._transport.prepare_workflow(request, seconds),
                f"workflow {request.gid} could not be prepared",
                request.gid,
            )

    async def change_topic(self, operation: TopicOperation, topic: str, url: str, remark: str) -> None:
        """Change a topic. Raises InvalidUse for what can be none, or no subscriber."""
        check_topic(topic)
        check_either_url("url", url)
        check_text("remark", remark)
        await self._ask(
            lambda seconds: self._transport.change_topic(operation, topic, url, remark, seconds),
            f"topic {topic}: not known whether it was changed",
            "",
        )

    async def new_gid(self) -> str:
        """Return a gid made by the coordinator."""
        return await self._ask(self._transport.new_gid, "no gid", "")

    async def query(self, gid: str, *, seconds_max: float = math.inf) -> Any:
        """Return the decoded answer of `query`. seconds_max: where that is less than the time-out."""
        return await self._ask(
            lambda seconds: self._transport.query(gid, seconds), f"query of {gid}", gid, seconds_max
        )

    async def list(self, wanted: ListFilter) -> Any:
        """Return the decoded answer of `all`."""
        return await self._ask(lambda seconds: self._transport.list(wanted, seconds), "no list", "")

    async def stop(self, gid: str) -> None:
        """Stop a transaction."""
        what = f"not known whether {gid} is stopped"
        await self._ask(lambda seconds: self._transport.stop(gid, seconds), what, gid)

    async def retry(self, gid: str) -> None:
        """Make a transaction due now."""
        what = f"not known whether {gid} is due"
        await self._ask(lambda seconds: self._transport.retry(gid, seconds), what, gid)

    async def call_branch(self, call: BranchCall, request_timeout: float) -> BranchAnswer:
        """Call a branch once, from here. request_timeout: seconds, 0 for this client's own time-out."""
        self._check_open()
        with self._tracing.branch(call.url, call.context, method=call.method):
            return await self._branches.call(call, request_timeout or self.timeout)

    def _check_open(self) -> None:
        # A connection that was opened now would be closed by nobody.
        if self._closed:
            raise InvalidUse("this Dtm is closed: keep it open as long as its transactions are used")

    async def _ask(
        self, ask: Callable[[float], Awaitable[T]], what: str, gid: str, seconds_max: float = math.inf
    ) -> T:
        attempts = Attempts(min(self.timeout, seconds_max), self._random)
        return await self._answer(
            ask,
            attempts,
            lambda problem: Unreachable(
                f"{what}: {problem}. Is the coordinator running at {self._address}?",
                gid=gid,
                may_exist=attempts.anything_sent,
            ),
        )

    async def _answer(
        self,
        ask: Callable[[float], Awaitable[T]],
        attempts: Attempts,
        explain: Callable[[ConnectionProblem], Unreachable],
    ) -> T:
        """Ask, giving the seconds left, until there is an answer or no time for another attempt."""
        while True:
            self._check_open()
            try:
                return await ask(attempts.seconds_left())
            except ConnectionProblem as problem:
                if not await attempts.pause_after(problem):
                    raise explain(problem) from problem


def _called_again(request: TransactionRequest, answer: str, said: Said | None) -> Ongoing:
    return Ongoing(
        f"transaction {request.gid} is accepted, but a branch has not succeeded yet ({answer}): it is "
        "called again. Ask query, or wait",
        gid=request.gid,
        answer=answer,
        said=said,
    )
