"""The store on SQL databases: writes through group commit, everything else as single transactions."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from coordinator.clock import Clock
from coordinator.errors import DtmError, StoreUnavailable
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
    Move,
    Moved,
    Stored,
)
from coordinator.store.commits import Observer, SilentObserver
from coordinator.store.database import Database
from coordinator.store.faults import Fault
from coordinator.store.fitting import is_unfit
from coordinator.store.limits import (
    NUL,
    check_key_value,
    check_key_value_without_nul,
)
from coordinator.store.nodes import NodeTable
from coordinator.store.runner import Runner, attempted
from coordinator.store.waiting import Limits
from coordinator.store.wall_clock import WallClock
from coordinator.store.writes import Writes

T = TypeVar("T")

_CLOSE_SECONDS_MAX: Final = 10.0


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
        self._writes = Writes(
            runner,
            database,
            clock=clock,
            wall_clock=wall_clock,
            limits=limits,
            observer=observer or SilentObserver(),
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
        return self._writes.trouble.lasting

    def others_write(self) -> None:
        """Note that a write of another kind than transactions' stands."""
        self._writes.trouble.others_write(asyncio.get_running_loop().time())

    # --- the hot path ---

    def insert(
        self, transaction: Transaction, branches: Sequence[Branch], *, timeout: float
    ) -> Coroutine[Any, Any, bool]:
        """See Store."""
        return self._writes.insert(transaction, branches, timeout=timeout)

    def change(self, change: Change, *, timeout: float) -> Coroutine[Any, Any, Changed]:
        """See Store."""
        return self._writes.change(change, timeout=timeout)

    def move(self, move: Move, *, timeout: float) -> Coroutine[Any, Any, Moved]:
        """See Store."""
        return self._writes.move(move, timeout=timeout)

    # --- single transactions ---

    async def find(self, gid: str) -> Stored | None:
        """See Store. Raises Invalid for rows that another program wrote and nobody can understand."""
        return await self._read_of((gid,), None, partial(queries.find, gid=gid, clock=self._wall_clock))

    async def list(self, wanted: Filter) -> Sequence[Transaction]:
        """See Store."""
        listed = partial(queries.list_transactions, wanted=wanted, clock=self._wall_clock)
        texts = (wanted.gid, wanted.status, wanted.trans_type)
        return await self._read_of(texts, [], listed, at_leisure=True)

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
        return self._writes.waiting

    async def utc_now(self) -> datetime:
        """See Store."""
        if statement := self._database.utc_now:
            return await self._read(partial(queries.read_time, statement=statement))
        await self._read(queries.show_life)
        return self._clock.now()

    # --- what coordinators share beside transactions ---

    async def find_value(self, category: str, key: str) -> KeyValue | None:
        """See KeyValues."""
        found = partial(key_values.find_value, category=category, key=key, clock=self._wall_clock)
        return await self._read_of((category, key), None, found)

    async def list_values(
        self, category: str, *, limit: int, before_id: int | None = None
    ) -> Sequence[KeyValue]:
        """See KeyValues."""
        listed = partial(key_values.list_values, category=category, limit=limit, before_id=before_id)
        return await self._read_of((category,), [], partial(listed, clock=self._wall_clock), at_leisure=True)

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
        await self._writes.close(seconds=_CLOSE_SECONDS_MAX)
        await self._runner.close()

    async def _read_of(
        self,
        texts: Collection[str],
        nothing: T,
        function: Callable[[Connection], T],
        *,
        at_leisure: bool = False,
    ) -> T:
        """What is found by these texts; nothing, where the database cannot even compare them."""
        if not self._database.nul_in_text and any(NUL in text for text in texts):
            return nothing
        try:
            return await self._read(function, at_leisure=at_leisure)
        except DtmError:
            if any(is_unfit(text, self._database.columns) for text in texts):
                return nothing
            raise

    async def _read(self, function: Callable[[Connection], T], *, at_leisure: bool = False) -> T:
        # A pooled connection may have died in its sleep: that is noticed by using it, and the next one is
        # new.
        self._check_open()
        read = partial(self._runner.read, at_leisure=at_leisure)
        return await attempted(read, function, again_after=(Fault.AWAY,))

    async def _transact(self, function: Callable[[Connection], T]) -> T:
        self._check_open()
        return await attempted(self._runner.transact, function, again_after=(Fault.DEADLOCK, Fault.LOCKED))

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
