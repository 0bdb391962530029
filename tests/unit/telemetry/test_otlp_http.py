"""Our encoder says what the library's says, and leaves to it what it does not know."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from coordinator.telemetry.otlp_http import Encoder

RESOURCE = Resource({"service.name": "dtm", "service.version": "1"})
SCOPE = InstrumentationScope("dtm-coordinator", "1")

contexts = some.builds(
    SpanContext,
    some.integers(1, 2**128 - 1),
    some.integers(1, 2**64 - 1),
    some.booleans(),
    some.just(TraceFlags(1)),
    some.sampled_from([None, TraceState([("a", "b"), ("c", "d")])]),
)
values = some.one_of(
    some.text(), some.integers(-(2**63), 2**63 - 1), some.booleans(), some.floats(allow_nan=False)
)


def span(**more: Any) -> ReadableSpan:
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
    return ReadableSpan(
        **{
            "name": "x",
            "context": context,
            "resource": RESOURCE,
            "instrumentation_scope": SCOPE,
            "attributes": {"a": 1},
            "start_time": 1,
            "end_time": 2,
            **more,
        }
    )


spans = some.builds(
    span,
    name=some.text(),
    context=contexts,
    parent=some.none() | contexts,
    attributes=some.dictionaries(some.sampled_from(["a", "b", "dtm.gid"]), values),
    kind=some.sampled_from(SpanKind),
    status=some.sampled_from(
        [Status(StatusCode.UNSET), Status(StatusCode.OK), Status(StatusCode.ERROR, "no")]
    ),
    start_time=some.integers(0, 2**63),
    end_time=some.integers(0, 2**63),
)

one_for_all = Encoder()


@given(some.lists(spans, min_size=1, max_size=5))
def test_the_same_as_the_library(batch: list[ReadableSpan]) -> None:
    encoded = one_for_all.encode(batch)
    assert encoded is not None
    assert ExportTraceServiceRequest.FromString(encoded) == encode_spans(batch)


@pytest.mark.parametrize(
    "more",
    [
        {"events": (Event("x"),)},
        {"links": (Link(SpanContext(1, 2, is_remote=False)),)},
        {"attributes": {"a": ("b", "c")}},
        {"resource": Resource({"service.name": "other"})},
        {"instrumentation_scope": InstrumentationScope("other")},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_is_not_known_is_left_to_the_library(more: dict[str, Any]) -> None:
    assert Encoder().encode([span(), span(**more)]) is None


def test_true_is_not_one() -> None:
    batch = [span(attributes={"a": value}) for value in (1, True, 1.0, 0, False)]
    encoded = Encoder().encode(batch)
    assert encoded is not None
    assert ExportTraceServiceRequest.FromString(encoded) == encode_spans(batch)


def test_memory_stays_bounded() -> None:
    encoder = Encoder()
    for number in range(5000):
        encoder.encode([span(attributes={"a": f"value {number}", "b": "x" * 1000, "dtm.gid": str(number)})])
    assert len(encoder._pairs) <= 2000
