"""The coordinator over HTTP (PROTOCOL §3)."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from ssl import SSLContext
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp
import orjson
from aiohttp import hdrs

from coordinator.client.errors import DtmError
from coordinator.client.transport.answers import Result, message_of, raise_for_answer, raise_unless_known
from coordinator.client.transport.base import (
    ONLY_FORWARD,
    BranchRegistration,
    ConnectionProblem,
    ListFilter,
    Operation,
    Progress,
    TopicOperation,
    WorkflowState,
    own_features,
    own_features_of_branch,
    step_fields,
)
from coordinator.client.transport.said import BRANCH_HEADER, said_in_header
from coordinator.client.transport.step_results import Results, listed_results, results_in
from coordinator.client.transport.tracing import trace_headers
from coordinator.model import PROTOCOL_HTTP, BranchStatus, Options, Status, TransactionRequest, TransType

_OK, _NOT_THERE = 200, 404
_RESULTS = {_OK: Result.SUCCESS, 409: Result.FAILURE, 425: Result.ONGOING}
# A proxy in between; 503 is the coordinator's own as well, which is full or stopping (PROTOCOL §2).
_WORTH_ANOTHER_ATTEMPT = (502, 503, 504)


class HttpTransport:
    """One aiohttp session. base_url: scheme, host and port, no trailing slash. login: Authorization.

    tls: what https is spoken with; None: what the system trusts.
    """

    protocol = PROTOCOL_HTTP

    def __init__(self, base_url: str, login: str = "", tls: SSLContext | None = None) -> None:
        self._base_url = base_url
        self._features: frozenset[str] = frozenset()  # found so far
        self._session = aiohttp.ClientSession(
            headers={hdrs.AUTHORIZATION: login} if login else None,
            # As many connections as calls: one that waited for another's would do so in its own time-out.
            connector=aiohttp.TCPConnector(limit=0)
            if tls is None
            else aiohttp.TCPConnector(limit=0, ssl=tls),
            # The time-out of each call is its own; aiohttp's five minutes for all would only hide it.
            timeout=aiohttp.ClientTimeout(total=None),
        )

    @property
    def address(self) -> str:
        """See Transport."""
        return f"{self._base_url}/api/dtmsvr"

    async def operate(self, operation: Operation, request: TransactionRequest, timeout: float) -> Results:
        """See Transport."""
        body = orjson.dumps(_transaction_body(request))
        only_forward = operation is Operation.SUBMIT and request.trans_type in ONLY_FORWARD
        if asked := own_features(request):
            await self._require(asked, timeout, request.gid)
        came = await self._exchange("POST", operation, timeout, body=body)
        _raise_for(came, request.gid, only_forward=only_forward)
        # Other servers may answer anything, as long as it is 200.
        return results_in(_json_object(came.text)) if "step_results" in asked else {}

    async def kept_results(self, gid: str, timeout: float) -> Results:
        """See Transport."""
        came = await self._exchange("GET", "query", timeout, params={"gid": gid, "detail": "1"})
        _raise_for(came, gid)
        return listed_results(_json_object(came.text).get("results") or ())

    async def register_branch(self, registration: BranchRegistration, timeout: float) -> None:
        """See Transport."""
        if asked := own_features_of_branch(registration):
            await self._require(asked, timeout, registration.gid)
        body = {
            "gid": registration.gid,
            "trans_type": registration.trans_type,
            "branch_id": registration.branch_id,
            "data": registration.payload.decode(),
            **registration.data,
        }
        came = await self._exchange("POST", "registerBranch", timeout, body=orjson.dumps(body))
        _raise_for(came, registration.gid)

    async def prepare_workflow(self, request: TransactionRequest, timeout: float) -> WorkflowState:
        """See Transport."""
        body = orjson.dumps(_transaction_body(request))
        came = await self._exchange("POST", "prepareWorkflow", timeout, body=body)
        _raise_for(came, request.gid)
        return _workflow_state(_json_object(came.text), request.gid)

    async def change_topic(
        self, operation: TopicOperation, topic: str, url: str, remark: str, timeout: float
    ) -> None:
        """See Transport."""
        if operation is TopicOperation.DELETE:
            came = await self._exchange("DELETE", f"topic/{quote(topic, safe='')}", timeout)
        else:
            params = {"topic": topic, "url": url, **({"remark": remark} if remark else {})}
            came = await self._exchange("GET", operation, timeout, params=params)
        _raise_for(came, "")

    async def new_gid(self, timeout: float) -> str:
        """See Transport."""
        came = await self._exchange("GET", "newGid", timeout)
        _raise_for(came, "")
        gid = _json_object(came.text).get("gid")
        if not isinstance(gid, str) or not gid:
            raise DtmError(
                f"{self._base_url} answered newGid without a gid: is it a DTM coordinator?", answer=came.text
            )
        return gid

    async def query(self, gid: str, timeout: float) -> Mapping[str, Any]:
        """See Transport."""
        came = await self._exchange("GET", "query", timeout, params={"gid": gid})
        _raise_for(came, gid)
        return _json_object(came.text)

    async def list(self, wanted: ListFilter, timeout: float) -> Mapping[str, Any]:
        """See Transport."""
        came = await self._exchange("GET", "all", timeout, params=wanted.parameters())
        _raise_for(came, "")
        return _json_object(came.text)

    async def stop(self, gid: str, timeout: float) -> None:
        """See Transport."""
        _raise_for(await self._exchange("POST", "forceStop", timeout, body=orjson.dumps({"gid": gid})), gid)

    async def retry(self, gid: str, timeout: float) -> None:
        """See Transport."""
        body = orjson.dumps({"gid": gid})
        _raise_for(await self._exchange("POST", "resetNextCronTime", timeout, body=body), gid)

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
    ) -> "_Came":
        """Return what came; ConnectionProblem where nothing did."""
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
                told = response.headers.get(BRANCH_HEADER, "") if status != _OK else ""
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
        return _Came(status, answer, told)

    async def _require(self, asked: Sequence[str], timeout: float, gid: str) -> None:
        """Raise InvalidUse unless this server knows what is asked beyond the protocol."""
        if not self._features.issuperset(asked):
            came = await self._exchange("GET", "version", timeout)
            if came.status != _NOT_THERE:
                _raise_for(came, gid)
                self._features = frozenset(_json_object(came.text).get("features") or ())
        raise_unless_known(asked, self._features, self._base_url, gid)


class _Came(NamedTuple):
    """What came of one request. told: which branch's answer it comes from, of an error."""

    status: int
    text: str
    told: str


def _raise_for(came: _Came, gid: str, *, only_forward: bool = False) -> None:
    if came.status == _OK:
        return
    result = _RESULTS.get(came.status, Result.ERROR)
    text = message_of(came.text)
    if result is Result.ERROR:
        text = f"HTTP {came.status} {text}"
    raise_for_answer(result, text, gid, only_forward=only_forward, told=said_in_header(came.told))


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
                    name=progress.get("url") or "",
                )
                for progress in answer.get("progresses") or ()
            ],
            branch_headers=orjson.loads(row.get("options") or "{}").get("branch_headers") or {},
            custom_data=row.get("custom_data") or "",
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
        body["steps"] = [step_fields(step, request.trans_type) for step in request.steps]
        body["payloads"] = [payload.decode() for payload in request.payloads]
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
        "failure_statuses": options.failure_statuses,
    }
    return {name: value for name, value in given.items() if value}
