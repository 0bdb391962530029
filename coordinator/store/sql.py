"""The store on SQL databases: writes through group commit, everything else as single transactions."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from coordinator.clock import Clock
from coordinator.errors import DtmError, StoreUnavailable
from coordinator.model import Branch, Transaction
from coordinator.store import backlog, key_values, listing, queries
from coordinator.store import due as due_rows
from coordinator.store.access_tables import AuditTable, TokenTable
from coordinator.store.attempt_tables import AttemptTables
from coordinator.store.base import (
    Backlog,
    Candidate,
    Change,
    Changed,
    Claim,
    Deferral,
    Due,
    KeyValue,
    Move,
    Moved,
    Stored,
)
from coordinator.store.bulk_tables import BulkTables
from coordinator.store.commits import Observer, SilentObserver
from coordinator.store.database import Database
from coordinator.store.faults import Fault
from coordinator.store.fitting import is_unfit
from coordinator.store.hold_table import HoldTable
from coordinator.store.limits import NUL, check_key_value, check_key_value_without_nul
from coordinator.store.listed import Filter, Listed
from coordinator.store.nodes import NodeTable
from coordinator.store.operate_tables import OperateTables
from coordinator.store.own_rows import OwnRow, OwnRowsOfCount, with_text_times
from coordinator.store.people_tables import PeopleTables
from coordinator.store.result_table import ResultTable
from coordinator.store.retention import RetentionTables
from coordinator.store.runner import Runner, attempted
from coordinator.store.shared_table import SharedTable
from coordinator.store.tables import add_own_rows
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
        self._runner, self._database, self._clock = runner, database, clock
        self._wall_clock = wall_clock
        self._closed = False
        told = observer or SilentObserver()
        self._writes = Writes(
            runner, database, clock=clock, wall_clock=wall_clock, limits=limits, observer=told
        )
        read_time = partial(queries.read_time, statement=database.utc_now)
        ask_time = read_time if database.utc_now else lambda _: clock.now()
        self._own_clock = WallClock(UTC, offsets=(offsets := wall_clock.offsets))
        self.nodes = NodeTable(self._transact, ask_time, offsets=offsets)
        self.tokens = TokenTable(self._transact, self._read, ask_time, now=clock.now, offsets=offsets)
        self.people = PeopleTables(self._transact, self._read, ask_time, now=clock.now, offsets=offsets)
        self.attempts = AttemptTables(self._transact, self._read, wall_clock, missing=database.missing_tables)
        at_leisure = partial(self._read, at_leisure=True)
        run, missing = (self._transact, self._read, ask_time), database.missing_tables
        self.results = ResultTable(self._transact, missing=missing)
        self.operate = OperateTables(at_leisure, self.attempts, self.results, wall_clock)
        self.bulk = BulkTables(*run, self.attempts, wall_clock, missing=missing)
        self.shared = SharedTable(*run, offsets=offsets, missing=missing)
        self.retention = RetentionTables(
            *(self._transact, self._read, wall_clock), skip_locked=database.skip_locked, missing=missing
        )
        self.audit = AuditTable(self._transact, self._read, offsets=offsets)
        self.holds = HoldTable(self._transact, self._read, offsets=offsets)

    @property
    def missing_tables(self) -> Mapping[str, str]:
        """Tables of our own that the user may not make, each with the SQL that does."""
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

    async def kept_results(self, gid: str) -> Mapping[str, bytes]:
        """See Store."""
        return await self._read_of((gid,), {}, partial(self.results.of, gid=gid))

    async def list(self, wanted: Filter) -> Listed:
        """See Store."""
        listed = partial(listing.list_transactions, wanted=wanted, clock=self._wall_clock)
        texts = (wanted.gid, wanted.status, wanted.trans_type)
        return await self._read_of(texts, Listed(()), listed, at_leisure=True)

    async def find_due(self, *, now: datetime, limit: int, also: Sequence[str] = ()) -> Sequence[Due]:
        """See Store."""
        find = partial(due_rows.find_due, now=now, limit=limit, also=also, clock=self._wall_clock)
        return await self._read(find)

    async def next_due(self, *, after: datetime) -> datetime | None:
        """See Store."""
        return await self._read(partial(due_rows.next_due, after=after, clock=self._wall_clock))

    async def look_at(self, due: Sequence[Due]) -> Sequence[Candidate]:
        """See Store."""
        return await self._read(partial(due_rows.look_at, due=due, clock=self._wall_clock))

    async def claim(
        self, claims: Sequence[Claim], deferrals: Sequence[Deferral], *, owner: str, now: datetime
    ) -> Sequence[Stored]:
        """See Store."""
        claim = partial(due_rows.claim, claims=claims, deferrals=deferrals, owner=owner, now=now)
        skip_locked = self._database.skip_locked
        return await self._transact(partial(claim, clock=self._wall_clock, skip_locked=skip_locked))

    async def take_back(self, *, now: datetime, owner_prefix: str, except_prefix: str) -> int:
        """See Store."""
        taken = partial(due_rows.take_back, now=now, owner_prefix=owner_prefix, except_prefix=except_prefix)
        return await self._transact(partial(taken, clock=self._wall_clock))

    async def reset_cron_time(
        self, *, now: datetime, later_than: datetime, limit: int, own_rows: OwnRowsOfCount | None = None
    ) -> tuple[int, bool]:
        """See Store."""
        reset = partial(
            due_rows.reset_cron_time, now=now, later_than=later_than, limit=limit, clock=self._wall_clock
        )

        def reset_and_tell(connection: Connection) -> tuple[int, bool]:
            count, more = reset(connection)
            if own_rows is not None:
                self._add(connection, own_rows(count))
            return count, more

        return await self._transact(reset_and_tell)

    def _add(self, connection: Connection, own_rows: Sequence[OwnRow]) -> None:
        add_own_rows(connection, with_text_times(own_rows, self._own_clock))

    async def backlog(self, *, now: datetime) -> Backlog:
        """What is unfinished just now."""
        return await self._read(partial(backlog.count_backlog, now=now, clock=self._wall_clock))

    def connections(self) -> Mapping[str, float]:
        """How many connections are `in_use` and `idle`."""
        return self._runner.connections()

    def waiting(self) -> int:
        """How many writes wait for a commit."""
        return self._writes.waiting

    def seconds_to_wait(self) -> float:
        """How long a new write has to wait for its turn; 0 where writes fail."""
        return self._writes.seconds_to_wait()

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

    async def put_value(
        self,
        category: str,
        key: str,
        value: str,
        *,
        replaces: KeyValue | None,
        own_rows: Sequence[OwnRow] = (),
    ) -> bool:
        """See KeyValues."""
        check_key_value(category, key, value)
        if not self._database.nul_in_text:
            check_key_value_without_nul(category, key, value)
        now = self._wall_clock.text(self._clock.now())
        put = partial(
            key_values.put_value, category=category, key=key, value=value, replaces=replaces, now=now
        )
        return await self._transact(partial(self._changed_and_told, change=put, own_rows=own_rows))

    async def delete_value(self, row: KeyValue, *, own_rows: Sequence[OwnRow] = ()) -> bool:
        """See KeyValues."""
        change = partial(key_values.delete_value, row=row)
        return await self._transact(partial(self._changed_and_told, change=change, own_rows=own_rows))

    def _changed_and_told(
        self, connection: Connection, change: Callable[[Connection], bool], own_rows: Sequence[OwnRow]
    ) -> bool:
        stands = change(connection)
        if stands:
            self._add(connection, own_rows)
        return stands

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
        # A pooled connection may have died in its sleep: that is noticed by using it, and the next is new.
        self._check_open()
        read = partial(self._runner.read, at_leisure=at_leisure)
        return await attempted(read, function, again_after=(Fault.AWAY,))

    async def _transact(self, function: Callable[[Connection], T]) -> T:
        self._check_open()
        return await attempted(self._runner.transact, function, again_after=(Fault.DEADLOCK, Fault.LOCKED))

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
