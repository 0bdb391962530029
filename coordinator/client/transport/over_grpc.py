"""The coordinator over gRPC (PROTOCOL §4)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import orjson
from betterproto2 import Message
from grpclib.client import Channel
from grpclib.const import Status as GrpcStatus
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from coordinator.client.errors import DtmError, InvalidUse
from coordinator.client.transport.answers import Result, raise_for_answer
from coordinator.client.transport.base import (
    DEFAULT_HTTP_PORT,
    ONLY_FORWARD,
    BranchRegistration,
    ConnectionProblem,
    Operation,
    Progress,
    TopicOperation,
    WorkflowState,
)
from coordinator.client.transport.tracing import send_trace
from coordinator.model import PROTOCOL_GRPC, BranchStatus, Status, TransactionRequest
from coordinator.proto import dtmgimp
from coordinator.proto.google.protobuf import Empty

_T = TypeVar("_T")
_M = TypeVar("_M", bound=Message)
_RESULTS = {GrpcStatus.ABORTED: Result.FAILURE, GrpcStatus.FAILED_PRECONDITION: Result.ONGOING}
# Full is RESOURCE_EXHAUSTED, stopping UNAVAILABLE (PROTOCOL §2).
_WORTH_ANOTHER_ATTEMPT = (
    GrpcStatus.UNAVAILABLE,
    GrpcStatus.DEADLINE_EXCEEDED,
    GrpcStatus.RESOURCE_EXHAUSTED,
)
# What does not fit has the status of "full" as well; nobody refuses a shorter message for its length.
_LONG_BYTES = 1024 * 1024


class GrpcTransport:
    """One HTTP/2 channel, opened with the first call and again after it broke."""

    protocol = PROTOCOL_GRPC

    def __init__(self, host: str, port: int) -> None:
        self._address = f"{host}:{port}"
        self._channel = Channel(host, port)
        send_trace(self._channel)
        self._stub = dtmgimp.DtmStub(self._channel)

    @property
    def address(self) -> str:
        """See Transport."""
        return self._address

    async def operate(self, operation: Operation, request: TransactionRequest, timeout: float) -> None:
        """See Transport."""
        message = _dtm_request(request)
        calls = {
            Operation.SUBMIT: self._stub.submit,
            Operation.PREPARE: self._stub.prepare,
            Operation.ABORT: self._stub.abort,
        }
        only_forward = operation is Operation.SUBMIT and request.trans_type in ONLY_FORWARD
        await self._call(calls[operation], message, timeout, request.gid, only_forward=only_forward)

    async def register_branch(self, registration: BranchRegistration, timeout: float) -> None:
        """See Transport."""
        message = dtmgimp.DtmBranchRequest(
            gid=registration.gid,
            trans_type=registration.trans_type,
            branch_id=registration.branch_id,
            op=registration.data.get("op", ""),
            data=dict(registration.data),
            busi_payload=registration.payload,
        )
        await self._call(self._stub.register_branch, message, timeout, registration.gid)

    async def prepare_workflow(self, request: TransactionRequest, timeout: float) -> WorkflowState:
        """See Transport."""
        message = _dtm_request(request)
        reply = await self._call(self._stub.prepare_workflow, message, timeout, request.gid)
        return _workflow_state(reply, request.gid)

    async def change_topic(
        self, operation: TopicOperation, topic: str, url: str, remark: str, timeout: float
    ) -> None:
        """See Transport."""
        message = dtmgimp.DtmTopicRequest(topic=topic, url=url, remark=remark)
        calls = {
            TopicOperation.SUBSCRIBE: self._stub.subscribe,
            TopicOperation.UNSUBSCRIBE: self._stub.unsubscribe,
            TopicOperation.DELETE: self._stub.delete_topic,
        }
        await self._call(calls[operation], message, timeout, "")

    async def new_gid(self, timeout: float) -> str:
        """See Transport."""
        reply = await self._call(self._stub.new_gid, Empty(), timeout, "")
        return reply.gid

    async def query(self, gid: str, timeout: float) -> Mapping[str, Any]:
        """Raises InvalidUse: the protocol has no query over gRPC."""
        raise InvalidUse(
            f"query of {gid} needs HTTP: Dtm('http://host:{DEFAULT_HTTP_PORT}') of the same coordinator",
            gid=gid,
        )

    async def close(self) -> None:
        """See Transport."""
        self._channel.close()

    async def _call(
        self,
        call: Callable[[_M], Awaitable[_T]],
        message: _M,
        timeout: float,
        gid: str,
        *,
        only_forward: bool = False,
    ) -> _T:
        sent = False
        try:
            # Not grpclib's own time-out: that would travel as a deadline and cancel the work at the
            # coordinator.
            async with asyncio.timeout(timeout):
                # Connecting by itself first tells "nothing was sent" from "who knows".
                await self._channel.__connect__()
                sent = True
                return await call(message)
        except GRPCError as error:
            text = error.message or ""
            if error.status in _WORTH_ANOTHER_ATTEMPT and not _does_not_fit(error, message):
                raise ConnectionProblem(
                    f"{self._address} answered {error.status.name}: {text}", sent=True, answered=True
                ) from error
            result = _RESULTS.get(error.status, Result.ERROR)
            if result is Result.ERROR:
                text = f"{error.status.name} {text}"
            raise_for_answer(result, text, gid, only_forward=only_forward)
            raise AssertionError("raise_for_answer returns only for success") from error
        except TimeoutError as error:
            raise ConnectionProblem(
                f"{self._address} did not answer within {timeout:.1f} s", sent=sent
            ) from error
        except (StreamTerminatedError, ProtocolError, OSError) as error:
            what = (
                f"the connection to {self._address} broke" if sent else f"cannot connect to {self._address}"
            )
            raise ConnectionProblem(f"{what}: {error}", sent=sent) from error


def _does_not_fit(error: GRPCError, message: Message) -> bool:
    return error.status is GrpcStatus.RESOURCE_EXHAUSTED and len(bytes(message)) > _LONG_BYTES


def _dtm_request(request: TransactionRequest) -> dtmgimp.DtmRequest:
    options = request.options
    steps = [{"action": step.action, "compensate": step.compensate} for step in request.steps]
    return dtmgimp.DtmRequest(
        gid=request.gid,
        trans_type=request.trans_type,
        trans_options=dtmgimp.DtmTransOptions(
            wait_result=options.wait_result,
            timeout_to_fail=options.timeout_to_fail,
            retry_interval=options.retry_interval,
            branch_headers=dict(options.branch_headers),
            request_timeout=options.request_timeout,
            retry_limit=options.retry_limit,
        ),
        customed_data=request.custom_data,
        bin_payloads=list(request.payloads),
        query_prepared=request.query_prepared,
        steps=orjson.dumps(steps).decode() if steps else "",
        req_extra=dict(request.req_extra),
        rollback_reason=request.rollback_reason,
    )


def _workflow_state(reply: dtmgimp.DtmProgressesReply, gid: str) -> WorkflowState:
    if reply.transaction is None:
        raise DtmError(f"prepareWorkflow of {gid} answered no transaction", gid=gid)
    try:
        return WorkflowState(
            status=Status(reply.transaction.status),
            rollback_reason=reply.transaction.rollback_reason,
            result=reply.transaction.result,
            progresses=[
                Progress(one.branch_id, one.op, BranchStatus(one.status), one.bin_data)
                for one in reply.progresses
            ],
        )
    except ValueError as error:
        raise DtmError(f"prepareWorkflow of {gid} answered something unexpected: {error}", gid=gid) from error
