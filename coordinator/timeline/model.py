"""A transaction as it is drawn and listed: lanes of marks, in words already."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class Shape(StrEnum):
    """What a mark says, by its form as well as by its colour."""

    BEGUN = "begun"
    REGISTERED = "registered"  # a branch of which its client has told
    DONE = "done"
    FAILED = "failed"  # refused, or nothing came
    ONGOING = "ongoing"
    UNDONE = "undone"
    ENDED = "ended"
    FORECAST = "forecast"  # called next, if all succeeds
    AGAIN = "again"  # called again, if it goes on as it does

    @property
    def is_ahead(self) -> bool:
        """Whether it has not happened yet."""
        return self in (Shape.FORECAST, Shape.AGAIN)


GLYPHS: Final[Mapping[Shape, str]] = {
    Shape.BEGUN: "│",
    Shape.REGISTERED: "○",
    Shape.DONE: "●",
    Shape.FAILED: "✕",
    Shape.ONGOING: "◐",
    Shape.UNDONE: "▲",
    Shape.ENDED: "■",
    Shape.FORECAST: "▢",
    Shape.AGAIN: "▢",
}

Place = tuple[datetime, int, int]  # a moment; the order among steps, and within one, in the same second


@dataclass(frozen=True, slots=True)
class Mark:
    """What happened to a lane, or is expected to.

    at, until: the first and the last of what is counted as one; aware. order: see Place. label: what stands
    beside it, may be empty. sentence: all of it, with who is meant, without the time.
    """

    shape: Shape
    at: datetime
    until: datetime
    order: tuple[int, int]
    label: str
    sentence: str

    @property
    def place(self) -> Place:
        """Where it begins among all others."""
        return (self.at, *self.order)

    @property
    def last_place(self) -> Place:
        """Where it ends."""
        return (self.until, *self.order)


@dataclass(frozen=True, slots=True)
class Lane:
    """One branch, forward or back. number: its branch_id. note: what is said where nothing has happened.

    is_waiting: it is to be called again, so that the time since its last mark is time that it waits.
    """

    number: str
    name: str
    marks: tuple[Mark, ...] = ()
    note: str = ""
    is_waiting: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """One transaction. Every mark that is not ahead is at `now` at the latest, every other not before it.

    above: what goes forward, in order. below: what undoes it, the other way round. axis: the transaction
    itself. folded_above, folded_below: a sentence about the lanes that are left out, if there are any.
    """

    summary: str
    now: datetime
    axis: Lane
    above: tuple[Lane, ...]
    below: tuple[Lane, ...]
    folded_above: str = ""
    folded_below: str = ""
    nothing_below: str = ""  # said instead of lanes

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """All of them, the axis first."""
        return (self.axis, *self.above, *self.below)
