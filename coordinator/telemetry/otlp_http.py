"""OTLP over HTTP: the library's exporter, with an encoder that costs a third of its own.

Of a coordinator's spans nearly every attribute has been sent before: it is kept encoded. What this encoder
does not know (events, links, lists as values) it leaves to the library's.
"""

from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, SpanFlags, Status
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanKind

_PAIRS_REMEMBERED_MAX: Final = 2000
_VALUE_CHARACTERS_MAX: Final = 200  # of one that is remembered
_BYTES_MAX: Final = 4 << 20  # a bigger request is left to the library, which knows what to do with it
_UNIQUE: Final = "dtm.gid"  # not worth remembering
_KINDS: Final = {
    SpanKind.INTERNAL: Span.SPAN_KIND_INTERNAL,
    SpanKind.SERVER: Span.SPAN_KIND_SERVER,
    SpanKind.CLIENT: Span.SPAN_KIND_CLIENT,
    SpanKind.PRODUCER: Span.SPAN_KIND_PRODUCER,
    SpanKind.CONSUMER: Span.SPAN_KIND_CONSUMER,
}
_LOCAL: Final = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE: Final = _LOCAL | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_UNSET: Final = Status()


class OtlpHttpExporter(OTLPSpanExporter):
    """See OTLPSpanExporter."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._encoder = Encoder()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See SpanExporter."""
        client = getattr(self, "_client", None)  # the library's own; should it go, its encoder is used
        if client is None or self._shutdown:
            return super().export(spans)
        encoded = self._encoder.encode(spans)
        if encoded is None or len(encoded) > _BYTES_MAX:
            return super().export(spans)
        sent = client.export(encoded)
        return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE


class Encoder:
    """Makes the bytes of an ExportTraceServiceRequest, the same as the library would."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[object, ...], KeyValue] = {}

    def encode(self, spans: Sequence[ReadableSpan]) -> bytes | None:
        """Return the request; None for spans that are not of one resource and scope, or not as simple."""
        first = spans[0]
        resource, scope = first.resource, first.instrumentation_scope
        for span in spans:
            if span.resource is not resource or span.instrumentation_scope is not scope:
                return None
            if span.events or span.links:
                return None
        try:
            encoded = [self._span(span) for span in spans]
        except (TypeError, ValueError):  # a value that is not text or number
            return None
        envelope = encode_spans([first]).resource_spans[0]
        around = envelope.scope_spans[0]
        request = ExportTraceServiceRequest(
            resource_spans=[
                ResourceSpans(
                    resource=envelope.resource,
                    schema_url=envelope.schema_url,
                    scope_spans=[ScopeSpans(scope=around.scope, schema_url=around.schema_url, spans=encoded)],
                )
            ]
        )
        return request.SerializeToString()

    def _span(self, span: ReadableSpan) -> Span:
        context, parent, status = span.context, span.parent, span.status
        state = context.trace_state
        return Span(
            trace_id=context.trace_id.to_bytes(16, "big"),
            span_id=context.span_id.to_bytes(8, "big"),
            trace_state=",".join([f"{key}={value}" for key, value in state.items()]) if state else "",
            parent_span_id=parent.span_id.to_bytes(8, "big") if parent else b"",
            name=span.name,
            kind=_KINDS[span.kind],
            start_time_unix_nano=span.start_time or 0,
            end_time_unix_nano=span.end_time or 0,
            attributes=[self._pair(key, value) for key, value in (span.attributes or {}).items()],
            status=_UNSET if status.is_unset else _encoded_status(span),
            dropped_attributes_count=span.dropped_attributes,
            flags=_REMOTE if parent and parent.is_remote else _LOCAL,
        )

    def _pair(self, key: str, value: Any) -> KeyValue:
        # By type as well: 1, True and 1.0 are the same key of a dict.
        name: tuple[object, ...] = (key, value) if type(value) is str else (key, value, type(value))
        found = self._pairs.get(name)
        if found is None:
            found = KeyValue(key=key, value=_encoded_value(value))
            short = not isinstance(value, str) or len(value) <= _VALUE_CHARACTERS_MAX
            if key != _UNIQUE and short and len(self._pairs) < _PAIRS_REMEMBERED_MAX:
                self._pairs[name] = found
        return found


def _encoded_value(value: Any) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    raise TypeError(f"{type(value)} is left to the library")


def _encoded_status(span: ReadableSpan) -> Status:
    code: Any = span.status.status_code.value
    return Status(code=code, message=span.status.description or "")
