"""A test that could not run is named at the end, and fails a CI run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

CONFTEST = """
from tests.support.could_not_run import (
    pytest_collectreport, pytest_runtest_logreport, pytest_sessionfinish, pytest_terminal_summary,
)
"""
TESTS = """
import pytest

def test_runs():
    pass

def test_needs_a_server():
    pytest.skip("mariadb: mariadbd not found; install mariadb-server")

def test_asks_somebody_elses_server():
    pytest.skip("not asked for: DTM_REFERENCE_URL names no Go dtm server")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_example.py").write_text(TESTS)
    return tmp_path


def run(folder: Path, *arguments: str, ci: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={folder}", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_named_at_the_end_with_the_reason(folder: Path):
    done = run(folder, ci="")
    assert done.returncode == 0
    assert "could not run: mariadb: mariadbd not found; install mariadb-server" in done.stdout
    assert "test_example.py::test_needs_a_server" in done.stdout


def test_it_fails_a_ci_run(folder: Path):
    done = run(folder, ci="true")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "CI=true: this fails the run." in done.stdout


def test_a_run_without_any_is_not_disturbed(folder: Path):
    done = run(folder, "-k", "test_runs", ci="true")
    assert done.returncode == 0
    assert "could not run" not in done.stdout


def test_what_must_be_asked_for_is_named_and_fails_nothing(folder: Path):
    done = run(folder, "-k", "not needs_a_server", ci="true")
    assert done.returncode == 0
    assert "not asked for: DTM_REFERENCE_URL names no Go dtm server" in done.stdout
    assert "test_example.py::test_asks_somebody_elses_server" in done.stdout
    assert "this fails the run" not in done.stdout
