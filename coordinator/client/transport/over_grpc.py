"""The coordinator over gRPC (PROTOCOL §4)."""

import asyncio
from collections.abc import Mapping, Sequence
from ssl import SSLContext
from typing import Any, Final, TypeVar

from betterproto2 import Message
from grpclib.client import Channel
from grpclib.const import Cardinality
from grpclib.const import Status as GrpcStatus
from grpclib.events import SendRequest, listen
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from coordinator.client.errors import InvalidUse
from coordinator.client.transport.answers import Result, raise_for_answer, raise_unless_known
from coordinator.client.transport.base import (
    DEFAULT_HTTP_PORT,
    ONLY_FORWARD,
    BranchRegistration,
    ConnectionProblem,
    ListFilter,
    Operation,
    TopicOperation,
    WorkflowState,
    bearer,
    own_features,
    own_features_of_branch,
)
from coordinator.client.transport.grpc_messages import as_row, dtm_request, workflow_state
from coordinator.client.transport.said import BRANCH_HEADER, said_in_header
from coordinator.client.transport.step_results import Results, listed_results
from coordinator.client.transport.tracing import send_trace
from coordinator.model import PROTOCOL_GRPC, TransactionRequest
from coordinator.proto import dtmcoordinator, dtmgimp
from coordinator.proto.google.protobuf import Empty

_R = TypeVar("_R", bound=Message)
_DTM: Final = "/dtmgimp.Dtm/"
_OPERATOR: Final = "/dtmcoordinator.Operator/"
_OPERATIONS: Final = {
    Operation.SUBMIT: f"{_DTM}Submit",
    Operation.PREPARE: f"{_DTM}Prepare",
    Operation.ABORT: f"{_DTM}Abort",
}
_TOPICS: Final = {
    TopicOperation.SUBSCRIBE: f"{_DTM}Subscribe",
    TopicOperation.UNSUBSCRIBE: f"{_DTM}Unsubscribe",
    TopicOperation.DELETE: f"{_DTM}DeleteTopic",
}
_RESULTS: Final = {GrpcStatus.ABORTED: Result.FAILURE, GrpcStatus.FAILED_PRECONDITION: Result.ONGOING}
# Full is RESOURCE_EXHAUSTED, stopping UNAVAILABLE (PROTOCOL §2).
_WORTH_ANOTHER_ATTEMPT: Final = (
    GrpcStatus.UNAVAILABLE,
    GrpcStatus.DEADLINE_EXCEEDED,
    GrpcStatus.RESOURCE_EXHAUSTED,
)
# What does not fit has the status of "full" as well; nobody refuses a shorter message for its length.
_LONG_BYTES: Final = 1024 * 1024


