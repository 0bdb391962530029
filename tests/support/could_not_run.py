"""pytest hooks: nothing is skipped silently.

Whatever was skipped is named under "could not run" at the end; with CI=true in the environment that fails
the run, but for what must be asked for (a server of somebody else's).
"""

import os
from typing import Final, cast

import pytest

NOT_ASKED_FOR: Final = "not asked for: "  # begins the reason of a skip that is nobody's trouble

_could_not_run: list[tuple[str, str]] = []  # what, why


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _could_not_run.append((report.nodeid, reason.removeprefix("Skipped: ")))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a skipped test."""
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a skipped module."""
    _note(report)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run under CI when something could not run."""
    if (
        any(_is_trouble(why) for _, why in _could_not_run)
        and in_ci()
        and session.exitstatus == pytest.ExitCode.OK
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: object) -> None:
    """Name what could not run, grouped by reason."""
    if not _could_not_run:
        return
    reporter = cast("pytest.TerminalReporter", terminalreporter)
    trouble = any(_is_trouble(why) for _, why in _could_not_run)
    reporter.section("could not run", red=trouble and in_ci(), yellow=not (trouble and in_ci()))
    for reason in sorted({reason for _, reason in _could_not_run}):
        reporter.write_line(f"could not run: {reason}" if _is_trouble(reason) else reason)
        for name in (name for name, why in _could_not_run if why == reason):
            reporter.write_line(f"    {name}")
    if trouble and in_ci():
        reporter.write_line("CI=true: this fails the run.")


def _is_trouble(reason: str) -> bool:
    return not reason.startswith(NOT_ASKED_FOR)


def in_ci() -> bool:
    """Return whether a test that could not run is a failure."""
    return os.environ.get("CI", "").lower() in {"true", "1"}
