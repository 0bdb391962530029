"""The W3C trace context: in headers, and beside a stored transaction so that any later call continues it.

It is kept in column `ext_data`, a JSON object whose key `headers` the Go server sends to branches. Ours is a
key of its own, `traceparent`: that server decodes the object into a struct, which passes over keys it does
not know, and never writes the column again after the insertion. So a shared row means the same to both.
"""

from collections.abc import Mapping
from typing import Final

import orjson
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
NAMES: Final = (TRACEPARENT, TRACESTATE)

_W3C: Final = TraceContextTextMapPropagator()
_EMPTY: Final = Context()


def extract(headers: Mapping[str, object]) -> Context:
    """The context that a request brings; an empty one, which begins a new trace, where it brings none.

    headers: looked up in lower case.
    """
    if TRACEPARENT not in headers:
        return _EMPTY
    carrier = {name: str(headers[name]) for name in NAMES if name in headers}
    return _W3C.extract(carrier, _EMPTY)


def headers_of(context: SpanContext) -> dict[str, str]:
    """What is sent along so that the other side continues from this span; empty for an invalid one."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, set_span_in_context(NonRecordingSpan(context), _EMPTY))
    return carrier


def current_headers() -> dict[str, str]:
    """The same of the span that runs here."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier


def to_ext_data(context: SpanContext) -> str:
    """What is stored with a transaction that begins under this span; empty for an invalid one."""
    headers = headers_of(context)
    return orjson.dumps(headers).decode() if headers else ""


def stored_context(ext_data: str) -> SpanContext:
    """The span that a stored transaction began under; an invalid one where nothing is known."""
    if TRACEPARENT not in ext_data:
        return INVALID_SPAN_CONTEXT
    try:
        stored = orjson.loads(ext_data)
    except orjson.JSONDecodeError:
        return INVALID_SPAN_CONTEXT
    if not isinstance(stored, dict):
        return INVALID_SPAN_CONTEXT
    carrier = {name: value for name in NAMES if isinstance(value := stored.get(name), str)}
    return get_current_span(_W3C.extract(carrier, _EMPTY)).get_span_context()


def trace_field(ext_data: str) -> dict[str, str]:
    """The field `trace` of a log line about a stored transaction; nothing where it has none."""
    context = stored_context(ext_data)
    return {"trace": format_trace_id(context.trace_id)} if context.is_valid else {}
