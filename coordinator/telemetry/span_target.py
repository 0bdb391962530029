"""Where spans go, as `Telemetry` and the standard OTEL_ variables say; the variables win. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from coordinator.errors import StartError

Batcher = Literal["jaeger", "zipkin", "otlpgrpc", "otlphttp", "console", "file"]


@dataclass(frozen=True, slots=True)
class SpanTarget:
    """go-zero's `Telemetry` section. An empty endpoint means off, except for `console`."""

    name: str = ""  # of the service, as traces show it
    endpoint: str = ""  # http://host:14268/api/traces, host:4317, …; of `file`: its path
    sampler: float = 1.0  # share of the traces that begin here; one that came sampled stays so
    batcher: Batcher = "jaeger"
    otlp_headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a token
    otlp_http_path: str = ""
    otlp_http_secure: bool = False
    disabled: bool = False


def kind_of(target: SpanTarget, environment: Mapping[str, str]) -> str:
    """How spans are sent; empty when they are not. Raises StartError."""
    if target.disabled or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    otlp = _otlp_kind(target, environment)
    match environment.get("OTEL_TRACES_EXPORTER", "").strip().lower():
        case "":
            pass
        case "none":
            return ""
        case "otlp":
            return otlp
        case "console" | "zipkin" | "jaeger" as named:
            return named
        case other:
            raise StartError(
                f"OTEL_TRACES_EXPORTER is '{other}', which is not known here",
                "write otlp, zipkin, jaeger, console or none",
            )
    if any(map(environment.get, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"))):
        return otlp
    if environment.get("OTEL_EXPORTER_ZIPKIN_ENDPOINT"):
        return "zipkin"
    return target.batcher if target.endpoint or target.batcher == "console" else ""


def _otlp_kind(target: SpanTarget, environment: Mapping[str, str]) -> str:
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", ""
    )
    if protocol:
        return "otlpgrpc" if protocol.strip() == "grpc" else "otlphttp"
    return "otlpgrpc" if target.batcher == "otlpgrpc" else "otlphttp"
