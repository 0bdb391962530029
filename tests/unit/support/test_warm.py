"""A coordinator that is forked is one like any other."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator import __version__
from tests.support.under_test import CoordinatorProcess, process_environment
from tests.support.warm import Warm


@pytest.fixture(scope="module")
def warm() -> Warm:
    return Warm(process_environment(None))


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(tmp_path / "coordinator")
    yield process
    process.close()


def test_it_has_its_arguments_its_output_and_its_exit_code(warm: Warm, tmp_path: Path) -> None:
    for words, code, printed in ((["-v"], 0, __version__), (["-c", "absent.yml"], 2, "absent.yml")):
        with (tmp_path / "output").open("wb") as output:
            child = warm.start(words, tmp_path, output.fileno())
            assert child.wait() == code == child.poll()
        assert printed in (tmp_path / "output").read_text(encoding="utf-8")


def test_it_runs_until_it_is_killed_and_can_be_started_again(coordinator: CoordinatorProcess) -> None:
    first = coordinator.start().pid
    assert os.getpgid(first) == os.getpgid(0)
    coordinator.send_signal(signal.SIGKILL)
    assert coordinator.wait(10) == -signal.SIGKILL
    assert coordinator.start().pid != first
    assert coordinator.stop() == 0
    assert not coordinator.is_running


def test_a_wait_for_one_that_goes_on_has_an_end(warm: Warm, coordinator: CoordinatorProcess) -> None:
    with Path(os.devnull).open("wb") as output:
        child = warm.start(["-c", str(coordinator.configuration_file)], Path.cwd(), output.fileno())
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0)
        child.kill()
        assert child.wait() == -signal.SIGKILL


def test_one_with_an_environment_of_its_own_is_not_forked(warm: Warm) -> None:
    assert warm.can_start(process_environment(None))
    assert not warm.can_start(process_environment({"TZ": "Asia/Shanghai"}))
