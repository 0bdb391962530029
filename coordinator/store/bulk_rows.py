"""An action asked of many transactions, as rows of `dtm_bulk`, `dtm_bulk_item`, `dtm_bulk_result`. Pure.

The items are fixed before it begins, so that what a filter finds later changes nothing. A result is inserted
in the commit of what it tells of: that its key is taken keeps anybody from doing an item twice.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from coordinator.model import EPOCH
from coordinator.store.own_rows import OwnRow

RESULTS: Final = "dtm_bulk_result"
SAID_MAX: Final = 255  # characters
LEASE: Final = timedelta(seconds=10)  # for which whoever works on it has it, by the database's clock
MAKING: Final = timedelta(seconds=120)  # in which its items must have been stored

_RESULT_COLUMNS: Final = ("bulk", "number", "result", "said", "at")


class State(StrEnum):
    """Where a job is."""

    MAKING = "making"  # its items are being stored; nothing has been done
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"  # every item has a result
    CANCELLED = "cancelled"  # the rest of its items is left alone

    @property
    def is_final(self) -> bool:
        """Whether it stays so."""
        return self in (State.DONE, State.CANCELLED)


UNFINISHED: Final = (State.MAKING, State.RUNNING, State.PAUSED)


class ItemResult(StrEnum):
    """How it went with one transaction."""

    DONE = "done"
    NOT_ELIGIBLE = "not_eligible"  # its state does not allow it
    REFUSED = "refused"  # it is not theirs who asked
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Counts:
    """How many items have which result."""

    done: int = 0
    not_eligible: int = 0
    refused: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """Items that have one."""
        return self.done + self.not_eligible + self.refused + self.failed


@dataclass(frozen=True, slots=True)
class Job:
    """One row. filter: as it was given. id_max: no newer transaction is among the items. Times are aware.

    rate: items a second. who, method, address: who asked. gid_prefix: of the gids that are theirs. needs: the
    permission that they had. source: the job whose failed items these are. owner: which run of which
    coordinator works on it, until `until`. passed: all items up to this number have a result. counts: as
    last written.
    """

    action: str
    filter: str
    id_max: int
    items: int
    rate: int
    reason: str
    who: str
    method: str
    address: str
    gid_prefix: str
    needs: str
    source: int | None = None
    state: State = State.MAKING
    owner: str = ""
    until: datetime = EPOCH
    passed: int = 0
    counts: Counts = Counts()
    made: datetime = EPOCH
    ended: datetime | None = None
    id: int = 0  # 0 before it is stored

    @property
    def waiting(self) -> int:
        """Items without a result."""
        return self.items - self.counts.total


@dataclass(frozen=True, slots=True)
class Item:
    """One transaction. number: counts from 1. trans_id: of its row. result: None while it waits."""

    number: int
    gid: str
    trans_id: int
    result: ItemResult | None = None
    said: str = ""
    at: datetime | None = None


def result_row(job_id: int, number: int, result: ItemResult, said: str, at: datetime) -> OwnRow:
    """The row of one result. at: aware."""
    return OwnRow(RESULTS, _RESULT_COLUMNS, (job_id, number, result.value, _fitting(said), at))


def _fitting(text: str) -> str:
    clean = "".join([it if it.isprintable() else "�" for it in text])
    return clean if len(clean) <= SAID_MAX else clean[: SAID_MAX - 1] + "…"
