"""A span for what the client asks, and the trace context that goes along (W3C), by OpenTelemetry's API alone.

Where the program has set up no tracing, nothing is recorded and nothing is sent along; where it has not even
loaded OpenTelemetry, it is not needed.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from coordinator.client.errors import DtmError
from coordinator.model import PROTOCOL_GRPC

if TYPE_CHECKING:
    from grpclib.client import Channel
    from grpclib.events import SendRequest

_SERVICE: Final = "dtmgimp.Dtm"
_API: Final = "opentelemetry.trace"
_OUR_NAME: Final = "dtm-client"


class TracerProvider(Protocol):
    """OpenTelemetry's, as far as it is asked."""

    def get_tracer(self, instrumenting_module_name: str, /) -> Any:
        """Return a tracer."""
        ...


def trace_headers() -> dict[str, str]:
    """What to send so that the other side continues this trace; nothing where there is none."""
    headers: dict[str, str] = {}
    if _API in sys.modules:
        _propagator().inject(headers)
    return headers


@cache
def _propagator() -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator()


def send_trace(channel: "Channel") -> None:
    """Let every call over the channel carry the trace context of whoever makes it."""
    from grpclib.events import SendRequest, listen

    listen(channel, SendRequest, _add_trace)


async def _add_trace(event: "SendRequest") -> None:
    for name, value in trace_headers().items():
        event.metadata[name] = value


class Tracing:
    """provider: None is the one that the program has set with `opentelemetry.trace.set_tracer_provider`."""

    def __init__(self, url: str, provider: TracerProvider | None) -> None:
        self._url = url
        self._provider = provider
        self._tracer: Any = None

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
        tracer = self._loaded_tracer()
        if tracer is None:
            yield
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode

        with tracer.start_as_current_span(
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

    def _loaded_tracer(self) -> Any:
        """Return the tracer; None as long as the program has not loaded OpenTelemetry."""
        if self._tracer is None and self._provider is not None:
            self._tracer = self._provider.get_tracer(_OUR_NAME)
        elif self._tracer is None and _API in sys.modules:
            from opentelemetry.trace import get_tracer

            self._tracer = get_tracer(_OUR_NAME)
        return self._tracer
