"""What pages show at a glance: all that is stuck with what comes of it, and whether anything has moved."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from coordinator.clock import Clock
from coordinator.errors import StoreUnavailable
from coordinator.model import Transaction
from coordinator.store.operate_tables import Cause, Group, Inbox, Outlook
from coordinator.store.search import LIMIT_MAX, Page, Search, Terms

_NEAR: Final = 0.25  # of its time limit: what is left of it when it counts as near


class Tables(Protocol):
    """What is asked of the store. Raises StoreUnavailable."""

    async def inbox(self) -> Inbox:
        """See OperateTables."""
        ...

    async def outlooks(self) -> Mapping[Cause, Outlook]:
        """See OperateTables."""
        ...

    async def search(self, wanted: Search, *, after: str, limit: int, now: datetime) -> Page:
        """See OperateTables."""
        ...


@dataclass(frozen=True, slots=True)
class Prospect:
    """A group that is stuck. next_call: when the first of it is called again; None: not known.

    near, past: how many are near their time limit or past it, of those that were looked at.
    is_part: not all were.
    """

    group: Group
    next_call: datetime | None
    near: int
    past: int
    is_part: bool


@dataclass(frozen=True, slots=True)
class Glance:
    """All that is stuck. total: of all groups. mark: see `Overview.inbox_mark`."""

    prospects: Sequence[Prospect]
    total: int
    mark: str


class Overview:
    """tables: of the store; None where it has none, so that everything raises StoreUnavailable."""

    def __init__(self, tables: Tables | None, clock: Clock) -> None:
        self._tables_or_none = tables
        self._clock = clock

    async def glance(self) -> Glance:
        """What is stuck, by its cause, the largest first."""
        inbox = await self._tables.inbox()
        outlooks = await self._tables.outlooks() if inbox.groups else {}
        now = self._clock.now()
        prospects = [_prospect(group, outlooks, now) for group in inbox.groups]
        return Glance(prospects, inbox.total, mark_of_inbox(inbox))

    async def inbox_mark(self) -> str:
        """Differs when what is stuck does."""
        return mark_of_inbox(await self._tables.inbox())

    async def marks(self, gids: Collection[str]) -> Mapping[str, str]:
        """Of each transaction that there is; differs when it has moved."""
        found: dict[str, str] = {}
        wanted = sorted(gids)
        for start in range(0, len(wanted), LIMIT_MAX):
            terms = Terms(tuple(wanted[start : start + LIMIT_MAX]))
            page = await self._tables.search(
                Search(gid=terms), after="", limit=LIMIT_MAX, now=self._clock.now()
            )
            for it in page.found:
                found[it.transaction.gid] = mark_of(it.transaction)
        return found

    @property
    def _tables(self) -> Tables:
        if self._tables_or_none is None:
            raise StoreUnavailable("this store keeps nothing of what went wrong")
        return self._tables_or_none


def mark_of_inbox(inbox: Inbox) -> str:
    """Differs when what is stuck does."""
    groups = [(it.endpoint, it.op, it.fingerprint, it.count, it.since) for it in inbox.groups]
    return _mark(inbox.total, groups)


def mark_of(transaction: Transaction) -> str:
    """Differs when it has moved."""
    times = (transaction.update_time, transaction.next_cron_time)
    return _mark(transaction.status, *times, transaction.owner)


def _prospect(group: Group, outlooks: Mapping[Cause, Outlook], now: datetime) -> Prospect:
    outlook = outlooks.get((group.endpoint, group.op, group.fingerprint))
    if outlook is None:
        return Prospect(group, None, 0, 0, is_part=True)
    left = [_left_of_limit(transaction, now) for transaction in outlook.limited]
    past = sum(share <= 0 for share in left)
    near = sum(0 < share <= _NEAR for share in left)
    return Prospect(group, outlook.next_call, near, past, outlook.is_part)


def _left_of_limit(transaction: Transaction, now: datetime) -> float:
    """Which part of its time is left."""
    limit = timedelta(seconds=transaction.options.timeout_to_fail)
    return 1 - (now - transaction.create_time) / limit


def _mark(*values: object) -> str:
    return hashlib.sha256(repr(values).encode("utf-8", "replace")).hexdigest()[:16]
