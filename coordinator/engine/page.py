"""What one look of recovery has found and decided, until it is written."""

from dataclasses import dataclass, field
from datetime import datetime

from coordinator.engine.entry import Entry
from coordinator.engine.shelf import Known
from coordinator.store.base import Claim, Deferral


@dataclass(slots=True)
class Page:
    """What one look decided, at one moment. began: the same, monotonic. size: how many rows at most."""

    now: datetime
    began: float
    size: int
    claims: dict[int, tuple[Claim, Entry]] = field(default_factory=dict)  # by row id
    deferrals: list[Deferral] = field(default_factory=list)
    expected: dict[str, int] = field(default_factory=dict)  # claims by endpoint
    again: int = 0  # rows that were deferred once more, as they were left
    wanted: int = 0  # rows that were asked for before their time
    taken: list[Known] = field(default_factory=list)  # from the shelf
    together: dict[str, datetime] = field(default_factory=dict)  # when many of an endpoint are due again
    is_house_full: bool = False
    has_looked: bool = False  # in the store; else what was at hand filled the room

    @property
    def second(self) -> datetime:
        """Columns hold whole seconds: what is due now was due when this one began."""
        return self.now.replace(microsecond=0)

    def is_mostly_again(self, found: int) -> bool:
        """Whether most of what was found is deferred once more."""
        return 2 * self.again > found