class GrpcTransport:
    """One HTTP/2 channel, opened with the first call and again after it broke. tls: None: a plain one."""

    protocol = PROTOCOL_GRPC

    def __init__(self, host: str, port: int, token: str = "", tls: SSLContext | None = None) -> None:
        self._address = f"{host}:{port}"
        self._features: frozenset[str] = frozenset()  # found so far
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        self._channel = Channel(host, port, ssl=tls)
        send_trace(self._channel)
        if token:
            _send_token(self._channel, token)

    @property
    def address(self) -> str:
        """See Transport."""
        return self._address

    async def operate(self, operation: Operation, request: TransactionRequest, timeout: float) -> Results:
        """See Transport."""
        if asked := own_features(request):
            await self._require(asked, timeout, request.gid)
        message = dtm_request(request)
        only_forward = operation is Operation.SUBMIT and request.trans_type in ONLY_FORWARD
        reply = await self._call(
            *(_OPERATIONS[operation], message, dtmgimp.DtmSubmitReply, timeout, request.gid),
            only_forward=only_forward,
        )
        return reply.results

    async def kept_results(self, gid: str, timeout: float) -> Results:
        """See Transport."""
        path, message = "/dtmcoordinator.Operate/Show", dtmcoordinator.GidRequest(gid=gid)
        reply = await self._call(path, message, dtmcoordinator.ShowReply, timeout, gid)
        rows = [{"branch_id": it.branch_id, "text": it.text, "base64": it.base64} for it in reply.results]
        return listed_results(rows)

    async def register_branch(self, registration: BranchRegistration, timeout: float) -> None:
        """See Transport."""
        if asked := own_features_of_branch(registration):
            await self._require(asked, timeout, registration.gid)
        message = dtmgimp.DtmBranchRequest(
            gid=registration.gid,
            trans_type=registration.trans_type,
            branch_id=registration.branch_id,
            op=registration.data.get("op", ""),
            data=dict(registration.data),
            busi_payload=registration.payload,
        )
        await self._call(f"{_DTM}RegisterBranch", message, Empty, timeout, registration.gid)

    async def prepare_workflow(self, request: TransactionRequest, timeout: float) -> WorkflowState:
        """See Transport."""
        message, reply_type = dtm_request(request), dtmgimp.DtmProgressesReply
        reply = await self._call(f"{_DTM}PrepareWorkflow", message, reply_type, timeout, request.gid)
        return workflow_state(reply, request.gid)

    async def change_topic(
        self, operation: TopicOperation, topic: str, url: str, remark: str, timeout: float
    ) -> None:
        """See Transport."""
        message = dtmgimp.DtmTopicRequest(topic=topic, url=url, remark=remark)
        await self._call(_TOPICS[operation], message, Empty, timeout, "")

    async def new_gid(self, timeout: float) -> str:
        """See Transport."""
        return (await self._call(f"{_DTM}NewGid", Empty(), dtmgimp.DtmGidReply, timeout, "")).gid

    async def query(self, gid: str, timeout: float) -> Mapping[str, Any]:
        """See Transport. Raises InvalidUse where the server has no such call, as one in Go."""
        message, reply_type = dtmcoordinator.GidRequest(gid=gid), dtmcoordinator.QueryReply
        reply = await self._call(f"{_OPERATOR}Query", message, reply_type, timeout, gid)
        found = reply.transaction
        return {
            "transaction": None if found is None else as_row(found),
            "branches": [as_row(branch) for branch in reply.branches],
        }

    async def list(self, wanted: ListFilter, timeout: float) -> Mapping[str, Any]:
        """See Transport. Raises InvalidUse as `query` does."""
        message = dtmcoordinator.ListRequest(
            status=wanted.status,
            trans_type=wanted.trans_type,
            create_time_start=wanted.create_time_start,
            create_time_end=wanted.create_time_end,
            limit=wanted.limit,
            position=wanted.position,
        )
        reply = await self._call(f"{_OPERATOR}List", message, dtmcoordinator.ListReply, timeout, "")
        return {
            "transactions": [as_row(one) for one in reply.transactions],
            "next_position": reply.next_position,
        }

    async def stop(self, gid: str, timeout: float) -> None:
        """See Transport. Raises InvalidUse as `query` does."""
        await self._call(f"{_OPERATOR}Stop", dtmcoordinator.GidRequest(gid=gid), Empty, timeout, gid)

    async def retry(self, gid: str, timeout: float) -> None:
        """See Transport. Raises InvalidUse as `query` does."""
        await self._call(f"{_OPERATOR}Retry", dtmcoordinator.GidRequest(gid=gid), Empty, timeout, gid)

    async def close(self) -> None:
        """See Transport."""
        self._channel.close()

    async def _call(
        self,
        path: str,
        message: Message,
        reply_type: type[_R],
        timeout: float,
        gid: str,
        *,
        only_forward: bool = False,
    ) -> _R:
        sent = False
        told: Any = ""
        try:
            # Not grpclib's own time-out: that would travel as a deadline and cancel the work at the
            # coordinator.
            async with asyncio.timeout(timeout):
                # Connecting by itself first tells "nothing was sent" from "who knows".
                await self._channel.__connect__()
                sent = True
                kinds = type(message), reply_type
                async with self._channel.request(path, Cardinality.UNARY_UNARY, *kinds) as stream:
                    try:
                        await stream.send_message(message, end=True)
                        reply = await stream.recv_message()
                    except GRPCError:
                        metadata: Any = stream.trailing_metadata or {}
                        told = metadata.get(BRANCH_HEADER, "")
                        raise
            if reply is None:
                raise ProtocolError("an answer without a message")
            return reply
        except GRPCError as error:
            self._raise_for(error, str(told), path, message, gid, only_forward=only_forward)
            raise AssertionError("_raise_for returns only for success") from error
        except TimeoutError as error:
            raise ConnectionProblem(
                f"{self._address} did not answer within {timeout:.1f} s", sent=sent
            ) from error
        except (StreamTerminatedError, ProtocolError, OSError) as error:
            what = (
                f"the connection to {self._address} broke" if sent else f"cannot connect to {self._address}"
            )
            raise ConnectionProblem(f"{what}: {error}", sent=sent) from error

    def _raise_for(
        self, error: GRPCError, told: str, path: str, message: Message, gid: str, *, only_forward: bool
    ) -> None:
        text, said = error.message or "", said_in_header(told)
        if said is None and error.status in _WORTH_ANOTHER_ATTEMPT and not _does_not_fit(error, message):
            raise ConnectionProblem(
                f"{self._address} answered {error.status.name}: {text}", sent=True, answered=True
            ) from error
        if path.startswith(_OPERATOR) and _is_not_there(error):
            raise InvalidUse(
                f"{path.rpartition('/')[2].lower()} needs HTTP: the coordinator at {self._address} has no "
                f"such call over gRPC; write Dtm('http://host:{DEFAULT_HTTP_PORT}')",
                gid=gid,
            ) from error
        result = _RESULTS.get(error.status, Result.ERROR)
        if result is Result.ERROR:
            text = f"{error.status.name} {text}"
        raise_for_answer(result, text, gid, only_forward=only_forward, told=said)

    async def _require(self, asked: Sequence[str], timeout: float, gid: str) -> None:
        """Raise InvalidUse unless this server knows what is asked beyond the protocol."""
        if not self._features.issuperset(asked):
            path, reply_type = f"{_OPERATOR}Describe", dtmcoordinator.Description
            try:
                self._features = frozenset(
                    (await self._call(path, Empty(), reply_type, timeout, gid)).features
                )
            except InvalidUse:
                self._features = frozenset()
        raise_unless_known(asked, self._features, self._address, gid)


def _send_token(channel: Channel, token: str) -> None:
    async def add(event: SendRequest) -> None:
        event.metadata["authorization"] = bearer(token)

    listen(channel, SendRequest, add)


def _is_not_there(error: GRPCError) -> bool:
    # Servers on grpclib leave the content type out where they have no such method, which hides the status.
    return error.status is GrpcStatus.UNIMPLEMENTED or error.message == "Missing content-type header"


def _does_not_fit(error: GRPCError, message: Message) -> bool:
    return error.status is GrpcStatus.RESOURCE_EXHAUSTED and len(bytes(message)) > _LONG_BYTES
