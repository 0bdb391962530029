"""Log lines: JSON for machines, text for people, and what libraries write comes along (PROTOCOL §13)."""

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp.http_exceptions import BadStatusLine
from loguru import logger

from coordinator.errors import StartError
from coordinator.telemetry.log_output import configure_logging
from tests.support.logs import logging_as_before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    with logging_as_before():
        yield


class Captured:
    """What was written to stderr, once logging has ended."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured
        self._text = ""

    def getvalue(self) -> str:
        logger.remove()
        self._text += self._captured.readouterr().err
        return self._text


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Captured:
    return Captured(capsys)


def written(stream: Captured) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_in_zaps_form(stderr: Captured) -> None:
    configure_logging("info", ["stderr"])
    logger.bind(gid="g1", branch_id="01").warning("called {} in {{}}", "http://a/{b}")
    [line] = written(stderr)
    moment = datetime.fromisoformat(line.pop("ts"))
    assert abs((datetime.now(moment.tzinfo) - moment).total_seconds()) < 60
    assert line.pop("caller").startswith("telemetry/test_log_output.py:")
    assert line == {"level": "warn", "msg": "called http://a/{b} in {}", "gid": "g1", "branch_id": "01"}
    assert stderr.getvalue().startswith('{"level":"warn","ts":"')


def test_only_the_level_and_above(stderr: Captured) -> None:
    configure_logging("warn", ["stderr"])
    for write in (logger.debug, logger.info, logger.warning, logger.error, logger.critical):
        write("x")
    assert [line["level"] for line in written(stderr)] == ["warn", "error", "error"]


def test_an_error_comes_with_its_trace_but_without_values(stderr: Captured) -> None:
    configure_logging("info", ["stderr"])
    password = "hunter2"
    try:
        raise ValueError(f"bad length {len(password)}")
    except ValueError as error:
        logger.opt(exception=error).error("it failed")
    [line] = written(stderr)
    assert line["error"] == "ValueError('bad length 7')"
    assert line["stacktrace"].startswith("Traceback")
    assert "hunter2" not in stderr.getvalue()


def test_a_field_cannot_pretend_to_be_the_level(stderr: Captured) -> None:
    configure_logging("info", ["stderr"])
    logger.bind(level="error", msg="other").info("x")
    [line] = written(stderr)
    assert (line["level"], line["msg"]) == ("info", "x")


@pytest.mark.parametrize("value", [2**70, "\ud800", object(), {1: 2}, b"\xff", {3}])
def test_a_field_that_is_no_json_does_not_lose_the_line(stderr: Captured, value: object) -> None:
    configure_logging("info", ["stderr"])
    logger.bind(odd=value).info("x")
    [line] = written(stderr)
    assert line["msg"] == "x"
    assert "odd" in line


def test_a_new_line_in_a_message_makes_no_second_line(stderr: Captured) -> None:
    configure_logging("info", ["stderr"])
    logger.info("{}", 'a\n{"level":"error"}')
    assert len(written(stderr)) == 1


def test_a_terminal_gets_readable_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging("info", ["stderr"])
    logger.bind(gid="g1").info("rolling back <red>{}</red>", "{x}")
    logger.remove()
    text = stream.getvalue()
    assert "info" in text
    assert "rolling back <red>{x}</red>" in text
    assert "gid=g1" in text
    assert "\x1b[" in text


def test_what_libraries_write_comes_along(stderr: Captured) -> None:
    configure_logging("debug", ["stderr"])
    logging.getLogger("some.library").warning("from %s {x} <b>", "there")
    logging.getLogger("some.library").debug("byte by byte")
    logging.getLogger("grpclib.server").info("Request was cancelled")
    [line] = written(stderr)
    assert line["msg"] == "from there {x} <b>"
    assert line["level"] == "warn"
    assert line["caller"].startswith("telemetry/test_log_output.py:")


def test_warnings_come_along(stderr: Captured) -> None:
    configure_logging("info", ["stderr"])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("careful", stacklevel=1)
    assert any("careful" in line["msg"] for line in written(stderr))


def test_a_client_that_speaks_no_http_is_no_news(stderr: Captured) -> None:
    configure_logging("info", ["stderr"])
    server = logging.getLogger("aiohttp.server")
    server.error("Error handling request", exc_info=BadStatusLine("x"))
    server.error("Unhandled exception", exc_info=RuntimeError("ours"))
    assert [line["msg"] for line in written(stderr)] == ["Unhandled exception"]


def test_several_outputs_and_none_twice(stderr: Captured, tmp_path: Path) -> None:
    file = tmp_path / "logs" / "dtm.log"
    configure_logging("info", ["stderr", str(file), "stderr", str(file)])
    logger.info("x")
    logger.remove()
    assert len(written(stderr)) == 1
    assert len(file.read_text().splitlines()) == 1


def test_a_file_is_appended_to(stderr: Captured, tmp_path: Path) -> None:
    file = tmp_path / "dtm.log"
    for text in ("one", "two"):
        configure_logging("info", [str(file)])
        logger.info(text)
        logger.remove()
    assert [json.loads(line)["msg"] for line in file.read_text().splitlines()] == ["one", "two"]
    assert stderr.getvalue() == ""


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path) -> None:
    file = tmp_path / "dtm.log"
    outputs = configure_logging("info", [str(file)])
    logger.info("one")
    outputs.flush(5)
    file.rename(tmp_path / "dtm.log.1")
    logger.info("two")
    logger.remove()
    assert json.loads(file.read_text())["msg"] == "two"


def test_a_file_that_cannot_be_written_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (tmp_path, tmp_path / "file" / "dtm.log"):
        with pytest.raises(StartError) as raised:
            configure_logging("info", [str(bad)])
        assert raised.value.message.startswith(f"the log file {bad} cannot be written: ")
        assert "Log.Outputs" in raised.value.hint


def test_a_file_rotates_and_only_the_newest_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "dtm.log"
    configure_logging("info", [str(file)], rotation={"maxsize": 1, "maxbackups": 2, "compress": True})
    for _ in range(5):
        logger.info("{}", "x" * 600_000)
    logger.remove()
    rotated = sorted(path.name for path in tmp_path.iterdir() if path != file)
    assert len(rotated) == 2
    assert all(name.endswith(".gz") for name in rotated)


def test_a_debug_line_that_is_not_shown_formats_nothing(stderr: Captured) -> None:
    class Expensive:
        def __format__(self, form: str) -> str:
            raise AssertionError

    configure_logging("info", ["stderr"])
    logger.debug("{}", Expensive())
    assert stderr.getvalue() == ""
