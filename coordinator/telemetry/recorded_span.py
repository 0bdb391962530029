"""Spans made for the hot path: OpenTelemetry's exporters, samplers and ids, without its live span.

The SDK's own span is safe for threads and checks every attribute, which costs a multiple of what is recorded.
One of ours belongs to one coroutine, has attributes of our own making, and becomes the SDK's `ReadableSpan`
when it ends; from there on all is the SDK's.
"""

from time import time_ns
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

Attributes = dict[str, str | int]

_UNSET: Final = Status(StatusCode.UNSET)
_DRAWN: Final = 0x02  # trace flag: the trace's id is random


class SpanMaker:
    """Begins spans. processor: takes those that have ended. scope: the name of who records them."""

    def __init__(self, sampler: Sampler, resource: Resource, processor: SpanProcessor, scope: str) -> None:
        self._sampler = sampler
        self._follows_parent = type(sampler) is ParentBased
        self._ids = RandomIdGenerator()
        self.resource = resource
        self.processor = processor
        self.scope = InstrumentationScope(scope)

    def start(self, name: str, kind: SpanKind, parent: SpanContext, attributes: Attributes) -> "RecordedSpan":
        """Begin a span, now. parent: an invalid one begins a new trace. attributes: the span keeps them."""
        trace_id = parent.trace_id if parent.is_valid else self._ids.generate_trace_id()
        drawn = parent.trace_flags & _DRAWN if parent.is_valid else _DRAWN  # to be handed on, says W3C
        if parent.is_valid and self._follows_parent:
            sampled = parent.trace_flags.sampled
        else:
            sampled = self._is_sampled(name, kind, parent, trace_id, attributes)
        context = SpanContext(
            trace_id,
            self._ids.generate_span_id(),
            is_remote=False,
            trace_flags=TraceFlags(drawn | sampled),
            trace_state=parent.trace_state if parent.is_valid else None,
        )
        return RecordedSpan(self, name, kind, context, parent if parent.is_valid else None, attributes)

    def _is_sampled(
        self, name: str, kind: SpanKind, parent: SpanContext, trace_id: int, attributes: Attributes
    ) -> bool:
        around = set_span_in_context(NonRecordingSpan(parent), Context()) if parent.is_valid else Context()
        decided = self._sampler.should_sample(around, trace_id, name, kind, attributes)
        return decided.decision is Decision.RECORD_AND_SAMPLE


class RecordedSpan:
    """A span that runs; nothing is recorded when its trace is not sampled. For one coroutine at a time."""

    __slots__ = ("_kind", "_maker", "_name", "_parent", "_started", "attributes", "context", "status")

    def __init__(
        self,
        maker: SpanMaker,
        name: str,
        kind: SpanKind,
        context: SpanContext,
        parent: SpanContext | None,
        attributes: Attributes,
    ) -> None:
        self._maker = maker
        self._name = name
        self._kind = kind
        self._parent = parent
        self._started = time_ns()
        self.context = context
        self.attributes = attributes
        self.status = _UNSET

    def failed(self, message: str) -> None:
        """Say that it ended in an error."""
        self.status = Status(StatusCode.ERROR, message or None)

    def end(self) -> None:
        """End it, now, and hand it on."""
        if not self.context.trace_flags.sampled:
            return
        maker = self._maker
        maker.processor.on_end(
            ReadableSpan(
                self._name,
                self.context,
                self._parent,
                maker.resource,
                self.attributes,
                kind=self._kind,
                status=self.status,
                start_time=self._started,
                end_time=time_ns(),
                instrumentation_scope=maker.scope,
            )
        )
