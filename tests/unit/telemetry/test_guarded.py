"""A full disk and a closed pipe lose lines, and say so; they stop nothing."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from coordinator.telemetry.guarded import Guarded
from coordinator.telemetry.log import log
from coordinator.telemetry.log_output import configure_logging
from tests.support.logs import logging_as_before


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    with logging_as_before():
        logger.remove()
        yield


class Moody:
    """An output that can be full."""

    def __init__(self) -> None:
        self.full = False
        self.written: list[str] = []

    def write(self, message: str) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.written.append(message)


def test_lost_lines_are_counted_and_said_when_there_is_room_again() -> None:
    output = Moody()
    sink = Guarded(output, say_lost=lambda count, reason: f"({count} lost: {reason})\n")
    number = logger.add(sink, format="{message}")
    output.full = True
    log.info("one")
    log.info("two")
    output.full = False
    log.info("three")
    log.info("four")
    logger.remove(number)
    assert "".join(output.written) == "(2 lost: No space left on device)\nthree\nfour\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its file cannot be closed
def test_a_full_disk_stops_neither_the_program_nor_the_other_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tmp_path / "dtm.log"
    configure_logging("info", ["/dev/full", str(good)])
    for number in range(3):
        log.info("line {}", number)
    logger.remove()
    assert [json.loads(line)["msg"] for line in good.read_text().splitlines()] == [
        "line 0",
        "line 1",
        "line 2",
    ]
    assert capsys.readouterr().err == ""


def test_a_closed_pipe_stops_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as pipe:
        number = logger.add(
            Guarded(pipe, flush=pipe.flush, say_lost=lambda _count, _reason: ""), format="{message}"
        )
        log.info("nobody reads this")
        logger.remove(number)
        with pytest.raises(BrokenPipeError):
            pipe.flush()  # what is left in its buffer
        os.dup2(os.open(os.devnull, os.O_WRONLY), pipe.fileno())
