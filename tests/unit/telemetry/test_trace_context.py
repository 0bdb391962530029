"""The trace context in headers, and stored beside a transaction."""

import json

import pytest
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, TraceFlags

from coordinator.telemetry.trace_context import extract, headers_of, stored_context, to_ext_data, trace_field

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
CONTEXT = SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=False, trace_flags=TraceFlags(1))


def test_headers_are_w3cs_both_ways() -> None:
    assert headers_of(CONTEXT) == {"traceparent": TRACEPARENT}
    found = extract({"traceparent": TRACEPARENT, "tracestate": "a=b"})
    assert (found.trace_id, found.span_id, found.is_remote) == (CONTEXT.trace_id, CONTEXT.span_id, True)
    assert found.trace_state.get("a") == "b"


def test_what_is_stored_comes_back() -> None:
    stored = to_ext_data(CONTEXT)
    assert json.loads(stored) == {"traceparent": TRACEPARENT}
    assert stored_context(stored).span_id == CONTEXT.span_id
    assert trace_field(stored) == {"trace": TRACE}


def test_without_a_trace_nothing_is_stored() -> None:
    assert to_ext_data(INVALID_SPAN_CONTEXT) == ""


@pytest.mark.parametrize(
    "ext_data",
    [
        "",
        "{}",
        '{"headers":{"x":"y"}}',
        "no json traceparent",
        '["traceparent"]',
        '{"traceparent":1}',
        '{"traceparent":"00-xyz"}',
    ],
)
def test_whatever_else_stands_there_is_no_trace(ext_data: str) -> None:
    assert not stored_context(ext_data).is_valid
    assert trace_field(ext_data) == {}


@pytest.mark.parametrize("header", ["", "00-0-0-01", "x" * 5000, f"ff-{TRACE}-{SPAN}-01"])
def test_a_broken_header_begins_a_new_trace(header: str) -> None:
    assert not extract({"traceparent": header}).is_valid
