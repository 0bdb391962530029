"""A small OTLP receiver: takes spans by HTTP on a free port and shows them as they are.

with OtlpReceiver() as receiver:
    … Endpoint: receiver.endpoint, Batcher: otlphttp …
    [span] = receiver.wait_for(lambda span: span.name == "POST")
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.ports import HOST

WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """One span. Ids are hexadecimal; parent_id is empty for a root."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    is_error: bool
    message: str


class OtlpReceiver:
    """host, port: where to listen; port 0 is any free one. Every request's headers are kept, too."""

    def __init__(self, host: str = HOST, port: int = 0) -> None:
        self.headers: list[dict[str, str]] = []
        self._spans: list[ReceivedSpan] = []
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver._take({name.lower(): value for name, value in self.headers.items()}, body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def endpoint(self) -> str:
        """`host:port`, as go-zero's Endpoint."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    @property
    def spans(self) -> list[ReceivedSpan]:
        """All that arrived so far."""
        with self._arrived:
            return list(self._spans)

    def wait_for(self, wanted: Callable[[ReceivedSpan], bool], count: int = 1) -> list[ReceivedSpan]:
        """Return the first `count` spans that are wanted; raise AssertionError when they do not come."""
        with self._arrived:
            found = self._arrived.wait_for(
                lambda: len([span for span in self._spans if wanted(span)]) >= count, WAIT_SECONDS
            )
            assert found, f"not arrived: {[span.name for span in self._spans]}"
            return [span for span in self._spans if wanted(span)][:count]

    def _take(self, headers: dict[str, str], body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        taken = [
            _received(span, _values(of_resource.resource.attributes))
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]
        with self._arrived:
            self.headers.append(headers)
            self._spans += taken
            self._arrived.notify_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _received(span: Any, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=span.kind,
        attributes=_values(span.attributes),
        resource=resource,
        is_error=span.status.code == 2,
        message=span.status.message,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}
