"""All by which a coordinator can be looked at: metrics, traces, slow calls; made from the settings."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from prometheus_client import CollectorRegistry

from coordinator import __version__
from coordinator.calls.base import Caller
from coordinator.config.settings import Settings
from coordinator.discovery.base import Registration
from coordinator.discovery.target import shown
from coordinator.engine.admission import Admission
from coordinator.store.runner import Runner
from coordinator.store.sql import SqlStore
from coordinator.telemetry.exporting import Spans, open_spans
from coordinator.telemetry.metrics import Metrics
from coordinator.telemetry.slow import Slow
from coordinator.telemetry.span_target import SpanTarget
from coordinator.watching.census import Census
from coordinator.watching.endpoint_record import EndpointRecord
from coordinator.watching.readiness import Readiness
from coordinator.watching.tracing import OFF, Tracing
from coordinator.watching.watched import Recorded, WatchedCaller, WatchedRunner


class Observing:
    """Made first and closed last. Raises StartError when spans cannot be sent as configured.

    is_traced: whether spans are sent, where the settings or the environment say so.
    """

    def __init__(self, settings: Settings, *, is_traced: bool = True) -> None:
        log, telemetry = settings.log, settings.telemetry
        self.metrics = Metrics(CollectorRegistry(), version=__version__)
        self._slow_database = Slow("a database call took its time", log.slow_database_millis / 1000)
        self._slow_branch = Slow("a branch call took its time", log.slow_branch_millis / 1000)
        self.endpoints = EndpointRecord()
        self.tracing: Tracing = OFF
        self._spans: Spans | None = None
        if is_traced:
            self._spans = open_spans(
                SpanTarget(telemetry.name, telemetry.endpoint, telemetry.sampler, telemetry.batcher),
                instance=settings.instance_name,
                version=__version__,
            )
        if self._spans is not None:
            from coordinator.watching.span_tracing import SpanTracing  # only now: it costs time and memory

            self.tracing = SpanTracing(self._spans.maker("dtm-coordinator"))

    def runner(self, runner: Runner) -> Runner:
        """The store's runner, watched."""
        return WatchedRunner(runner, self._slow_database)

    def caller(self, caller: Caller, patterns: Mapping[str, Recorded]) -> Caller:
        """The caller, watched and traced."""
        traced = self.tracing.caller(caller)
        return WatchedCaller(traced, self.metrics, self._slow_branch, patterns, self.endpoints)

    def show_store(self, store: SqlStore, census: Census) -> None:
        """Show what is stored, and how the store is doing."""
        gauge = self.metrics.gauge
        gauge("dtm_transactions", "Unfinished transactions.", census.by_status, label="status")
        gauge(
            "dtm_transactions_oldest_seconds",
            "Age of the oldest unfinished transaction; a saga that is only prepared does not count.",
            census.oldest_seconds,
        )
        gauge("dtm_transactions_due", "Transactions due and claimed by nobody.", census.due)
        gauge(
            "dtm_claim_lag_seconds", "Seconds for which the first of them has been due.", census.lag_seconds
        )
        gauge("dtm_store_connections", "Connections of the store.", store.connections, label="state")
        gauge("dtm_store_waiting", "Writes that wait for a commit.", store.waiting)

    def show_engine(self, admission: Admission) -> None:
        """Show what runs here."""
        gauge = self.metrics.gauge
        gauge("dtm_transactions_running", "Transactions driven now.", lambda: admission.inside)
        gauge("dtm_bytes_in_flight", "Bytes of the transactions driven now.", lambda: admission.bytes_inside)
        gauge(
            "dtm_calls_in_flight",
            "Branch calls under way.",
            lambda: {shown(endpoint): calls for endpoint, calls in admission.by_endpoint().items()},
            label="endpoint",
        )

    def show_state(self, readiness: Readiness, registration: Registration) -> None:
        """Show whether this coordinator can take work, and be found."""
        gauge = self.metrics.gauge
        gauge("dtm_ready", "1 when it can take work.", lambda: float(not readiness.problems()))
        if registration.is_wanted:
            gauge("dtm_registered", "1 while its entry in etcd stands.", lambda: registration.is_registered)

    async def close(self) -> None:
        """Send the last spans, in bounded time."""
        if self._spans is not None:
            await asyncio.to_thread(self._spans.close)


def secrets_of(settings: Settings) -> Iterator[str]:
    """What no log line may show."""
    yield settings.store.password.get_secret_value()
    yield settings.oidc.client_secret.get_secret_value()
    hook = urlsplit(settings.alert_web_hook)
    yield hook.query
    if hook.path.count("/") > 1:  # many carry their token there
        yield from (hook.path, hook.path.rpartition("/")[2])
    registry = settings.http_micro_service
    urls = (settings.micro_service.target, registry.target, settings.telemetry.endpoint)
    for parts in (hook, *map(urlsplit, urls)):
        login = parts.netloc.rpartition("@")[0].partition(":")[2]
        yield from (login, unquote(login))
        yield from (value for name, value in parse_qsl(parts.query) if name in {"password", "token"})
    for variable in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        yield from (pair.partition("=")[2].strip() for pair in os.environ.get(variable, "").split(","))
