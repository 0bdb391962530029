"""The exporters that take the spans, made as `Telemetry` and the standard OTEL_ variables say."""

import os
import sys
from pathlib import Path
from typing import IO, Final, TextIO, cast
from urllib.parse import urlsplit

from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter

from coordinator.telemetry.log import log
from coordinator.telemetry.span_target import SpanTarget
from coordinator.telemetry.unlocked import unlocked

EXPORT_SECONDS: Final = 5.0  # for one batch
_OTLP_HTTP_PORT: Final = 4318
_OTLP_PATH: Final = "/v1/traces"


def make_exporter(kind: str, target: SpanTarget) -> tuple[SpanExporter, str]:
    """The exporter, and where it sends to, for people. The libraries are loaded only when they are used."""
    endpoint = target.endpoint
    match kind:
        case "console":
            return _console(sys.stderr), "the console"
        case "file":
            return _FileSpanExporter(endpoint), f"file {endpoint}"
        case "zipkin":
            from opentelemetry.exporter.zipkin.json import ZipkinExporter

            url = None if is_set("OTEL_EXPORTER_ZIPKIN_ENDPOINT") else endpoint
            zipkin = ZipkinExporter(endpoint=url, timeout=int(EXPORT_SECONDS))
            return zipkin, _shown(zipkin.endpoint)
        case "otlpgrpc":
            return _otlp_grpc(target)
        case "jaeger":
            url = _jaegers_otlp(endpoint)
            log.info(
                "Batcher jaeger: no Thrift exporter works with today's OpenTelemetry; spans go by OTLP to {}",
                url,
            )
            return _otlp_http(target, url)
        case _:
            return _otlp_http(target, _otlp_url(target))


def _otlp_http(target: SpanTarget, url: str) -> tuple[SpanExporter, str]:
    from coordinator.telemetry.otlp_http import OtlpHttpExporter

    named = _otlp_variable()
    exporter = OtlpHttpExporter(
        endpoint=None if named else url or None, headers=_headers(target), timeout=_timeout()
    )
    return exporter, _shown(named or url or f"http://localhost:{_OTLP_HTTP_PORT}")


def _otlp_grpc(target: SpanTarget) -> tuple[SpanExporter, str]:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    named = _otlp_variable()
    url = "" if named or not target.endpoint else target.endpoint
    secure = url.startswith("https://")
    exporter = OTLPSpanExporter(
        endpoint=url or None,
        insecure=None if named or not url else not secure,
        headers=_headers(target),
        timeout=_timeout(),
    )
    return exporter, _shown(named or url or "http://localhost:4317")


def _otlp_variable() -> str:
    return os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT", ""
    )


def _headers(target: SpanTarget) -> dict[str, str] | None:
    if is_set("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"):
        return None
    return {name.lower(): value for name, value in target.otlp_headers.items()} or None


def _timeout() -> float | None:
    if is_set("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"):
        return None
    return EXPORT_SECONDS


def _otlp_url(target: SpanTarget) -> str:
    """go-zero writes `host:4318` and the path apart; a whole url is taken as well."""
    endpoint = target.endpoint
    if not endpoint:
        return ""
    if "://" not in endpoint:
        endpoint = f"{'https' if target.otlp_http_secure else 'http'}://{endpoint}"
    path = urlsplit(endpoint).path.rstrip("/")
    return endpoint if path else endpoint.rstrip("/") + (target.otlp_http_path or _OTLP_PATH)


def _jaegers_otlp(endpoint: str) -> str:
    """Where the Jaeger that takes Thrift at `http://host:14268/api/traces` (or udp) takes OTLP."""
    parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    if not parts.hostname:
        raise ValueError("it names no host")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"http://{host}:{_OTLP_HTTP_PORT}{_OTLP_PATH}"


def _console(stream: TextIO) -> SpanExporter:
    out = cast(IO[str], unlocked(stream))
    return ConsoleSpanExporter(out=out, formatter=lambda span: f"{span.to_json(indent=None)}\n")


class _FileSpanExporter(ConsoleSpanExporter):
    """Appends a line of JSON for each span."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115 - open until shutdown
        super().__init__(out=self._file, formatter=lambda span: f"{span.to_json(indent=None)}\n")

    def shutdown(self) -> None:
        self._file.close()


def is_set(*variables: str) -> bool:
    """Whether one of these environment variables has a value."""
    return any(os.environ.get(variable) for variable in variables)


def _shown(url: str) -> str:
    """The url without a login."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
