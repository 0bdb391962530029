"""A span around each branch call, in the trace that its transaction began under."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from opentelemetry.trace import SpanKind

from coordinator.calls.base import Answer, Caller
from coordinator.calls.url import is_http, parse_grpc_url, parse_http_url
from coordinator.discovery.target import shown
from coordinator.model import PROTOCOL_GRPC, PROTOCOL_JSON_RPC, Branch, Result, Transaction, TransType
from coordinator.results import plain_url
from coordinator.telemetry.recorded_span import Attributes, RecordedSpan, SpanMaker
from coordinator.telemetry.trace_context import NAMES, headers_of, stored_context

_URLS_REMEMBERED_MAX: Final = 4096
_TEXT_MAX: Final = 500  # characters of an answer that are worth showing


@dataclass(frozen=True, slots=True)
class _Kind:
    """What all calls of one url have in common."""

    name: str
    attributes: Mapping[str, str | int]
    is_grpc: bool


class TracedCaller:
    """A Caller that records each call and lets the branch continue the trace."""

    def __init__(self, inner: Caller, spans: SpanMaker) -> None:
        self._inner = inner
        self._spans = spans
        self._kind = lru_cache(_URLS_REMEMBERED_MAX)(_kind)

    def endpoint(self, transaction: Transaction, branch: Branch) -> str:
        """See Caller."""
        return self._inner.endpoint(transaction, branch)

    async def call(self, transaction: Transaction, branch: Branch, *, timeout: float) -> Answer:
        """See Caller."""
        if not branch.url:
            return await self._inner.call(transaction, branch, timeout=timeout)
        kind = self._kind(plain_url(branch.url), transaction.protocol, _method(transaction, branch))
        attributes: Attributes = {
            **kind.attributes,
            "dtm.gid": transaction.gid,
            "dtm.trans_type": transaction.trans_type,
            "dtm.branch_id": branch.branch_id,
            "dtm.op": branch.op,
        }
        parent = stored_context(transaction.ext_data)  # invalid where unknown: a trace of its own
        span = self._spans.start(kind.name, SpanKind.CLIENT, parent, attributes)
        with_trace = _with_headers(transaction, headers_of(span.context))
        try:
            answer = await self._inner.call(with_trace, branch, timeout=timeout)
            _end(span, answer, is_grpc=kind.is_grpc)
            return answer
        finally:
            span.end()

    async def close(self) -> None:
        """See Caller."""
        await self._inner.close()


def _with_headers(transaction: Transaction, headers: Mapping[str, str]) -> Transaction:
    given = transaction.options.branch_headers
    if given:
        kept = {name: value for name, value in given.items() if name.lower() not in NAMES}
        headers = {**kept, **headers}
    return replace(transaction, options=replace(transaction.options, branch_headers=headers))


def _method(transaction: Transaction, branch: Branch) -> str:
    if branch.payload or transaction.trans_type == TransType.XA or transaction.protocol == PROTOCOL_JSON_RPC:
        return "POST"
    return "GET"


def _kind(url: str, protocol: str, method: str) -> _Kind:
    try:
        if protocol == PROTOCOL_GRPC and not is_http(url):
            grpc = parse_grpc_url(url)
            service, _, name = grpc.path[1:].partition("/")
            attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
            return _Kind(grpc.path[1:], {**attributes, **_server(shown(grpc.target))}, is_grpc=True)
        parsed = parse_http_url(url).url
    except ValueError:  # the call itself says what is wrong with it
        return _Kind(method, {"url.full": "?"}, is_grpc=False)
    # No query and no login: both may hold secrets.
    return _Kind(
        method,
        {
            "http.request.method": method,
            "url.full": str(parsed.with_user(None).with_query(None)),
            "server.address": parsed.host or "",
            "server.port": parsed.port or 0,
        },
        is_grpc=False,
    )


def _server(target: str) -> dict[str, str | int]:
    host, colon, port = target.rpartition(":")
    if "://" in target or not colon or not port.isdigit():
        return {"server.address": target}
    return {"server.address": host, "server.port": int(port)}


def _end(span: RecordedSpan, answer: Answer, *, is_grpc: bool) -> None:
    result, attributes = answer.result, span.attributes
    attributes["dtm.result"] = result.value
    if is_grpc:
        if answer.grpc_status is not None:
            attributes["rpc.grpc.status_code"] = answer.grpc_status
    elif result is Result.SUCCESS:
        attributes["http.response.status_code"] = 200
    elif answer.http_status is not None:
        attributes["http.response.status_code"] = answer.http_status
    if result is Result.FAILURE or result is Result.UNKNOWN:
        attributes["error.type"] = result.value
        span.failed(answer.text[:_TEXT_MAX])
