"""Where spans go: go-zero's Telemetry section, and the OTEL_ variables that win over it."""

import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from coordinator.errors import StartError
from coordinator.telemetry.exporting import Spans, open_spans
from coordinator.telemetry.span_target import SpanTarget
from tests.support.otlp import OtlpReceiver
from tests.support.ports import HOST, free_port


@pytest.fixture(autouse=True)
def without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.4")  # seconds, until a batch is given up
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)


@pytest.fixture(autouse=True)
def said() -> Iterator[list[str]]:
    logger.remove()
    lines: list[str] = []
    number = logger.add(lambda message: lines.append(str(message).strip()), format="{level} {message}")
    yield lines
    logger.remove(number)


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as started:
        yield started


def opened(target: SpanTarget, **more: str) -> Spans:
    spans = open_spans(target, **more)
    assert spans is not None
    return spans


def record(spans: Spans, name: str = "x") -> None:
    spans.provider.get_tracer("test").start_span(name).end()


def wait_for_line(said: list[str], text: str) -> None:
    deadline = time.monotonic() + 20
    while not any(text in line for line in said):
        assert time.monotonic() < deadline, said
        time.sleep(0.02)  # the exporter's own thread tells only by this line


def test_spans_arrive_under_the_name_of_the_service(receiver: OtlpReceiver, said: list[str]) -> None:
    target = SpanTarget("user.rpc", receiver.endpoint, batcher="otlphttp", otlp_headers={"X-Token": "s3cr3t"})
    spans = opened(target, instance="host-1", version="1.2.3")
    record(spans)
    spans.close()
    [span] = receiver.spans
    assert span.resource["service.name"] == "user.rpc"
    assert span.resource["service.instance.id"] == "host-1"
    assert span.resource["service.version"] == "1.2.3"
    assert receiver.headers[0]["x-token"] == "s3cr3t"
    assert said == [f"INFO spans go to http://{receiver.endpoint}/v1/traces"]


@pytest.mark.parametrize(
    "target",
    [SpanTarget(), SpanTarget(endpoint="h:1", disabled=True), SpanTarget(batcher="otlpgrpc")],
    ids=["no endpoint", "disabled", "no endpoint either"],
)
def test_off_is_nothing_at_all(target: SpanTarget) -> None:
    assert open_spans(target) is None


@pytest.mark.parametrize(
    ("batcher", "endpoint", "where"),
    [
        ("otlphttp", "h:4318", "http://h:4318/v1/traces"),
        ("otlphttp", "https://h/", "https://h/v1/traces"),
        ("otlphttp", "http://h:4318/own", "http://h:4318/own"),
        ("otlpgrpc", "h:4317", "h:4317"),
        ("otlpgrpc", "https://u:p@h:4317", "https://h:4317"),
        ("zipkin", "http://h:9411/api/v2/spans", "http://h:9411/api/v2/spans"),
        ("jaeger", "http://h:14268/api/traces", "http://h:4318/v1/traces"),
        ("jaeger", "udp://h:6831", "http://h:4318/v1/traces"),
        ("jaeger", "[::1]:6831", "http://[::1]:4318/v1/traces"),
        ("console", "", "the console"),
    ],
)
def test_every_batcher_of_go_zero(batcher: Any, endpoint: str, where: str) -> None:
    spans = opened(SpanTarget("a", endpoint, batcher=batcher))
    assert spans.where == where
    spans.close(0.5)


def test_jaegers_thrift_address_is_said_to_be_reached_by_otlp(said: list[str]) -> None:
    opened(SpanTarget("a", "http://h:14268/api/traces")).close(0.1)
    assert [line for line in said if "Batcher jaeger" in line] == [
        "INFO Batcher jaeger: no Thrift exporter works with today's OpenTelemetry;"
        " spans go by OTLP to http://h:4318/v1/traces"
    ]


def test_a_file_gets_a_line_for_each_span(tmp_path: Path) -> None:
    spans = opened(SpanTarget("a", str(tmp_path / "spans"), batcher="file"))
    record(spans, "one")
    record(spans, "two")
    spans.close()
    assert len((tmp_path / "spans").read_text().splitlines()) == 2


def test_the_standard_variables_win(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{receiver.endpoint}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-from=variable")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "other")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    target = SpanTarget("a", "http://nowhere:14268/api/traces", sampler=0.0, otlp_headers={"x-from": "yaml"})
    spans = opened(target)
    record(spans)
    spans.close()
    [span] = receiver.spans
    assert span.resource["service.name"] == "other"
    assert receiver.headers[0]["x-from"] == "variable"


@pytest.mark.parametrize(
    ("variable", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")]
)
def test_a_variable_switches_it_off(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    assert open_spans(SpanTarget("a", "h:4318", batcher="otlphttp")) is None


def test_a_variable_that_is_not_understood_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    with pytest.raises(StartError) as raised:
        open_spans(SpanTarget())
    assert "carrier-pigeon" in raised.value.message and "otlp" in raised.value.hint


def test_an_endpoint_without_a_host_is_a_sentence() -> None:
    with pytest.raises(StartError) as raised:
        open_spans(SpanTarget("a", "http://", batcher="jaeger"))
    assert "it names no host" in raised.value.message and "Telemetry.Endpoint" in raised.value.hint


def test_a_sampler_of_zero_records_nothing(receiver: OtlpReceiver) -> None:
    spans = opened(SpanTarget("a", receiver.endpoint, sampler=0.0, batcher="otlphttp"))
    record(spans)
    spans.close()
    assert receiver.spans == []


def test_an_exporter_that_is_away_is_one_line_and_waited_for_by_nobody(said: list[str]) -> None:
    spans = opened(SpanTarget("a", f"{HOST}:{free_port()}", batcher="otlphttp"))
    started = time.monotonic()
    for _ in range(20_000):  # more than the queue holds
        record(spans)
    assert time.monotonic() - started < 60
    wait_for_line(said, "they are lost, all else goes on")
    spans.close(1.0)
    assert len([line for line in said if line.startswith("WARNING")]) == 1


def test_an_exporter_that_never_answers_does_not_hold_up_the_end() -> None:
    with socket.socket() as silent:
        silent.bind((HOST, 0))
        silent.listen()
        spans = opened(SpanTarget("a", f"{HOST}:{silent.getsockname()[1]}", batcher="otlphttp"))
        record(spans)
        started = time.monotonic()
        spans.close(0.3)
        assert time.monotonic() - started < 8  # less than an export may take


def test_it_is_said_when_spans_arrive_again(said: list[str]) -> None:
    port = free_port()
    spans = opened(SpanTarget("a", f"{HOST}:{port}", batcher="otlphttp"))
    record(spans, "lost")
    wait_for_line(said, f"spans do not arrive at http://{HOST}:{port}/")
    with OtlpReceiver(port=port) as receiver:
        record(spans, "found")
        receiver.wait_for(lambda span: span.name == "found")
        spans.close()
    assert any("arrive" in line and "again; 1 were lost" in line for line in said)
