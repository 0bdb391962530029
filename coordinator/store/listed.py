"""What `all` asks for, and a page of it (PROTOCOL §3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from coordinator.model import Transaction


@dataclass(frozen=True, slots=True)
class Filter:
    """What `all` lists (PROTOCOL §3). Empty and None mean any; with a gid the others are ignored."""

    gid: str = ""
    status: str = ""
    trans_type: str = ""
    create_time_start: datetime | None = None
    create_time_end: datetime | None = None
    limit: int = 100  # rows, at least 1
    before_id: int | None = None  # only rows with a smaller id


@dataclass(frozen=True, slots=True)
class Listed:
    """One page, the newest first. before_id: where the next one begins; None after the last.

    A page may be short, and even empty, although there are more: it has looked at so many rows.
    """

    rows: Sequence[Transaction]
    before_id: int | None = None
