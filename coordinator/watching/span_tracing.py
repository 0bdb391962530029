"""Tracing by OpenTelemetry: spans named and described as its conventions say, with `dtm.…` beside them."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from grpclib.const import Status as GrpcStatus
from grpclib.exceptions import GRPCError
from opentelemetry.context import attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanKind, set_span_in_context

from coordinator.calls.base import Caller
from coordinator.errors import DtmError
from coordinator.telemetry.recorded_span import RecordedSpan, SpanMaker
from coordinator.telemetry.trace_context import extract, to_ext_data
from coordinator.watching.traced_caller import TracedCaller
from coordinator.watching.tracing import AnswerT

T = TypeVar("T")

_GRPC_ERRORS: Final = frozenset(  # those that conventions call an error of the server
    {
        *(GrpcStatus.UNKNOWN, GrpcStatus.DEADLINE_EXCEEDED, GrpcStatus.UNIMPLEMENTED),
        *(GrpcStatus.INTERNAL, GrpcStatus.UNAVAILABLE, GrpcStatus.DATA_LOSS),
    }
)


# The span of the request that is handled, to be told what it is about.
_request: Final[ContextVar[RecordedSpan | None]] = ContextVar("request_span", default=None)


class SpanTracing:
    """Tracing with OpenTelemetry. spans: where they begin; their owner closes it."""

    def __init__(self, spans: SpanMaker) -> None:
        self._spans = spans

    def http(
        self, method: str, path: str, handler: Callable[[Any], Awaitable[AnswerT]]
    ) -> Callable[[Any], Awaitable[AnswerT]]:
        """See Tracing."""
        name = f"{method} {path}"
        about = {"http.request.method": method, "http.route": path, "url.path": path, "url.scheme": "http"}

        async def traced(request: Any) -> AnswerT:
            span = self._spans.start(name, SpanKind.SERVER, extract(request.headers), {**about})
            status, message = 500, "internal error"  # unless it ends otherwise
            with _current(span):
                try:
                    answer = await handler(request)
                    status, message = answer.status, ""
                except DtmError as error:
                    status, message = error.http_status, error.message
                    raise
                finally:
                    _end_http(span, status, message)
            return answer

        return traced

    def grpc(self, path: str, handler: Callable[[Any], Awaitable[T]]) -> Callable[[Any], Awaitable[T]]:
        """See Tracing."""
        service, _, method = path[1:].partition("/")
        about = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}

        async def traced(stream: Any) -> T:
            span = self._spans.start(path[1:], SpanKind.SERVER, extract(stream.metadata or {}), {**about})
            code, message = GrpcStatus.UNKNOWN, ""  # unless it ends otherwise
            with _current(span):
                try:
                    reply = await handler(stream)
                    code = GrpcStatus.OK
                except GRPCError as error:
                    code, message = error.status, error.message or ""
                    raise
                finally:
                    _end_grpc(span, code, message)
            return reply

        return traced

    def about(self, gid: str, trans_type: str) -> None:
        """See Tracing."""
        span = _request.get()
        if span is not None:
            span.attributes["dtm.gid"] = gid
            span.attributes["dtm.trans_type"] = trans_type

    def ext_data(self) -> str:
        """See Tracing."""
        span = _request.get()
        return to_ext_data(span.context) if span is not None else ""

    def caller(self, caller: Caller) -> Caller:
        """See Tracing."""
        return TracedCaller(caller, self._spans)


@contextmanager
def _current(span: RecordedSpan) -> Iterator[None]:
    """Let the log, and whatever else asks OpenTelemetry, know which span runs."""
    token = _request.set(span)
    around = attach(set_span_in_context(NonRecordingSpan(span.context)))
    try:
        yield
    finally:
        detach(around)
        _request.reset(token)


def _end_http(span: RecordedSpan, status: int, message: str) -> None:
    span.attributes["http.response.status_code"] = status
    if status >= 500:
        span.attributes["error.type"] = str(status)
        span.failed(message)
    span.end()


def _end_grpc(span: RecordedSpan, code: GrpcStatus, message: str) -> None:
    span.attributes["rpc.grpc.status_code"] = code.value
    if code in _GRPC_ERRORS:
        span.failed(message)
    span.end()
