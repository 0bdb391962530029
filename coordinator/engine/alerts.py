"""Alerts: a branch that goes on failing is reported, and later that its transaction ended (PROTOCOL §9).

What must outlive a coordinator stands in the row, in ext_data: how many rounds have failed in a row, and that
an alert was given. A Go server that shares the database passes over keys that it does not know (see
telemetry.trace_context).
"""

from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from coordinator.telemetry.log import log

_ALERTED: Final = "alerted"
_MARKED: Final = f'"{_ALERTED}":true'
_FAILED_ROUNDS: Final = "failed_rounds"
_FAILED_ROUNDS_MAX: Final = 2**31 - 1  # any number may stand in a row


def is_marked(ext_data: str) -> bool:
    """Whether an alert was given of the transaction that has this ext_data."""
    return _MARKED in ext_data


def failed_rounds(ext_data: str) -> int:
    """How many rounds in a row have failed, as far as this ext_data tells."""
    if _FAILED_ROUNDS not in ext_data:
        return 0
    count = (_parsed(ext_data) or {}).get(_FAILED_ROUNDS)
    return min(count, _FAILED_ROUNDS_MAX) if type(count) is int and count > 0 else 0


def noted(ext_data: str, *, failed: int, alerted: bool) -> str:
    """The same ext_data with so many failed rounds, and that an alert was given where it was.

    Unchanged when another program wrote what is no JSON object.
    """
    found = _parsed(ext_data)
    if found is None:
        return ext_data
    kept = {name: value for name, value in found.items() if name != _FAILED_ROUNDS}
    if failed:
        kept[_FAILED_ROUNDS] = failed
    if alerted:
        kept[_ALERTED] = True
    return orjson.dumps(kept).decode() if kept else ""


def without_notes(ext_data: str) -> str:
    """The same ext_data as clients know it, who are not told how often something failed."""
    if _FAILED_ROUNDS not in ext_data and not is_marked(ext_data):
        return ext_data
    found = _parsed(ext_data)
    if found is None:
        return ext_data
    kept = {name: value for name, value in found.items() if name not in (_FAILED_ROUNDS, _ALERTED)}
    return orjson.dumps(kept).decode() if kept else ""


def _parsed(ext_data: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(ext_data or "{}")
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True)
class Alert:
    """What is posted. status: of the transaction. branch and error are empty when it has ended."""

    gid: str
    status: str
    branch: str = ""  # its url
    error: str = ""
    retry_count: int = 0  # rounds that failed in a row


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
    )
