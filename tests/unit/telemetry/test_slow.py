"""Slow calls are said, and not more often than a log can bear."""

from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from coordinator.telemetry.slow import LINES_MAX, PERIOD_SECONDS, Slow


@pytest.fixture
def written() -> Iterator[list[Any]]:
    logger.remove()
    lines: list[Any] = []
    number = logger.add(lambda message: lines.append(message.record), format="{message}")
    yield lines
    logger.remove(number)


def test_a_slow_call_is_one_line_with_its_duration(written: list[Any]) -> None:
    slow = Slow("a branch took its time", 0.5)
    assert slow.seconds == 0.5
    slow.said(0.75, gid="g1")
    [record] = written
    assert record["message"] == "a branch took its time"
    assert record["level"].name == "SLOW"
    assert record["extra"] == {"duration": "750.0ms", "gid": "g1"}


def test_a_limit_of_zero_is_never() -> None:
    assert Slow("x", 0).seconds == float("inf")


def test_only_so_many_lines_a_period_and_the_rest_is_counted(written: list[Any]) -> None:
    now = 0.0
    slow = Slow("x", 0.1, monotonic=lambda: now)
    for _ in range(LINES_MAX + 7):
        slow.said(1.0)
    assert len(written) == LINES_MAX
    now = PERIOD_SECONDS
    slow.said(1.0)
    slow.said(1.0)
    assert [record["extra"].get("left_out") for record in written[LINES_MAX:]] == [7, None]
