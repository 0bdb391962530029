"""A full disk, a closed pipe and one that nobody reads lose lines, and say so; they stop nothing."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from coordinator.errors import StartError
from coordinator.telemetry import guarded, log_files
from coordinator.telemetry.guarded import Guarded, QueueMax
from coordinator.telemetry.log import log
from coordinator.telemetry.log_output import configure_logging
from tests.support.logs import logging_as_before


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    with logging_as_before():
        logger.remove()
        yield


def said(count: int, reason: str) -> str:
    return f"({count} lost: {reason})\n"


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
    sink = Guarded(output, say_lost=said)
    number = logger.add(sink, format="{message}")
    output.full = True
    log.info("one")
    log.info("two")
    assert sink.drain(5)
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
        logger.add(Guarded(pipe, flush=pipe.flush, say_lost=said), format="{message}")
        log.info("nobody reads this")
        logger.remove()
        with pytest.raises(BrokenPipeError):
            pipe.flush()  # what is left in its buffer
        os.dup2(os.open(os.devnull, os.O_WRONLY), pipe.fileno())


class Hanging:
    """An output that takes nothing until it is let go."""

    def __init__(self) -> None:
        self.is_asked = threading.Event()
        self.let_go = threading.Event()
        self.written: list[str] = []

    def write(self, message: str) -> None:
        self.is_asked.set()
        self.let_go.wait(120)
        self.written += message.splitlines(keepends=True)


def test_an_output_that_hangs_is_waited_for_by_nobody_and_what_was_lost_is_said_once() -> None:
    output = Hanging()
    sink = Guarded(output, say_lost=said, queue_max=QueueMax(lines=100))
    logger.add(sink, format="{message}")
    log.info("first")
    assert output.is_asked.wait(30)
    started = time.monotonic()
    for number in range(1000):
        log.info("{}", number)
    assert time.monotonic() - started < 60
    output.let_go.set()
    assert sink.drain(5)
    log.info("after")
    assert sink.drain(5)
    [notice] = [line for line in output.written if "lost" in line]
    assert notice == "(900 lost: nobody reads this output, or too slowly)\n"
    kept = [f"{number}\n" for number in range(100)]
    assert output.written == ["first\n", *kept, notice, "after\n"]


def test_what_waits_is_bounded_in_characters() -> None:
    output = Hanging()
    sink = Guarded(output, say_lost=said, queue_max=QueueMax(characters=10_000))
    for _ in range(1000):
        sink.say("x" * 999 + "\n")
    output.let_go.set()
    assert sink.drain(5)
    assert sum(len(line) for line in output.written if "lost" not in line) <= 10_000
    sink.stop()


def test_a_line_longer_than_the_queue_is_written_all_the_same() -> None:
    output = Moody()
    sink = Guarded(output, say_lost=said, queue_max=QueueMax(characters=10))
    sink.say("much longer than ten\n")
    sink.stop()
    assert output.written == ["much longer than ten\n"]


class Stepwise:
    """An output that takes as many writes as it is allowed to."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self.text = ""

    def write(self, message: str) -> None:
        self.allowed.acquire(timeout=30)
        self.text += message


@given(st.lists(st.one_of(st.integers(1, 12), st.just("take")), max_size=30), st.integers(1, 8))
def test_every_line_is_written_or_counted_in_its_place(steps: list[int | str], lines_max: int) -> None:
    output = Stepwise()
    sink = Guarded(output, say_lost=said, queue_max=QueueMax(lines=lines_max))
    count = 0
    for step in steps:
        if isinstance(step, str):
            output.allowed.release()
            continue
        for _ in range(step):
            sink.say(f"{count}\n")
            count += 1
    output.allowed.release(1000)
    assert sink.drain(10)
    sink.stop()
    expected = 0
    for line in output.text.splitlines():
        if found := re.match(r"\((\d+) lost", line):
            expected += int(found[1])
        else:
            assert line == str(expected)
            expected += 1
    assert expected == count


def test_the_end_waits_for_a_hanging_output_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "_STOP_SECONDS", 0.1)
    output = Hanging()
    logger.add(Guarded(output, say_lost=said), format="{message}")
    log.info("never written")
    logger.remove()
    assert output.written == []
    output.let_go.set()


def test_an_output_that_raises_something_unheard_of_goes_on() -> None:
    class Odd(Moody):
        def write(self, message: str) -> None:
            if self.full:
                raise RuntimeError("odd")
            super().write(message)

    output = Odd()
    sink = Guarded(output, say_lost=said)
    output.full = True
    sink.say("one\n")
    assert sink.drain(5)
    output.full = False
    sink.say("two\n")
    sink.stop()
    assert output.written == ["(1 lost: odd)\ntwo\n"]


PROGRAM = """
import os, sys
from coordinator.telemetry.log_output import configure_logging
from coordinator.telemetry.log import log
outputs = configure_logging("info", ["stderr"])
"""


def run(program: str, **how: int) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", PROGRAM + program], text=True, **how)


def test_the_last_lines_of_a_program_are_written_in_order_before_its_error() -> None:
    child = run("for n in range(500): log.info('{}', n)\noutputs.flush(5)\n1/0", stderr=subprocess.PIPE)
    _, text = child.communicate(timeout=30)
    lines = text.splitlines()
    assert [json.loads(line)["msg"] for line in lines[:500]] == [str(number) for number in range(500)]
    assert "ZeroDivisionError" in lines[-1]


def test_lines_that_nobody_waited_for_are_written_when_the_program_ends() -> None:
    child = run("for n in range(500): log.info('{}', n)", stderr=subprocess.PIPE)
    _, text = child.communicate(timeout=30)
    assert len(text.splitlines()) == 500
    assert child.returncode == 0


def test_a_program_whose_lines_nobody_reads_ends_by_itself() -> None:
    reading, writing = os.pipe()
    child = run("for n in range(5000): log.info('{}', n)\noutputs.flush(0.1)", stderr=writing)
    os.close(writing)
    try:
        assert child.wait(30) == 0
    finally:
        os.close(reading)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_after_a_fork_each_process_writes_its_own_lines_once() -> None:
    program = "log.info('before')\nchild = os.fork()\nlog.info('child' if child == 0 else 'parent')\n"
    program += "if child: os.waitpid(child, 0)\n"
    _, text = run(program, stderr=subprocess.PIPE).communicate(timeout=30)
    assert sorted(json.loads(line)["msg"] for line in text.splitlines()) == ["before", "child", "parent"]


def test_a_pipe_shared_with_one_who_made_it_non_blocking_loses_nothing() -> None:
    program = "os.set_blocking(2, False)\nfor n in range(3000): log.info('{}', n)"
    _, text = run(program, stderr=subprocess.PIPE).communicate(timeout=30)
    assert [json.loads(line)["msg"] for line in text.splitlines()] == [str(number) for number in range(3000)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_that_nobody_reads_is_one_clear_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "_OPEN_SECONDS", 0.2)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(StartError, match="does not open") as raised:
        configure_logging("info", [str(path)])
    assert "nobody reads" in raised.value.hint
    with path.open("rb") as reading:  # lets the thread go, which closes what it opened too late
        assert reading.read() == b""
