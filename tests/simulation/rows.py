"""The simulated database: what has been committed, and every commit that ever was. Outlives coordinators."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from coordinator.model import Branch, Transaction
from coordinator.store.base import KeyValue
from coordinator.store.own_rows import OwnRow, OwnRowGone, OwnWrite
from coordinator.store.own_tables import own_key

START = datetime(2026, 1, 1, tzinfo=UTC)
QUESTION: ContextVar[int] = ContextVar("question", default=0)  # of a client, that is being answered; 0: none


def virtual_now() -> datetime:
    """The simulated world's wall clock."""
    return virtual_time(asyncio.get_running_loop().time())


def virtual_time(seconds: float) -> datetime:
    """That clock after so many seconds."""
    return START + timedelta(seconds=seconds)


@dataclass(frozen=True)
class Write:
    """One row of one commit. at: virtual seconds. by: the store's verb. question: a client's, or 0."""

    at: float
    by: str
    question: int
    before: Transaction | None
    after: Transaction


@dataclass(frozen=True)
class Gone:
    """A transaction that was purged. at, ended_at: virtual seconds."""

    at: float
    ended_at: float
    transaction: Transaction
    branches: tuple[Branch, ...]


@dataclass
class Rows:
    """The database: what has been committed. Outlives coordinators."""

    transactions: dict[str, Transaction] = field(default_factory=dict)
    branches: dict[str, tuple[Branch, ...]] = field(default_factory=dict)
    values: dict[tuple[str, str], KeyValue] = field(default_factory=dict)
    history: list[Write] = field(default_factory=list)  # everything that was ever committed
    unreadable: set[str] = field(default_factory=set)  # gids of rows that the store cannot make sense of
    own: dict[str, dict[tuple[object, ...], OwnRow]] = field(default_factory=dict)  # by table and primary key
    gone: dict[str, Gone] = field(default_factory=dict)  # by gid, what was purged
    own_history: list[OwnRow] = field(default_factory=list)  # every row that was ever written there
    next_id: int = 1
    refused: int = 0  # changes that found the row somebody else's

    def commit(self, transaction: Transaction, branches: tuple[Branch, ...], *, by: str = "") -> None:
        before = self.transactions.get(transaction.gid)
        self.transactions[transaction.gid] = transaction
        self.branches[transaction.gid] = branches
        now = asyncio.get_running_loop().time()
        self.history.append(Write(now, by, QUESTION.get(), before, transaction))

    def write_own(self, writes: Sequence[OwnWrite]) -> None:
        for it in writes:
            table = self.own.setdefault(it.table, {})
            if isinstance(it, OwnRowGone):
                for key in [key for key in table if key[0] == it.gid]:
                    del table[key]
                continue
            values = dict(zip(it.columns, it.values, strict=True))
            table[tuple(values[name] for name in own_key(it.table))] = it
            self.own_history.append(it)

    def results(self, gid: str) -> Mapping[str, bytes]:
        """What steps of it have answered that keep their result."""
        rows = [
            dict(zip(it.columns, it.values, strict=True)) for it in self.own.get("dtm_result", {}).values()
        ]
        return {row["branch_id"]: row["content"] for row in rows if row["gid"] == gid}

    def changed_at(self, gid: str) -> float:
        """When it was last written."""
        return next(write.at for write in reversed(self.history) if write.after.gid == gid)

    def purge(self, gid: str) -> int:
        """Delete a transaction, its branches and what is told of it; returns how many branches."""
        now = asyncio.get_running_loop().time()
        branches = self.branches.pop(gid)
        self.gone[gid] = Gone(now, self.changed_at(gid), self.transactions.pop(gid), branches)
        self.write_own([OwnRowGone(table, gid) for table in self.own])
        return len(branches)

    def branches_of(self, gid: str) -> tuple[Branch, ...]:
        """As they are, or were when they were purged."""
        return self.gone[gid].branches if gid in self.gone else self.branches[gid]

    def add(self, transaction: Transaction, branches: Sequence[Branch], *, by: str) -> None:
        """Store a row that is new, as a database does it."""
        row = replace(transaction, id=self.next_id, next_cron_time=ceil(transaction.next_cron_time))
        self.next_id += 1
        self.commit(row, tuple(replace(it, id=i + 1) for i, it in enumerate(branches)), by=by)


def ceil(time: datetime) -> datetime:
    """In whole seconds, as columns hold them."""
    return START + timedelta(seconds=math.ceil((time - START).total_seconds()))


def floor(time: datetime) -> datetime:
    """In whole seconds, as columns hold them."""
    return START + timedelta(seconds=math.floor((time - START).total_seconds()))
