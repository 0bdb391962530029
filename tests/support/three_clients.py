"""One client per protocol of the coordinator, all asked in the same words, all telling the outcome alike.

A transaction or branch is the dictionary that HTTP's body is (PROTOCOL §3); each client writes it its way.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from aiohttp import ClientSession
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from coordinator.proto.dtmgimp import (
    DtmBranchRequest,
    DtmRequest,
    DtmStub,
    DtmTopicRequest,
    DtmTransOptions,
)
from tests.support.ports import HOST
from tests.support.under_test import CoordinatorProcess

JSON: Final = "application/json; charset=utf-8"
PROTOCOLS: Final = ("http", "grpc", "json-rpc")
SUCCESS: Final = "success"
FAILURE: Final = "FAILURE"
ONGOING: Final = "ONGOING"
ERROR: Final = "error"

_OPTIONS: Final = ("wait_result", "timeout_to_fail", "retry_interval", "request_timeout", "retry_limit")
_HTTP_KINDS: Final = {409: FAILURE, 425: ONGOING, 400: ERROR, 500: ERROR}
_JSON_RPC_KINDS: Final = {-32901: FAILURE, -32902: ONGOING}
_GRPC_KINDS: Final = {Status.ABORTED: FAILURE, Status.FAILED_PRECONDITION: ONGOING}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the coordinator said. code: of the protocol. value: what a success brought, as HTTP shows it."""

    kind: str
    message: str = ""
    code: int = 0
    value: Mapping[str, Any] = field(default_factory=dict)


class Client(Protocol):
    """name: of the protocol. operations: those that it has (PROTOCOL §3, §4)."""

    name: str
    operations: frozenset[str]

    async def ask(self, operation: str, content: Mapping[str, Any]) -> Outcome:
        """Ask for one operation, by the name that HTTP gives it."""


class HttpClient:
    """POST and GET below /api/dtmsvr."""

    name = "http"
    operations = frozenset(
        (
            *("newGid", "submit", "prepare", "abort", "registerBranch", "prepareWorkflow"),
            *("subscribe", "unsubscribe", "topic", "forceStop", "resetNextCronTime"),
        )
    )
    _gets = frozenset(("newGid", "subscribe", "unsubscribe"))

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, operation: str, content: Mapping[str, Any]) -> Outcome:
        """Query parameters for what is a GET, JSON for the rest."""
        url, params, body = f"{self._url}/{operation}", None, None
        method = "GET" if operation in self._gets else "POST"
        if operation == "topic":
            method, url = "DELETE", f"{url}/{content['topic']}"
        elif method == "GET":
            params = {key: str(value) for key, value in content.items()}
        else:
            body = json.dumps(content).encode()
        async with self._session.request(method, url, params=params, data=body) as answer:
            assert answer.headers["Content-Type"] == JSON
            return http_outcome(answer.status, await answer.json())


def http_outcome(status: int, said: dict[str, Any]) -> Outcome:
    """Read an answer, and check that it has the form of PROTOCOL §2."""
    if status == 200:
        return Outcome(SUCCESS, value={key: it for key, it in said.items() if key != "dtm_result"})
    kind = _HTTP_KINDS[status]
    assert said.get("dtm_result") == (None if kind == ERROR else kind)
    assert said.keys() <= {"dtm_result", "message"}
    return Outcome(kind, said["message"], status)


class JsonRpcClient:
    """POST /api/json-rpc; branches are JSON-RPC too."""

    name = "json-rpc"
    operations = frozenset(("newGid", "submit", "prepare", "abort", "registerBranch"))

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = f"{url}/api/json-rpc"

    async def ask(self, operation: str, content: Mapping[str, Any]) -> Outcome:
        """One request with a string for its id."""
        params = dict(content)
        if operation not in {"newGid", "registerBranch"}:
            params.setdefault("protocol", "json-rpc")
        request = {"jsonrpc": "2.0", "id": "7", "method": operation, "params": params}
        async with self._session.post(self._url, json=request) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (200, JSON)
            said = await answer.json()
        assert said.keys() == {"jsonrpc", "id", "result", "error"}
        assert (said["jsonrpc"], said["id"]) == ("2.0", "7")
        error = said["error"]
        if error is None:
            return Outcome(SUCCESS, value=said["result"] or {})
        assert said["result"] is None
        return Outcome(_JSON_RPC_KINDS.get(error["code"], ERROR), error["message"], error["code"])


