"""The one logger: levels of go-zero, fields, context, duration, the real caller."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from opentelemetry.sdk.trace import TracerProvider

from coordinator.telemetry.log import Stacks, in_call, log
from coordinator.telemetry.log_output import configure_logging
from tests.support.logs import logging_as_before


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    with logging_as_before():
        yield


class Lines:
    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> list[dict[str, Any]]:
        logger.remove()  # what was logged is in the file once logging has ended
        return [json.loads(line) for line in self.file.read_text().splitlines()]


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    configure_logging("debug", [str(tmp_path / "log")])
    return Lines(tmp_path / "log")


def test_a_sentence_with_fields(lines: Lines) -> None:
    log.info("rolling back: {}", "no money", gid="g1", branch="01")
    [line] = lines.read()
    assert (line["level"], line["msg"]) == ("info", "rolling back: no money")
    assert (line["gid"], line["branch"]) == ("g1", "01")
    assert line["caller"].startswith("telemetry/test_log.py:")


def test_a_sentence_without_values_may_hold_braces(lines: Lines) -> None:
    log.info('it said {"a": 1}', gid="g1")
    assert lines.read()[0]["msg"] == 'it said {"a": 1}'


def test_every_level_of_go_zero(lines: Lines) -> None:
    for write in (log.debug, log.info, log.stat, log.slow, log.warning, log.error, log.alert, log.severe):
        write("x")
    shown = [line["level"] for line in lines.read()]
    assert shown == ["debug", "info", "stat", "slow", "warn", "error", "alert", "fatal"]


def test_a_level_shows_what_ranks_as_high(lines: Lines) -> None:
    configure_logging("warn", [str(lines.file)])
    for write in (log.debug, log.info, log.stat, log.slow, log.error, log.alert, log.severe):
        write("x")
    assert [line["level"] for line in lines.read()] == ["slow", "error", "alert", "fatal"]


def test_an_exception_comes_with_its_trace(lines: Lines) -> None:
    try:
        raise ValueError("bad")
    except ValueError as error:
        log.error("it failed", exception=error, gid="g1")
    [line] = lines.read()
    assert line["error"] == "ValueError('bad')"
    assert line["stacktrace"].startswith("Traceback")
    assert line["gid"] == "g1"


def test_a_stack_says_where_and_not_too_often(lines: Lines) -> None:
    for _ in range(3):
        log.stack("how did we get here")
    [line] = lines.read()
    assert line["level"] == "error"
    assert "test_a_stack_says_where" in line["stack"]
    assert line["caller"].startswith("telemetry/test_log.py:")


def test_the_same_place_writes_its_stack_again_after_the_cool_down() -> None:
    now = 0.0
    stacks = Stacks(0.1, lambda: now, places_max=2)
    assert stacks.may_write(("a.py", 1))
    assert stacks.may_write(("a.py", 2))
    assert not stacks.may_write(("a.py", 1))
    now = 0.2
    assert stacks.may_write(("a.py", 1))


def test_context_is_the_span_and_the_branch_call(lines: Lines) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("x") as span, in_call(gid="g1", branch="01"):
        log.with_context().info("x")
    log.with_context().info("y")
    inside, outside = lines.read()
    context = span.get_span_context()
    assert inside["trace"] == f"{context.trace_id:032x}"
    assert inside["span"] == f"{context.span_id:016x}"
    assert (inside["gid"], inside["branch"]) == ("g1", "01")
    assert not outside.keys() & {"trace", "span", "gid", "branch"}


def test_duration_in_go_zeros_form(lines: Lines) -> None:
    log.with_fields(gid="g1").with_duration(0.0123).slow("x")
    assert (line := lines.read()[0])["duration"] == "12.3ms"
    assert line["gid"] == "g1"


def test_secrets_are_hidden_in_sentence_fields_and_trace(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", ["stderr"], secrets=["hunter2"])
    try:
        raise ValueError("bad hunter2")
    except ValueError as error:
        log.error("hunter2", exception=error, where="http://u:other@h/", password="x")
    logging.getLogger("a.library").warning("hunter2")
    logger.remove()
    written = capsys.readouterr().err
    assert "hunter2" not in written
    assert "other@" not in written
    assert json.loads(written.splitlines()[0])["password"] == "…"


def test_a_field_given_twice_counts_once_the_last_time(lines: Lines) -> None:
    log.with_fields(trace="a").info("x", trace="b")
    assert lines.read()[0]["trace"] == "b"
