"""Alerts: a branch that goes on failing is reported, and later that its transaction ended (PROTOCOL §9).

That an alert was given stands in the row (coordinator.backoff), so that it outlives a coordinator.
"""

from dataclasses import dataclass
from typing import Protocol

from coordinator.telemetry.log import log


@dataclass(frozen=True, slots=True)
class Alert:
    """What is posted. status: of the transaction. branch, error and code are empty when it has ended."""

    gid: str
    status: str
    branch: str = ""  # its url
    error: str = ""
    retry_count: int = 0  # rounds that failed in a row
    code: str = ""  # of the reason, by which the run-book knows it


class Alerts(Protocol):
    """Who is told. Called on the event loop: never waits, never raises."""

    def failing(self, alert: Alert) -> None:
        """A branch failed as often as AlertRetryLimit, or more often."""
        ...

    def ended(self, gid: str, status: str, *, was_reported: bool) -> None:
        """A transaction is final. was_reported: its row says that an alert was given, whoever gave it."""
        ...


class LoggedAlerts:
    """No web hook: the log alone."""

    def failing(self, alert: Alert) -> None:
        """See Alerts."""
        say(alert)

    def ended(self, gid: str, status: str, *, was_reported: bool) -> None:
        """See Alerts."""


def say(alert: Alert) -> None:
    """Write the alert to the log."""
    log.alert(
        "{} failed {} times in a row: {}",
        alert.branch,
        alert.retry_count,
        alert.error,
        gid=alert.gid,
        retry_count=alert.retry_count,
        code=alert.code,
    )
