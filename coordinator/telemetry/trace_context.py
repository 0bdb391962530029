"""The W3C trace context: in headers, and beside a stored transaction so that any later call continues it.

It is kept in column `ext_data`, a JSON object whose key `headers` the Go server sends to branches. Ours is a
key of its own, `traceparent`: that server decodes the object into a struct, which passes over keys it does
not know, and never writes the column again after the insertion. So a shared row means the same to both.
"""

import re
from collections.abc import Mapping
from typing import Final

import orjson
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
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
_PLAIN: Final = re.compile(r'\{"traceparent":"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})"\}')


def extract(headers: Mapping[str, object]) -> SpanContext:
    """The span that a request names as its parent; an invalid one where it names none.

    headers: looked up in lower case.
    """
    if TRACEPARENT not in headers:
        return INVALID_SPAN_CONTEXT
    carrier = {name: str(headers[name]) for name in NAMES if name in headers}
    return get_current_span(_W3C.extract(carrier, _EMPTY)).get_span_context()


def as_parent(context: SpanContext) -> Context:
    """The context in which the SDK begins a child of that span, or a new trace when it is invalid."""
    return set_span_in_context(NonRecordingSpan(context), _EMPTY) if context.is_valid else _EMPTY


def headers_of(context: SpanContext) -> dict[str, str]:
    """What is sent along so that the other side continues from this span; empty for an invalid one."""
    if not context.is_valid:
        return {}
    # The propagator writes the same, for ten times as much: this is done for every branch call.
    headers = {TRACEPARENT: f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}
    if context.trace_state:
        headers[TRACESTATE] = context.trace_state.to_header()
    return headers


def to_ext_data(context: SpanContext) -> str:
    """What is stored with a transaction that begins under this span; empty for an invalid one."""
    headers = headers_of(context)
    return orjson.dumps(headers).decode() if headers else ""


def stored_context(ext_data: str) -> SpanContext:
    """The span that a stored transaction began under; an invalid one where nothing is known."""
    if not ext_data:
        return INVALID_SPAN_CONTEXT
    if plain := _PLAIN.fullmatch(ext_data):  # as `to_ext_data` writes it
        return SpanContext(
            int(plain[1], 16), int(plain[2], 16), is_remote=True, trace_flags=TraceFlags(int(plain[3], 16))
        )
    return _stored_otherwise(ext_data)


def _stored_otherwise(ext_data: str) -> SpanContext:
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
