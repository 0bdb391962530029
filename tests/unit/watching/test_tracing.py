"""One trace per transaction: the request, and every branch call, over all protocols; and nothing when off."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from grpclib.const import Status as GrpcStatus
from grpclib.exceptions import GRPCError
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind

from coordinator.calls.base import SUCCESS, Answer
from coordinator.errors import Failure, Invalid, StoreUnavailable
from coordinator.model import Branch, Options, Result, Status, Transaction
from coordinator.telemetry.recorded_span import SpanMaker
from coordinator.watching.span_tracing import SpanTracing
from coordinator.watching.tracing import OFF

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Request:
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Response:
    status: int = 200


class Recorded:
    """A caller that answers as told and keeps what it was called with."""

    def __init__(self, answer: Answer = SUCCESS) -> None:
        self.answer = answer
        self.transactions: list[Transaction] = []

    def endpoint(self, transaction: Transaction, branch: Branch) -> str:
        return branch.url

    async def call(self, transaction: Transaction, branch: Branch, *, timeout: float) -> Answer:
        self.transactions.append(transaction)
        return self.answer

    async def close(self) -> None: ...


class Traces:
    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        processor = SimpleSpanProcessor(self._exporter)
        self.maker = SpanMaker(ParentBased(ALWAYS_ON), Resource({}), processor, "test")
        self.tracing = SpanTracing(self.maker)

    def only(self) -> ReadableSpan:
        [span] = self._exporter.get_finished_spans()
        self._exporter.clear()
        return span


@pytest.fixture
def traces() -> Iterator[Traces]:
    yield Traces()


def saga(url: str = "http://bank:8000/out?token=s3cr3t", **more: Any) -> tuple[Transaction, Branch]:
    transaction = Transaction("g1", "saga", Status.SUBMITTED, **more)
    return transaction, Branch("g1", "01", "action", url, b"{}")


async def call(
    traces: Traces, transaction: Transaction, branch: Branch, answer: Answer = SUCCESS
) -> Recorded:
    inner = Recorded(answer)
    await traces.tracing.caller(inner).call(transaction, branch, timeout=1)
    return inner


async def test_a_request_continues_the_trace_of_its_client(traces: Traces) -> None:
    async def handler(request: Request) -> Response:
        traces.tracing.about("g1", "saga")
        stored.append(traces.tracing.ext_data())
        return Response()

    stored: list[str] = []
    handle = traces.tracing.http("POST", "/api/dtmsvr/submit", handler)
    await handle(Request(headers={"traceparent": TRACEPARENT}))
    span = traces.only()
    assert (span.name, span.kind) == ("POST /api/dtmsvr/submit", SpanKind.SERVER)
    assert f"{span.context.trace_id:032x}" in TRACEPARENT
    assert span.parent is not None and f"{span.parent.span_id:016x}" in TRACEPARENT
    assert f"{span.context.span_id:016x}" in stored[0]
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/api/dtmsvr/submit",
        "url.path": "/api/dtmsvr/submit",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "dtm.gid": "g1",
        "dtm.trans_type": "saga",
    }


async def test_the_next_request_of_a_connection_has_a_trace_of_its_own(traces: Traces) -> None:
    """One task answers all of a connection."""

    async def handler(request: Request) -> Response:
        if request.headers:
            raise Invalid("it is bad")
        return Response()

    handle = traces.tracing.http("POST", "/api/dtmsvr/submit", handler)
    with pytest.raises(Invalid):
        await handle(Request(headers={"traceparent": TRACEPARENT}))
    assert f"{traces.only().context.trace_id:032x}" in TRACEPARENT
    assert traces.tracing.ext_data() == ""
    await handle(Request())
    span = traces.only()
    assert span.parent is None
    assert f"{span.context.trace_id:032x}" not in TRACEPARENT


@pytest.mark.parametrize(
    ("error", "status", "is_error"),
    [(Failure("no"), 409, False), (StoreUnavailable("away"), 500, True), (RuntimeError(), 500, True)],
)
async def test_an_error_says_its_status(
    traces: Traces, error: Exception, status: int, is_error: bool
) -> None:
    async def handler(request: Request) -> Response:
        raise error

    with pytest.raises(type(error)):
        await traces.tracing.http("POST", "/x", handler)(Request())
    span = traces.only()
    assert (span.attributes or {})["http.response.status_code"] == status
    assert span.status.is_ok is not is_error


@pytest.mark.parametrize("status", [GrpcStatus.ABORTED, GrpcStatus.INTERNAL])
async def test_a_grpc_call_says_its_status(traces: Traces, status: GrpcStatus) -> None:
    async def handler(stream: Request) -> None:
        raise GRPCError(status, "because")

    with pytest.raises(GRPCError):
        await traces.tracing.grpc("/dtmgimp.Dtm/Submit", handler)(
            Request(metadata={"traceparent": TRACEPARENT})
        )
    span = traces.only()
    assert span.name == "dtmgimp.Dtm/Submit"
    assert span.parent is not None
    assert span.attributes == {
        "rpc.system": "grpc",
        "rpc.service": "dtmgimp.Dtm",
        "rpc.method": "Submit",
        "rpc.grpc.status_code": status.value,
    }
    assert span.status.is_ok is (status is GrpcStatus.ABORTED)


async def test_a_branch_call_belongs_to_the_request_that_brought_its_transaction(traces: Traces) -> None:
    inner = await call(traces, *saga(ext_data=f'{{"traceparent":"{TRACEPARENT}"}}'))
    span = traces.only()
    assert (span.name, span.kind) == ("POST", SpanKind.CLIENT)
    assert span.parent is not None and f"{span.parent.span_id:016x}" in TRACEPARENT
    sent = inner.transactions[0].options.branch_headers
    assert sent == {"traceparent": f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"}
    assert span.attributes == {
        "http.request.method": "POST",
        "url.full": "http://bank:8000/out",
        "server.address": "bank",
        "server.port": 8000,
        "http.response.status_code": 200,
        "dtm.gid": "g1",
        "dtm.trans_type": "saga",
        "dtm.branch_id": "01",
        "dtm.op": "action",
        "dtm.result": "success",
    }


async def test_headers_of_the_client_go_along_and_its_traceparent_does_not(traces: Traces) -> None:
    options = Options(branch_headers={"X-User": "7", "TraceParent": "old"})
    inner = await call(traces, *saga(options=options))
    sent = inner.transactions[0].options.branch_headers
    assert set(sent) == {"X-User", "traceparent"}
    traces.only()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("h:8080/user.User/saveUser", {"server.address": "h", "server.port": 8080}),
        ("etcd://h:2379/user.rpc/user.User/saveUser", {"server.address": "etcd://h:2379/user.rpc"}),
    ],
)
async def test_a_grpc_branch(traces: Traces, url: str, address: Mapping[str, Any]) -> None:
    await call(traces, *saga(url, protocol="grpc"), Answer(Result.SUCCESS, grpc_status=0))
    span = traces.only()
    attributes = dict(span.attributes or {})
    assert span.name == "user.User/saveUser"
    assert attributes["rpc.service"] == "user.User" and attributes["rpc.method"] == "saveUser"
    assert attributes["rpc.grpc.status_code"] == 0
    for key, value in address.items():
        assert attributes[key] == value


@pytest.mark.parametrize(
    ("answer", "is_error", "status"),
    [
        (Answer(Result.FAILURE, "no money", http_status=409), True, 409),
        (Answer(Result.UNKNOWN, "gave no answer within 3 s"), True, None),
        (Answer(Result.ONGOING, "", http_status=425), False, 425),
    ],
)
async def test_what_a_branch_answered(
    traces: Traces, answer: Answer, is_error: bool, status: int | None
) -> None:
    await call(traces, *saga(), answer)
    span = traces.only()
    attributes = span.attributes or {}
    assert attributes["dtm.result"] == answer.result.value
    assert attributes.get("http.response.status_code") == status
    assert span.status.is_ok is not is_error
    assert (span.status.description or "") == (answer.text if is_error else "")


async def test_an_empty_url_is_no_call_and_no_span(traces: Traces) -> None:
    await call(traces, *saga(""))
    await call(traces, *saga("no url at all"), Answer(Result.UNKNOWN, "the url has no host"))
    assert traces.only().status.description == "the url has no host"


async def test_off_hands_back_what_it_is_given() -> None:
    async def handler(request: Any) -> Response:
        return Response()

    caller = Recorded()
    assert OFF.http("POST", "/x", handler) is handler
    assert OFF.grpc("/a/B", handler) is handler
    assert OFF.caller(caller) is caller
    assert OFF.ext_data() == ""
    OFF.about("g1", "saga")


@pytest.mark.parametrize(("parent", "flags"), [("03", 3), ("01", 1), ("02", 2), ("00", 0)])
async def test_a_span_keeps_the_flags_of_its_trace(traces: Traces, parent: str, flags: int) -> None:
    ext_data = f'{{"traceparent":"{TRACEPARENT[:-2]}{parent}"}}'
    inner = await call(traces, *saga(ext_data=ext_data))
    assert inner.transactions[0].options.branch_headers["traceparent"].endswith(f"-{flags:02x}")
    if flags & 1:
        traces.only()
    else:
        with pytest.raises(ValueError, match="not enough values"):
            traces.only()  # not sampled: nothing is recorded


async def test_another_sampler_is_asked_for_children_too(traces: Traces) -> None:
    traces.maker._sampler, traces.maker._follows_parent = ALWAYS_OFF, False
    await call(traces, *saga(ext_data=f'{{"traceparent":"{TRACEPARENT}"}}'))
    with pytest.raises(ValueError, match="not enough values"):
        traces.only()