class GrpcClient:
    """dtmgimp.Dtm."""

    name = "grpc"
    operations = frozenset(
        (
            *("newGid", "submit", "prepare", "abort", "registerBranch", "prepareWorkflow"),
            *("subscribe", "unsubscribe", "topic"),
        )
    )

    def __init__(self, channel: Channel) -> None:
        self._stub = DtmStub(channel)

    async def ask(self, operation: str, content: Mapping[str, Any]) -> Outcome:
        """One unary call."""
        try:
            return Outcome(SUCCESS, value=await self._call(operation, content))
        except GRPCError as error:
            kind = _GRPC_KINDS.get(error.status, ERROR)
            return Outcome(kind, error.message or "", error.status.value)

    async def _call(self, operation: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
        stub = self._stub
        match operation:
            case "newGid":
                return {"gid": (await stub.new_gid()).gid}
            case "submit":
                await stub.submit(grpc_request(content))
            case "prepare":
                await stub.prepare(grpc_request(content))
            case "abort":
                await stub.abort(grpc_request(content))
            case "registerBranch":
                await stub.register_branch(grpc_branch(content))
            case "prepareWorkflow":
                reply = await stub.prepare_workflow(grpc_request(content))
                assert reply.transaction is not None
                return {
                    "transaction": {"gid": reply.transaction.gid, "status": reply.transaction.status},
                    "progresses": [
                        {"branch_id": it.branch_id, "op": it.op, "status": it.status}
                        for it in reply.progresses
                    ],
                }
            case "subscribe":
                await stub.subscribe(_topic(content))
            case "unsubscribe":
                await stub.unsubscribe(_topic(content))
            case "topic":
                await stub.delete_topic(_topic(content))
            case _:
                raise ValueError(operation)
        return {}


def grpc_request(content: Mapping[str, Any]) -> DtmRequest:
    """The DtmRequest of a transaction object."""
    options = DtmTransOptions(**{name: content[name] for name in _OPTIONS if name in content})
    options.branch_headers = dict(content.get("branch_headers", {}))
    steps = content.get("steps")
    return DtmRequest(
        gid=content.get("gid", ""),
        trans_type=content.get("trans_type", ""),
        trans_options=options,
        customed_data=content.get("custom_data", ""),
        bin_payloads=[payload.encode() for payload in content.get("payloads", ())],
        query_prepared=content.get("query_prepared", ""),
        steps="" if steps is None else json.dumps(steps),
        req_extra=dict(content.get("req_extra", {})),
        rollback_reason=content.get("rollback_reason", ""),
    )


def grpc_branch(content: Mapping[str, Any]) -> DtmBranchRequest:
    """The DtmBranchRequest of a registerBranch's map."""
    rest = dict(content)
    return DtmBranchRequest(
        gid=rest.pop("gid", ""),
        trans_type=rest.pop("trans_type", ""),
        branch_id=rest.pop("branch_id", ""),
        busi_payload=rest.pop("data", "").encode(),
        data=rest,
    )


def _topic(content: Mapping[str, Any]) -> DtmTopicRequest:
    return DtmTopicRequest(
        topic=content["topic"], url=content.get("url", ""), remark=content.get("remark", "")
    )


@asynccontextmanager
async def client_of(protocol: str, coordinator: CoordinatorProcess) -> AsyncIterator[Client]:
    """A client of this protocol; it is closed with the block."""
    if protocol == "grpc":
        channel = Channel(HOST, coordinator.grpc_port)
        try:
            yield GrpcClient(channel)
        finally:
            channel.close()
        return
    async with ClientSession() as session:
        if protocol == "http":
            yield HttpClient(session, coordinator.api_url)
        else:
            yield JsonRpcClient(session, coordinator.http_url)
