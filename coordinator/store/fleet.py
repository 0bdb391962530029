"""Which coordinators share a store, and which of them may take work (PROTOCOL §9, §14). Pure.

Each has one row, found by its name and written anew every few seconds. Ages are reckoned by the database's
clock, in UTC, so that neither the coordinators' clocks nor the setting that is compared can mislead.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

BEAT_SECONDS: Final = 5.0  # between two writes of a coordinator's own row
ALIVE: Final = timedelta(seconds=30)  # one that was seen within this counts as running
FORGOTTEN: Final = timedelta(days=1)  # the row of one that was not is removed


@dataclass(frozen=True, slots=True)
class Node:
    """One run of one coordinator.

    token: tells this run from every other one, of the same name too. settings: by their key in conf.yml,
    those that all who share the store must have alike.
    """

    name: str
    token: str
    address: str
    version: str
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """A coordinator as its row says. started, last_seen: aware, by the database's clock."""

    node: Node
    started: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class Roll:
    """Every row, and the database's time at which they were read."""

    now: datetime
    seen: Sequence[Seen]

    def alive(self) -> Sequence[Seen]:
        """Those that run, as far as is known."""
        return [seen for seen in self.seen if self.now - seen.last_seen <= ALIVE]

    def named(self, name: str) -> Seen | None:
        """The row of that name."""
        return next((seen for seen in self.seen if seen.node.name == name), None)

    def has_forgotten(self) -> bool:
        """Whether there are rows to be removed."""
        return any(self.now - seen.last_seen > FORGOTTEN for seen in self.seen)


def may_write(me: Node, roll: Roll) -> bool:
    """Whether this run may write the row of its name: it is its own, nobody's, or a dead one's."""
    row = roll.named(me.name)
    return row is None or row.node.token == me.token or row not in roll.alive()


def why_not_start(me: Node, roll: Roll) -> tuple[str, str]:
    """Why this run must not begin, and what to do about it; empty texts when it may.

    One of the same name does not keep it from starting: mostly that is its own earlier run, which died.
    """
    differing = _differing(me, (seen for seen in roll.alive() if seen.node.token != me.token))
    if differing is None:
        return "", ""
    other, key = differing
    theirs = other.node.settings[key]
    return (
        f"{key} is {me.settings[key]} in coordinator {me.name} at {me.address}, but {theirs}"
        f" in coordinator {other.node.name} at {other.node.address}, which shares its database and was seen"
        f" {_seconds(roll.now - other.last_seen)} s ago",
        f"set {key} alike in both, or stop {other.node.name} first;"
        f" one that has died is forgotten after {_seconds(ALIVE)} s",
    )


def why_not_reset(roll: Roll) -> tuple[str, str]:
    """Why the tables must not be dropped, and what to do about it; empty texts when they may be."""
    alive = roll.alive()
    if not alive:
        return "", ""
    others = ", ".join(
        f"{seen.node.name} at {seen.node.address} (seen {_seconds(roll.now - seen.last_seen)} s ago)"
        for seen in alive
    )
    return (
        f"nothing was reset: the database is in use by {others}",
        f"stop it, then start with -r; one that has died is forgotten after {_seconds(ALIVE)} s",
    )


def why_no_work(me: Node, began: datetime, roll: Roll) -> str:
    """Why this run, which began then, must take no more work; empty when it may.

    Of two that cannot both work, the one that began later goes on.
    """
    row = roll.named(me.name)
    if row is not None and not may_write(me, roll):
        return (
            f"another coordinator, at {row.node.address}, uses the name {me.name} and began later;"
            " give each an InstanceName of its own and restart both"
        )
    later = (
        seen
        for seen in roll.alive()
        if seen.node.name != me.name and (seen.started, seen.node.token) > (began, me.token)
    )
    if (differing := _differing(me, later)) is None:
        return ""
    other, key = differing
    return (
        f"{key} is {me.settings[key]} here at {me.address}, but {other.node.settings[key]} in coordinator"
        f" {other.node.name} at {other.node.address}, which shares the database and began later;"
        f" set {key} alike in both and restart them"
    )


def _differing(me: Node, others: Iterable[Seen]) -> tuple[Seen, str] | None:
    """The first of the others that has a setting otherwise, and which; what it does not name counts alike."""
    for other in others:
        for key, value in me.settings.items():
            if other.node.settings.get(key, value) != value:
                return other, key
    return None


def _seconds(span: timedelta) -> str:
    return f"{max(span.total_seconds(), 0):.0f}"
