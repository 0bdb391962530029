"""The store on SQL databases: writes through group commit, everything else as single transactions."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import Connection

from coordinator.clock import Clock
from coordinator.errors import StoreUnavailable
from coordinator.model import Branch, Transaction
from coordinator.store import due as due_rows
from coordinator.store import key_values, queries
from coordinator.store.base import (
    Backlog,
    Candidate,
    Change,
    Changed,
    Claim,
    Deferral,
    Due,
    Filter,
    KeyValue,
    Stored,
)
from coordinator.store.batch import Work, write_batch
from coordinator.store.faults import STORE_ERRORS, Fault, fault_of, reason_of, refusal
from coordinator.store.group_commit import GroupCommit, Observer, Rejected, SilentObserver, TryAgain
from coordinator.store.limits import (
    NUL,
    check_key_value,
    check_key_value_without_nul,
    check_no_nul,
    without_nul,
)
from coordinator.store.nodes import NodeTable
from coordinator.store.rows import insertion_of, update_of
from coordinator.store.runner import Runner, attempted
from coordinator.store.statements import Statements
from coordinator.store.waiting import Limits
from coordinator.store.wall_clock import WallClock

T = TypeVar("T")

_CHANGE_BYTES: Final = 512  # about, in a statement; of a branch row, beside its payload, too
_BATCH_SECONDS_MAX: Final = 10.0  # after this a database counts as frozen and its connection is thrown away
_CLOSE_SECONDS_MAX: Final = 10.0


@dataclass(frozen=True, slots=True)
class Database:
    """What differs between databases.

    utc_now: a statement that asks its clock, empty for our own clock. nul_in_text: whether text may hold the
    character NUL. instants: whether its columns hold instants, whatever zone they are written in.
    missing_tables: SQL that makes those of our own that we may not make; empty when all are there.
    """

    statements: Statements
    utc_now: str
    skip_locked: bool
    nul_in_text: bool = True
    instants: bool = False
    missing_tables: str = ""


class SqlStore:
    """See coordinator.store.base.Store; made by coordinator.store.open.open_store inside a running loop."""

    def __init__(
        self,
        runner: Runner,
        database: Database,
        *,
        clock: Clock,
        wall_clock: WallClock,
        limits: Limits,
        observer: Observer | None = None,
    ) -> None:
        self._runner = runner
        self._database = database
        self._clock = clock
        self._wall_clock = wall_clock
        self._closed = False
        self._group_commit: GroupCommit[Work, Changed] = GroupCommit(
            self._write_batch, limits=limits, observer=observer or SilentObserver()
        )
        ask_time = (
            partial(queries.read_time, statement=database.utc_now)
            if database.utc_now
            else lambda _: clock.now()
        )
        self.nodes = NodeTable(self._transact, ask_time, offsets=wall_clock.offsets)

    @property
    def missing_tables(self) -> str:
        """SQL that makes the tables of our own that the user may not make; empty when all are there."""
        return self._database.missing_tables

    @property
    def must_agree(self) -> Mapping[str, str]:
        """Settings, by their key in conf.yml, that all who share the database must have alike."""
        year = self._clock.now().year
        return {} if self._database.instants else {"TimeZoneOffset": self._wall_clock.zone_shown(year)}

    @property
    def trouble(self) -> str:
        """Why writes have been failing for some time; empty when they stand."""
        return self._group_commit.trouble.lasting

    def others_write(self) -> None:
        """Note that a write of another kind than transactions' stands."""
        self._group_commit.trouble.others_write(asyncio.get_running_loop().time())

    # --- the hot path ---

    async def insert(self, transaction: Transaction, branches: Sequence[Branch], *, timeout: float) -> bool:
        """See Store."""
        if not self._database.nul_in_text:
            check_no_nul(transaction, branches)
        insertion = insertion_of(transaction, branches, self._wall_clock)
        size = 2 * _CHANGE_BYTES + sum([_CHANGE_BYTES + 2 * len(branch.payload) for branch in branches])
        gid = transaction.gid
        outcome = await self._group_commit.submit(insertion, key=gid.casefold(), size=size, timeout=timeout)
        return outcome is Changed.APPLIED

    async def change(self, change: Change, *, timeout: float) -> Changed:
        """See Store."""
        if not self._database.nul_in_text:
            if NUL in change.gid:
                return Changed.MISSING
            change = without_nul(change)
        work = update_of(change, self._wall_clock)
        size = _CHANGE_BYTES + sum([_CHANGE_BYTES + 2 * len(branch.payload) for branch in change.added])
        return await self._group_commit.submit(work, key=change.gid.casefold(), size=size, timeout=timeout)

    async def _write_batch(self, works: Sequence[Work], closely: bool) -> Sequence[Changed | None]:
        now = self._wall_clock.text(self._clock.now())
        statements = self._database.statements
        try:
            return await self._runner.write(
                lambda cursor: write_batch(cursor, statements, works, now, wait=closely),
                seconds=_BATCH_SECONDS_MAX,
            )
        except STORE_ERRORS as error:
            match fault_of(error):
                case Fault.REFUSED:
                    raise Rejected(refusal(error)) from error
                case Fault.DUPLICATE:  # another coordinator may have inserted it since we looked
                    raise Rejected(refusal(error), perhaps_raced=True) from error
                case Fault.LOCKED:
                    raise TryAgain(reason_of(error), one_by_one=True) from error
                case Fault.DEADLOCK | Fault.AWAY:
                    raise TryAgain(reason_of(error)) from error

    # --- single transactions ---

    async def find(self, gid: str) -> Stored | None:
        """See Store. Raises Invalid for rows that another program wrote and nobody can understand."""
        if self._is_never_stored(gid):
            return None
        return await self._read(partial(queries.find, gid=gid, clock=self._wall_clock))

    async def list(self, wanted: Filter) -> Sequence[Transaction]:
        """See Store."""
        if self._is_never_stored(wanted.gid, wanted.status, wanted.trans_type):
            return []
        return await self._read(partial(queries.list_transactions, wanted=wanted, clock=self._wall_clock))

    async def find_due(self, *, now: datetime, limit: int) -> Sequence[Due]:
        """See Store."""
        return await self._read(partial(due_rows.find_due, now=now, limit=limit, clock=self._wall_clock))

    async def look_at(self, due: Sequence[Due]) -> Sequence[Candidate]:
        """See Store."""
        return await self._read(partial(due_rows.look_at, due=due, clock=self._wall_clock))

    async def claim(
        self, claims: Sequence[Claim], deferrals: Sequence[Deferral], *, owner: str, now: datetime
    ) -> Sequence[Stored]:
        """See Store."""
        return await self._transact(
            partial(
                due_rows.claim,
                claims=claims,
                deferrals=deferrals,
                owner=owner,
                now=now,
                clock=self._wall_clock,
                skip_locked=self._database.skip_locked,
            )
        )

    async def take_back(self, *, now: datetime, owner_prefix: str, except_prefix: str) -> int:
        """See Store."""
        return await self._transact(
            partial(
                due_rows.take_back,
                now=now,
                owner_prefix=owner_prefix,
                except_prefix=except_prefix,
                clock=self._wall_clock,
            )
        )

    async def reset_cron_time(self, *, now: datetime, later_than: datetime, limit: int) -> tuple[int, bool]:
        """See Store."""
        return await self._transact(
            partial(
                due_rows.reset_cron_time, now=now, later_than=later_than, limit=limit, clock=self._wall_clock
            )
        )

    async def backlog(self, *, now: datetime) -> Backlog:
        """What is unfinished just now."""
        return await self._read(partial(due_rows.count_backlog, now=now, clock=self._wall_clock))

    def connections(self) -> Mapping[str, float]:
        """How many connections are `in_use` and `idle`."""
        return self._runner.connections()

    def waiting(self) -> int:
        """How many writes wait for a commit."""
        return self._group_commit.waiting

    async def utc_now(self) -> datetime:
        """See Store."""
        if statement := self._database.utc_now:
            return await self._read(partial(queries.read_time, statement=statement))
        await self._read(queries.show_life)
        return self._clock.now()

    # --- what coordinators share beside transactions ---

    async def find_value(self, category: str, key: str) -> KeyValue | None:
        """See KeyValues."""
        if self._is_never_stored(category, key):
            return None
        return await self._read(
            partial(key_values.find_value, category=category, key=key, clock=self._wall_clock)
        )

    async def list_values(
        self, category: str, *, limit: int, before_id: int | None = None
    ) -> Sequence[KeyValue]:
        """See KeyValues."""
        if self._is_never_stored(category):
            return []
        return await self._read(
            partial(
                key_values.list_values,
                category=category,
                limit=limit,
                before_id=before_id,
                clock=self._wall_clock,
            )
        )

    async def put_value(self, category: str, key: str, value: str, *, replaces: KeyValue | None) -> bool:
        """See KeyValues."""
        check_key_value(category, key, value)
        if not self._database.nul_in_text:
            check_key_value_without_nul(category, key, value)
        now = self._wall_clock.text(self._clock.now())
        return await self._transact(
            partial(key_values.put_value, category=category, key=key, value=value, replaces=replaces, now=now)
        )

    async def delete_value(self, row: KeyValue) -> bool:
        """See KeyValues."""
        return await self._transact(partial(key_values.delete_value, row=row))

    async def close(self) -> None:
        """See Store. What cannot be written within 10 seconds is answered with StoreUnavailable."""
        if self._closed:
            return
        self._closed = True
        await self._group_commit.close(seconds=_CLOSE_SECONDS_MAX)
        await self._runner.close()

    def _is_never_stored(self, *texts: str) -> bool:
        return not self._database.nul_in_text and any(NUL in text for text in texts)

    async def _read(self, function: Callable[[Connection], T]) -> T:
        # A pooled connection may have died in its sleep: that is noticed by using it, and the next one is
        # new.
        self._check_open()
        return await attempted(self._runner.read, function, again_after=(Fault.AWAY,))

    async def _transact(self, function: Callable[[Connection], T]) -> T:
        self._check_open()
        return await attempted(self._runner.transact, function, again_after=(Fault.DEADLOCK, Fault.LOCKED))

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
