"""All that is asked of a store, in the engine's verbs. The contract tests run on each one and on the twin.

A write returns only after the commit that holds it (docs/architecture.md, promise 1). Writes raise
StoreUnavailable when the store did not confirm within `timeout` seconds; what was asked may then stand or
not, and asking again with the same owner token is safe. Owner tokens are fresh for each submit and claim, and
fence every later write.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from coordinator.light import light
from coordinator.model import EPOCH, Branch, BranchKey, BranchStatus, Options, Status, Transaction
from coordinator.store.listed import Filter, Listed
from coordinator.store.own_rows import OwnRow, OwnRowsOfCount, OwnWrite


@light
@dataclass(frozen=True, slots=True)
class Assign:
    """New values for columns of one global row; None leaves a column alone.

    The store itself writes update_time, finish_time (on succeed) and rollback_time (on failed).
    """

    status: Status | None = None
    owner: str | None = None  # "" when the driver lets go
    next_cron_interval: int | None = None  # seconds
    next_cron_time: datetime | None = None  # aware; stored in whole seconds, rounded up
    rollback_reason: str | None = None
    result: str | None = None
    options: Options | None = None
    custom_data: str | None = None
    ext_data: str | None = None


@light
@dataclass(frozen=True, slots=True)
class Change:
    """One atomic change of a stored transaction: branch results, new branches and new values, or nothing.

    It stands only if the row has one of the statuses `expected` and, where `owner` is not None, that owner.
    trans_type, where one is given, must be the row's. by_driver: rollback_reason and ext_data are a driver's,
    who may have them from anywhere: they are changed, or left out, until their columns can keep them.
    """

    gid: str
    expected: frozenset[Status]
    owner: str | None
    results: tuple[tuple[BranchKey, BranchStatus], ...] = ()
    assign: Assign = Assign()
    trans_type: str = ""
    added: tuple[Branch, ...] = ()  # rows to add; one that is stored exactly so already is left as it is
    by_driver: bool = False
    # Written in the same commit, unless the change is refused or stood before.
    own_rows: tuple[OwnWrite, ...] = ()


@light
@dataclass(frozen=True, slots=True)
class Move:
    """A change whose values depend on what is stored: read, compared and written in one commit.

    It stands only if the row has one of the statuses `expected` and that trans_type.
    """

    gid: str
    trans_type: str
    expected: frozenset[Status]
    assign: Callable[["Stored"], Assign]  # pure, and run anywhere; its DtmErrors refuse this move alone


class Changed(Enum):
    """How a change ended."""

    APPLIED = "applied"
    REFUSED = "refused"  # the row has another status, owner or trans_type: somebody else moved it
    MISSING = "missing"  # no row of exactly that gid
    CLASHES = "clashes"  # a branch to be added is stored already, and says something else


@light
@dataclass(frozen=True, slots=True)
class Stored:
    """A transaction with its branch rows, first registered first."""

    transaction: Transaction
    branches: tuple[Branch, ...]


@light
@dataclass(frozen=True, slots=True)
class Moved:
    """How a move ended, and the transaction as it stands since; None where it is missing.

    Of one that was remembered ids are 0, and times of creation and update those that were asked for.
    """

    changed: Changed
    stored: Stored | None


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One row of `kv`: what coordinators share beside transactions, such as topics (PROTOCOL §8)."""

    category: str
    key: str
    value: str
    version: int = 1  # counts its changes, for optimistic locking
    create_time: datetime = EPOCH
    update_time: datetime = EPOCH
    id: int = 0  # 0 before it is stored


class KeyValues(Protocol):
    """Where what coordinators share lives. Raises StoreUnavailable."""

    async def find_value(self, category: str, key: str) -> KeyValue | None:
        """The row of exactly that category and key."""
        ...

    async def list_values(
        self, category: str, *, limit: int, before_id: int | None = None
    ) -> Sequence[KeyValue]:
        """At most `limit` rows of the category ("": of all), newest first.

        before_id: only rows with a smaller id.
        """
        ...

    async def put_value(
        self,
        category: str,
        key: str,
        value: str,
        *,
        replaces: KeyValue | None,
        own_rows: Sequence[OwnRow] = (),
    ) -> bool:
        """Write the value if the row is still the one that was read; None means: is not there yet.

        own_rows: added in the same commit. Its version grows by one. Returns False, changing nothing, when
        somebody else was faster; one that was deleted and made anew meanwhile is another row, though its
        version is the same. Raises Invalid for a key or value that does not fit its column.
        """
        ...

    async def delete_value(self, row: KeyValue, *, own_rows: Sequence[OwnRow] = ()) -> bool:
        """Delete the row if it is still as it was read; False when it is not. own_rows: see put_value."""
        ...


