"""Tracing as it is configured → a tracer provider that sends what is recorded.

Nothing here waits for an exporter: spans queue up to a bound and are dropped beyond it.
"""

import os
import threading
import time
from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from coordinator.errors import StartError
from coordinator.telemetry.exporters import is_set, make_exporter
from coordinator.telemetry.log import log
from coordinator.telemetry.recorded_span import SpanMaker
from coordinator.telemetry.span_target import SpanTarget, kind_of

QUEUE_MAX: Final = 8192  # spans that wait to be sent
BATCH_MAX: Final = 512  # spans sent at once
CLOSE_SECONDS: Final = 2.0

_SERVICE_NAME: Final = "service.name"


class Spans:
    """Tracing switched on: hands out tracers, and sends what they record until `close`."""

    def __init__(
        self, provider: TracerProvider, processor: SpanProcessor, exporter: "Watched", where: str
    ) -> None:
        self.provider = provider
        self.where = where
        self._processor = processor
        self._exporter = exporter

    def maker(self, scope: str) -> SpanMaker:
        """Begins spans without the SDK's own, for a hot path. scope: who records them."""
        return SpanMaker(self.provider.sampler, self.provider.resource, self._processor, scope)

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Send what was recorded, for at most so long. Blocks; call it beside the event loop."""
        self._exporter.give_up_after(seconds)
        # A daemon, because a connection that hangs must not keep the process.
        closing = threading.Thread(target=self.provider.shutdown, name="spans close", daemon=True)
        closing.start()
        closing.join(seconds)


class Watched(SpanExporter):
    """An exporter whose trouble is one line in the log: when it begins, and when it is over."""

    def __init__(self, inner: SpanExporter, where: str) -> None:
        self._inner = inner
        self._where = where
        self._lost = 0
        self._give_up_at = float("inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans, from the thread that is there for it."""
        if time.monotonic() >= self._give_up_at:
            return SpanExportResult.FAILURE
        reason = ""
        try:
            result = self._inner.export(spans)
        except Exception as error:  # noqa: BLE001 - the edge: whatever a library raises, only spans are lost
            result, reason = SpanExportResult.FAILURE, str(error) or type(error).__name__
        self._note(result, len(spans), reason)
        return result

    def _note(self, result: SpanExportResult, count: int, reason: str) -> None:
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                log.info("spans arrive at {} again; {} were lost", self._where, self._lost)
            self._lost = 0
            return
        if not self._lost:
            why = f": {reason}" if reason else ""
            log.warning("spans do not arrive at {}{}; they are lost, all else goes on", self._where, why)
        self._lost += count

    def give_up_after(self, seconds: float) -> None:
        """Refuse all spans from then on."""
        self._give_up_at = time.monotonic() + seconds

    def shutdown(self) -> None:
        """See SpanExporter."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See SpanExporter."""
        return self._inner.force_flush(timeout_millis)


def open_spans(target: SpanTarget, *, instance: str = "", version: str = "") -> Spans | None:
    """Return tracing as it is configured, or None when it is off. Reads the OTEL_ variables.

    instance: what tells this process from others of its name. Raises StartError.
    """
    kind = kind_of(target, os.environ)
    if not kind:
        return None
    try:
        exporter, where = make_exporter(kind, target)
        watched = Watched(exporter, where)
        provider = TracerProvider(
            # None: the SDK reads OTEL_TRACES_SAMPLER itself.
            sampler=None if is_set("OTEL_TRACES_SAMPLER") else _sampler(target.sampler),
            resource=_resource(target.name, instance, version),
            shutdown_on_exit=False,
        )
        processor = BatchSpanProcessor(
            watched,
            max_queue_size=_unless_set("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_MAX),
            max_export_batch_size=_unless_set("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH_MAX),
        )
        provider.add_span_processor(processor)
    except (ValueError, OSError) as error:
        raise StartError(
            f"Telemetry: spans cannot be sent by {kind} to '{target.endpoint}': {error}",
            "correct Telemetry.Endpoint and Telemetry.Batcher, or the OTEL_ variables that replace them",
        ) from error
    log.info("spans go to {}", where)
    return Spans(provider, processor, watched, where)


def _sampler(ratio: float) -> ParentBased:
    return ParentBased(TraceIdRatioBased(ratio))


def _resource(name: str, instance: str, version: str) -> Resource:
    given = OTELResourceDetector().detect().attributes  # OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME
    ours = {_SERVICE_NAME: name, "service.instance.id": instance, "service.version": version}
    return Resource.create({key: value for key, value in ours.items() if value and key not in given})


def _unless_set(variable: str, value: int) -> int | None:
    """None, which makes the SDK read the variable, when it is set."""
    return None if is_set(variable) else value
