"""go-zero's Log section of a branch."""

import gzip
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from branches.logs import configure_service_logging
from branches.settings import LogSection
from coordinator.errors import StartError
from coordinator.telemetry.log import log
from tests.support.logs import logging_as_before


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    with logging_as_before():
        yield


def section(**values: Any) -> LogSection:
    return LogSection.model_validate({key.lower(): value for key, value in values.items()})


def messages(file: Path) -> list[str]:
    return [json.loads(line)["msg"] for line in file.read_text().splitlines()]


def write_every_level() -> None:
    for write in (log.debug, log.info, log.stat, log.slow, log.warning, log.error, log.alert, log.severe):
        write(write.__name__)
    logger.remove()


def test_on_the_console_as_json_unless_it_is_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure_service_logging(section(), "user.rpc")
    log.info("hello", gid="g1")
    logger.remove()
    assert json.loads(capsys.readouterr().err)["gid"] == "g1"
    configure_service_logging(section(Encoding="plain"), "user.rpc")
    log.info("hello", gid="g1")
    logger.remove()
    assert "hello gid=g1" in capsys.readouterr().err


def test_each_kind_has_its_file_as_in_go_zero(tmp_path: Path) -> None:
    configure_service_logging(section(Mode="file", Path=str(tmp_path), Level="debug"), "user.rpc")
    write_every_level()
    assert messages(tmp_path / "access.log") == ["debug", "info", "warning"]
    assert messages(tmp_path / "error.log") == ["error", "alert"]
    assert messages(tmp_path / "severe.log") == ["severe"]
    assert messages(tmp_path / "slow.log") == ["slow"]
    assert messages(tmp_path / "stat.log") == ["stat"]


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("info", {"access.log": 2, "stat.log": 1, "slow.log": 1, "error.log": 2, "severe.log": 1}),
        ("error", {"access.log": 1, "stat.log": 0, "slow.log": 1, "error.log": 2, "severe.log": 1}),
        ("severe", {"access.log": 0, "stat.log": 0, "slow.log": 0, "error.log": 0, "severe.log": 1}),
    ],
)
def test_a_level_is_the_least_that_is_written(tmp_path: Path, level: str, written: dict[str, int]) -> None:
    configure_service_logging(section(Mode="file", Path=str(tmp_path), Level=level), "user.rpc")
    write_every_level()
    assert {file: len(messages(tmp_path / file)) for file in written} == written


def test_a_volume_keeps_services_and_machines_apart(tmp_path: Path) -> None:
    configure_service_logging(section(Mode="volume", Path=str(tmp_path)), "user.rpc")
    log.info("hello")
    logger.remove()
    assert messages(tmp_path / "user.rpc" / socket.gethostname() / "access.log") == ["hello"]
    configure_service_logging(section(Mode="volume", Path=str(tmp_path), ServiceName="other"), "user.rpc")
    assert (tmp_path / "other" / socket.gethostname()).is_dir()


def test_a_file_rotates_by_size_and_old_ones_are_packed_and_cleared_away(tmp_path: Path) -> None:
    rotation = {"Rotation": "size", "MaxSize": 1, "MaxBackups": 2, "Compress": True}
    configure_service_logging(section(Mode="file", Path=str(tmp_path), **rotation), "user.rpc")
    for number in range(5):
        log.info("{} {}", number, "x" * 600_000)
    logger.remove()
    packed = sorted(tmp_path.glob("access.*.gz"))
    assert len(packed) == 2
    assert json.loads(gzip.decompress(packed[-1].read_bytes()).splitlines()[0])["level"] == "info"


def test_a_stack_is_written_as_often_as_the_cool_down_says(tmp_path: Path) -> None:
    configure_service_logging(section(Mode="file", Path=str(tmp_path), StackCooldownMillis=0), "user.rpc")
    for _ in range(3):
        log.stack("here")
    logger.remove()
    assert messages(tmp_path / "error.log") == ["here"] * 3


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError) as raised:
        configure_service_logging(section(Mode="file", Path=str(tmp_path / "file")), "user.rpc")
    assert "access.log cannot be written" in raised.value.message
    assert "Log.Path" in raised.value.hint


def test_no_secret_of_the_yaml_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    configure_service_logging(section(), "user.rpc", ("hunter2",))
    log.info("the password is hunter2")
    assert "hunter2" not in capsys.readouterr().err
    assert sys.stderr is not None
