"""Lines of a coordinator inside of a program: by the program's own logging, and nowhere else."""

import asyncio
import logging

import pytest

from coordinator.telemetry.log import log, written_by
from coordinator.telemetry.log_of_host import HostLog
from coordinator.telemetry.secrets import Secrets

NAME = "tests.of_host"


@pytest.fixture
def host(caplog: pytest.LogCaptureFixture) -> HostLog:
    caplog.set_level(logging.INFO, NAME)
    return HostLog(logging.getLogger(NAME), Secrets(["hunter22"]).hidden)


def test_a_line_has_its_level_fields_and_place_and_no_secret(
    host: HostLog, caplog: pytest.LogCaptureFixture
) -> None:
    with written_by(host):
        log.debug("unseen")
        log.info("rolling back: {}", "no {pear} for hunter22", gid="g1")
        log.slow("a call took its time: 5 {braces}")
        log.with_fields(branch="01").error("broke off", exception=ValueError("x"))
    assert [(it.levelname, it.message) for it in caplog.records] == [
        ("INFO", "rolling back: no {pear} for … gid=g1"),
        ("WARNING", "a call took its time: 5 {braces}"),
        ("ERROR", "broke off branch=01"),
    ]
    assert {it.filename for it in caplog.records} == {"test_log_of_host.py"}
    assert caplog.records[2].exc_info is not None


async def test_tasks_that_begin_in_the_block_write_there_and_nobody_else(
    host: HostLog, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    may_write = asyncio.Event()

    async def later() -> None:
        await may_write.wait()
        log.info("of the coordinator")

    with written_by(host):
        task = asyncio.create_task(later())
    log.info("of the program")
    may_write.set()
    await task
    assert [it.message for it in caplog.records if it.name == NAME] == ["of the coordinator"]
