"""The record of who changed what: one row for each, in the same commit as what it tells of. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from coordinator.store.limits import GID_MAX, NAME_MAX, TEXT_MAX
from coordinator.store.own_rows import OwnRow

TABLE: Final = "dtm_audit"
DONE: Final = "done"
REFUSED: Final = "refused"

_COLUMNS: Final = (
    *("at", "who", "method", "address", "coordinator", "action", "target", "reason", "was", "became"),
    "outcome",
)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. method: how that is known. address: where they are."""

    who: str
    method: str
    address: str = ""


NOBODY: Final = Actor("nobody", "none")  # this program itself, or a test


@dataclass(frozen=True, slots=True)
class Record:
    """What was done, or refused. target: a gid, a topic, a filter. was, became: the state, for people."""

    action: str
    target: str
    reason: str = ""
    was: str = ""
    became: str = ""
    outcome: str = DONE


def audit_row(actor: Actor, record: Record, *, at: datetime, coordinator: str = "") -> OwnRow:
    """The row of it. at: aware. coordinator: the instance's name; empty for a command."""
    values = (
        at,
        _fitting(actor.who, GID_MAX),
        _fitting(actor.method, NAME_MAX),
        _fitting(actor.address, GID_MAX),
        _fitting(coordinator, GID_MAX),
        _fitting(record.action, NAME_MAX),
        _fitting(record.target, TEXT_MAX),
        _fitting(record.reason, TEXT_MAX),
        _fitting(record.was, TEXT_MAX),
        _fitting(record.became, TEXT_MAX),
        _fitting(record.outcome, TEXT_MAX),
    )
    return OwnRow(TABLE, _COLUMNS, values)


def _fitting(text: str, characters_max: int) -> str:
    """What a column takes, on one line: a record is never refused for the words in it."""
    clean = "".join([it if it.isprintable() else "�" for it in text])
    return clean if len(clean) <= characters_max else clean[: characters_max - 1] + "…"
