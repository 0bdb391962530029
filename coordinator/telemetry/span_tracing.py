"""Tracing by OpenTelemetry: spans named and described as its conventions say, with `dtm.…` beside them."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from grpclib.const import Status as GrpcStatus
from grpclib.exceptions import GRPCError
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider, get_current_span

from coordinator.calls.base import Caller
from coordinator.errors import DtmError
from coordinator.telemetry.trace_context import extract, to_ext_data
from coordinator.telemetry.traced_caller import TracedCaller
from coordinator.telemetry.tracing import AnswerT

T = TypeVar("T")

_GRPC_ERRORS: Final = frozenset(  # those that conventions call an error of the server
    {
        *(GrpcStatus.UNKNOWN, GrpcStatus.DEADLINE_EXCEEDED, GrpcStatus.UNIMPLEMENTED),
        *(GrpcStatus.INTERNAL, GrpcStatus.UNAVAILABLE, GrpcStatus.DATA_LOSS),
    }
)


class SpanTracing:
    """Tracing with OpenTelemetry. provider: where spans are made; its owner closes it."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("dtm-coordinator")

    def http(
        self, method: str, path: str, handler: Callable[[Any], Awaitable[AnswerT]]
    ) -> Callable[[Any], Awaitable[AnswerT]]:
        """See Tracing."""
        name = f"{method} {path}"
        attributes = {
            "http.request.method": method,
            "http.route": path,
            "url.path": path,
            "url.scheme": "http",
        }

        async def traced(request: Any) -> AnswerT:
            with self._tracer.start_as_current_span(
                name,
                extract(request.headers),
                SpanKind.SERVER,
                attributes,
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                status, message = 500, "internal error"  # unless it ends otherwise
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
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}

        async def traced(stream: Any) -> T:
            with self._tracer.start_as_current_span(
                path[1:],
                extract(stream.metadata or {}),
                SpanKind.SERVER,
                attributes,
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    reply = await handler(stream)
                except GRPCError as error:
                    span.set_attribute("rpc.grpc.status_code", error.status.value)
                    if error.status in _GRPC_ERRORS:
                        span.set_status(Status(StatusCode.ERROR, error.message))
                    raise
                span.set_attribute("rpc.grpc.status_code", 0)
                return reply

        return traced

    def about(self, gid: str, trans_type: str) -> None:
        """See Tracing."""
        span = get_current_span()
        span.set_attribute("dtm.gid", gid)
        span.set_attribute("dtm.trans_type", trans_type)

    def ext_data(self) -> str:
        """See Tracing."""
        return to_ext_data(get_current_span().get_span_context())

    def caller(self, caller: Caller) -> Caller:
        """See Tracing."""
        return TracedCaller(caller, self._tracer)


def _end_http(span: Span, status: int, message: str) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_attribute("error.type", str(status))
        span.set_status(Status(StatusCode.ERROR, message or None))
