"""Attempts and stuck transactions, as a driver would have written them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from coordinator.attempt import Attempt, Kind, Stuck, place_of
from coordinator.model import Result, Status

AT = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
ODD = "it's \\ a; reason — für Ünïcode 中 🙂 '); DROP TABLE dtm_audit; --"
_ATTEMPT = Attempt(
    "", "01", "action", 0, 1, Result.UNKNOWN, Kind.STATUS, 500, "http://host:1/do", "http://host:1", ODD,
    "status 500: # of #", "here", AT, AT, 1.25, 1,
)  # fmt: skip
_STUCK = Stuck(
    "", "saga", Status.SUBMITTED, "01", "action", "http://host:1", Kind.STATUS, "status 500: # of #", ODD,
    "here", AT,
)  # fmt: skip


def attempt(gid: str, number: int = 1, **values: Any) -> Attempt:
    """The attempt of this number, in its place."""
    return replace(_ATTEMPT, gid=gid, number=number, place=place_of(number), **values)


def stuck(gid: str, **values: Any) -> Stuck:
    """One that is held up by an HTTP branch."""
    return replace(_STUCK, gid=gid, **values)
