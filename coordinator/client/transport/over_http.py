"""The coordinator over HTTP (PROTOCOL §3)."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from aiohttp import hdrs

from coordinator.client.errors import DtmError
from coordinator.client.transport.answers import Result, message_of, raise_for_answer
from coordinator.client.transport.base import (
    ONLY_FORWARD,
    BranchRegistration,
    ConnectionProblem,
    Operation,
    Progress,
    TopicOperation,
    WorkflowState,
)
from coordinator.client.transport.tracing import trace_headers
from coordinator.model import PROTOCOL_HTTP, BranchStatus, Options, Status, TransactionRequest, TransType

_RESULTS = {200: Result.SUCCESS, 409: Result.FAILURE, 425: Result.ONGOING}
# A proxy in between; 503 is the coordinator's own as well, which is full or stopping (PROTOCOL §2).
_WORTH_ANOTHER_ATTEMPT = (502, 503, 504)


class HttpTransport:
    """One aiohttp session. base_url: scheme, host and port, no trailing slash. login: header for a proxy."""

    protocol = PROTOCOL_HTTP

    def __init__(self, base_url: str, login: str = "") -> None:
        self._base_url = base_url
        self._session = aiohttp.ClientSession(
            headers={hdrs.AUTHORIZATION: login} if login else None,
            # As many connections as calls: one that waited for another's would do so in its own time-out.
            connector=aiohttp.TCPConnector(limit=0),
            # The time-out of each call is its own; aiohttp's five minutes for all would only hide it.
            timeout=aiohttp.ClientTimeout(total=None),
        )

    @property
    def address(self) -> str:
        """See Transport."""
        return f"{self._base_url}/api/dtmsvr"

    async def operate(self, operation: Operation, request: TransactionRequest, timeout: float) -> None:
        """See Transport."""
        body = orjson.dumps(_transaction_body(request))
        status, answer = await self._exchange("POST", operation, timeout, body=body)
        only_forward = operation is Operation.SUBMIT and request.trans_type in ONLY_FORWARD
        _raise_for(status, answer, request.gid, only_forward=only_forward)

    async def register_branch(self, registration: BranchRegistration, timeout: float) -> None:
        """See Transport."""
        body = {
            "gid": registration.gid,
            "trans_type": registration.trans_type,
            "branch_id": registration.branch_id,
            "data": registration.payload.decode(),
            **registration.data,
        }
        status, answer = await self._exchange("POST", "registerBranch", timeout, body=orjson.dumps(body))
        _raise_for(status, answer, registration.gid)

    async def prepare_workflow(self, request: TransactionRequest, timeout: float) -> WorkflowState:
        """See Transport."""
        body = orjson.dumps(_transaction_body(request))
        status, answer = await self._exchange("POST", "prepareWorkflow", timeout, body=body)
        _raise_for(status, answer, request.gid)
        return _workflow_state(_json_object(answer), request.gid)

    async def change_topic(
        self, operation: TopicOperation, topic: str, url: str, remark: str, timeout: float
    ) -> None:
        """See Transport."""
        if operation is TopicOperation.DELETE:
            status, answer = await self._exchange("DELETE", f"topic/{quote(topic, safe='')}", timeout)
        else:
            params = {"topic": topic, "url": url, **({"remark": remark} if remark else {})}
            status, answer = await self._exchange("GET", operation, timeout, params=params)
        _raise_for(status, answer, "")

    async def new_gid(self, timeout: float) -> str:
        """See Transport."""
        status, answer = await self._exchange("GET", "newGid", timeout)
        _raise_for(status, answer, "")
        gid = _json_object(answer).get("gid")
        if not isinstance(gid, str) or not gid:
            raise DtmError(
                f"{self._base_url} answered newGid without a gid: is it a DTM coordinator?", answer=answer
            )
        return gid

    async def query(self, gid: str, timeout: float) -> Mapping[str, Any]:
        """See Transport."""
        status, answer = await self._exchange("GET", "query", timeout, params={"gid": gid})
        _raise_for(status, answer, gid)
        return _json_object(answer)

    async def close(self) -> None:
        """See Transport."""
        await self._session.close()

    async def _exchange(
        self,
        method: str,
        name: str,
        timeout: float,
        *,
        body: bytes | None = None,
        params: dict[str, str] | None = None,
    ) -> tuple[int, str]:
        """Return status and body; ConnectionProblem where there is none."""
        url = f"{self._base_url}/api/dtmsvr/{name}"
        try:
            async with self._session.request(
                method,
                url,
                data=body,
                params=params,
                headers={"Content-Type": "application/json", **trace_headers()},
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as response:
                status, answer = response.status, (await response.read()).decode(errors="replace")
        except aiohttp.ClientConnectorError as error:
            reason = error.os_error.strerror or error.os_error
            raise ConnectionProblem(f"cannot connect to {self._base_url}: {reason}", sent=False) from error
        except TimeoutError as error:
            raise ConnectionProblem(
                f"{self._base_url} did not answer within {timeout:.1f} s", sent=True
            ) from error
        except aiohttp.ClientError as error:
            raise ConnectionProblem(
                f"the connection to {self._base_url} broke: {error}", sent=True
            ) from error
        if status in _WORTH_ANOTHER_ATTEMPT:
            raise ConnectionProblem(f"{url} answered {status}: {_reason(answer)}", sent=True)
        return status, answer


def _raise_for(status: int, answer: str, gid: str, *, only_forward: bool = False) -> None:
    result = _RESULTS.get(status, Result.ERROR)
    text = message_of(answer) if result is not Result.ERROR else f"HTTP {status} {message_of(answer)}"
    raise_for_answer(result, text, gid, only_forward=only_forward)


def _reason(answer: str) -> str:
    """What an answer that is no result says; a proxy's page is cut."""
    return message_of(answer)[:200] or "nothing more"