@dataclass(frozen=True, slots=True)
class Backlog:
    """Unfinished transactions; a saga that is only prepared counts in `by_status` alone: nobody drives it."""

    by_status: Mapping[Status, int]  # every unfinished status
    due: int = 0  # whose next_cron_time has passed
    oldest_due: datetime | None = None  # the earliest next_cron_time that has passed
    oldest_created: datetime | None = None


def payload_bytes(branches: Sequence[Branch]) -> int:
    """Bytes that the payloads of these branches take."""
    return sum([len(branch.payload) for branch in branches])


@light
@dataclass(frozen=True, slots=True)
class Due:
    """A transaction that is due, as it was found; whoever claims it compares all of this."""

    id: int
    gid: str
    status: str
    owner: str
    next_cron_time: datetime | None  # aware; None where the column holds no time


@light
@dataclass(frozen=True, slots=True)
class Candidate:
    """What is due, as far as it must be known to say who would be called next."""

    due: Due
    stored: Stored | None  # branches without payloads; None for rows that nobody understands
    payload_bytes: int = 0  # of all its branches


@light
@dataclass(frozen=True, slots=True)
class Claim:
    """A transaction to be driven until `until` at least, unless its driver renews."""

    due: Due
    until: datetime


@light
@dataclass(frozen=True, slots=True)
class Deferral:
    """A transaction to be due again at `until`, driven by nobody before."""

    due: Due
    until: datetime


class Store(KeyValues, Protocol):
    """Where transactions live."""

    async def insert(self, transaction: Transaction, branches: Sequence[Branch], *, timeout: float) -> bool:
        """Store a new transaction and its branches in one commit.

        Returns False, storing nothing, when a row of that gid (as the database compares) exists. A repeat
        with the same owner token returns True; an empty one tells nobody's insertions apart. The given ids,
        create/update times, result and rollback_reason are not used: nothing is born with an end.
        """
        ...

    async def change(self, change: Change, *, timeout: float) -> Changed:
        """Apply a change; a repeat of one that already stands is APPLIED again."""
        ...

    async def move(self, move: Move, *, timeout: float) -> Moved:
        """Apply a move; APPLIED, REFUSED or MISSING. A repeat of one that already stands is APPLIED again.

        Raises what `assign` raises, and Invalid as find does.
        """
        ...

    async def find(self, gid: str) -> Stored | None:
        """The transaction of exactly that gid, with its branches in order of registration."""
        ...

    async def kept_results(self, gid: str) -> Mapping[str, bytes]:
        """What steps of this transaction have answered that keep their result, by branch_id."""
        ...

    async def list(self, wanted: Filter) -> Listed:
        """At most `wanted.limit` transactions."""
        ...

    async def find_due(self, *, now: datetime, limit: int, also: Sequence[str] = ()) -> Sequence[Due]:
        """At most `limit` unfinished transactions whose next_cron_time has passed, oldest due first.

        However many of one status are due, each other one has a third of the places. Nothing is locked or
        written, so that another coordinator may find the same; prepared sagas are among them, if they were
        stored with a time that comes. also: gids; of these rows come, too, whose time is still to come.
        """
        ...

    async def next_due(self, *, after: datetime) -> datetime | None:
        """The earliest next_cron_time of an unfinished row behind that moment, whoever holds the row now."""
        ...

    async def look_at(self, due: Sequence[Due]) -> Sequence[Candidate]:
        """These transactions with their branches, but without payloads; those that are gone are left out."""
        ...

    async def claim(
        self, claims: Sequence[Claim], deferrals: Sequence[Deferral], *, owner: str, now: datetime
    ) -> Sequence[Stored]:
        """Claim and defer in one commit; return the rows as claimed, with payloads, in the order of `claims`.

        A row that is not as it was found any more is passed over, and so is one that another holds.
        A deferral lets the row go: its owner is empty afterwards.
        """
        ...

    async def take_back(self, *, now: datetime, owner_prefix: str, except_prefix: str) -> int:
        """Make due at once what an earlier start of this instance was driving; returns how many.

        Unfinished rows whose owner starts with owner_prefix but not with except_prefix, and is a driver's
        (coordinator.owner). owner_prefix "" means every driver's.
        """
        ...

    async def reset_cron_time(
        self, *, now: datetime, later_than: datetime, limit: int, own_rows: OwnRowsOfCount | None = None
    ) -> tuple[int, bool]:
        """Make due at once at most `limit` unfinished rows whose next_cron_time is after `later_than`.

        Rows that a coordinator drives are left alone: due, they would be driven by a second one as well. That
        it has died nobody can know of another before its lease is over; then they are due already.
        Returns how many, and whether there are more. own_rows: of how many, added in the same commit.
        """
        ...

    async def utc_now(self) -> datetime:
        """The database's clock, aware. Raises StoreUnavailable: also serves as the test that it is there."""
        ...

    async def close(self) -> None:
        """Flush what was accepted, then close every connection."""
        ...
