"""A span for what the client asks, and the trace context that goes along (W3C), by OpenTelemetry's API alone.

Where the program has set up no tracing, the API's objects record nothing and nothing is sent along.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from grpclib.client import Channel
from grpclib.events import SendRequest, listen
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider, get_tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from coordinator.client.errors import DtmError
from coordinator.model import PROTOCOL_GRPC

_SERVICE = "dtmgimp.Dtm"
_W3C = TraceContextTextMapPropagator()


def trace_headers() -> dict[str, str]:
    """What to send so that the other side continues this trace; nothing where there is none."""
    headers: dict[str, str] = {}
    _W3C.inject(headers)
    return headers


def send_trace(channel: Channel) -> None:
    """Let every call over the channel carry the trace context of whoever makes it."""
    listen(channel, SendRequest, _add_trace)


async def _add_trace(event: SendRequest) -> None:
    for name, value in trace_headers().items():
        event.metadata[name] = value


class Tracing:
    """provider: None is the one that the program has set with `opentelemetry.trace.set_tracer_provider`."""

    def __init__(self, url: str, provider: TracerProvider | None) -> None:
        self._url = url
        self._tracer = get_tracer("dtm-client", tracer_provider=provider)

    @contextmanager
    def operation(self, protocol: str, name: str, gid: str, trans_type: str) -> Iterator[None]:
        """A span around one operation, all attempts included. name: `submit`, `registerBranch` …"""
        about = {"dtm.gid": gid, "dtm.trans_type": str(trans_type), "dtm.operation": name}
        method = name[0].upper() + name[1:]
        if protocol == PROTOCOL_GRPC:
            shown = f"{_SERVICE}/{method}"
            about |= {"rpc.system": "grpc", "rpc.service": _SERVICE, "rpc.method": method}
        else:
            shown = "POST"
            about |= {"http.request.method": "POST", "url.full": f"{self._url}/api/dtmsvr/{name}"}
        with self._span(shown, about):
            yield

    @contextmanager
    def branch(self, url: str, context: Mapping[str, str], *, method: str) -> Iterator[None]:
        """A span around a branch call that the client makes itself. method: HTTP's; empty for gRPC."""
        about = {f"dtm.{name}": value for name, value in context.items() if name != "phase2_url"}
        if method:
            shown, about = method, {**about, "http.request.method": method, "url.full": url.partition("?")[0]}
        else:
            shown = url.partition("/")[2]
            service, _, rpc = shown.rpartition("/")
            about |= {"rpc.system": "grpc", "rpc.service": service, "rpc.method": rpc}
        with self._span(shown, about):
            yield

    @contextmanager
    def _span(self, name: str, attributes: Mapping[str, str]) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            name,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except DtmError as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR, error.message))
                raise