def _json_object(answer: str) -> dict[str, Any]:
    try:
        decoded = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise DtmError(f"the coordinator answered no JSON: {answer[:200]!r}", answer=answer) from error
    if not isinstance(decoded, dict):
        raise DtmError(f"the coordinator answered no JSON object: {answer[:200]!r}", answer=answer)
    return decoded


def _workflow_state(answer: Mapping[str, Any], gid: str) -> WorkflowState:
    try:
        row = answer["transaction"]
        return WorkflowState(
            status=Status(row["status"]),
            rollback_reason=row.get("rollback_reason", ""),
            result=row.get("result", ""),
            progresses=[
                Progress(
                    branch_id=progress["branch_id"],
                    op=progress["op"],
                    status=BranchStatus(progress["status"]),
                    data=base64.b64decode(progress.get("bin_data") or ""),
                )
                for progress in answer.get("progresses") or ()
            ],
        )
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise DtmError(
            f"prepareWorkflow of {gid} answered something unexpected: {error!r}", gid=gid, answer=str(answer)
        ) from error


def _transaction_body(request: TransactionRequest) -> dict[str, Any]:
    """The transaction object of §3; what is not given is left out: the coordinator's defaults count."""
    body: dict[str, Any] = {
        "gid": request.gid,
        "trans_type": request.trans_type,
        "protocol": request.protocol,
    }
    if request.trans_type in (TransType.SAGA, TransType.MSG):
        body["steps"] = [{"action": step.action, "compensate": step.compensate} for step in request.steps]
        body["payloads"] = [payload.decode() for payload in request.payloads]
    if request.trans_type == TransType.MSG:
        for step in body["steps"]:
            del step["compensate"]
    given = {
        "custom_data": request.custom_data,
        "query_prepared": request.query_prepared,
        "rollback_reason": request.rollback_reason,
        "req_extra": dict(request.req_extra),
    }
    body.update({name: value for name, value in given.items() if value})
    body.update(_given_options(request.options))
    return body


def _given_options(options: Options) -> dict[str, Any]:
    given = {
        "wait_result": options.wait_result,
        "timeout_to_fail": options.timeout_to_fail,
        "request_timeout": options.request_timeout,
        "retry_interval": options.retry_interval,
        "retry_limit": options.retry_limit,
        "concurrent": options.concurrent,
        "branch_headers": dict(options.branch_headers),
    }
    return {name: value for name, value in given.items() if value}
