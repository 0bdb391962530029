"""An in-memory twin of the SQL store: the same contract, and faults on demand.

Faults it draws from its seed, at every write: a delay; a stall longer than any lease, after which the commit
is still tried; a crash of the writing coordinator before the commit; a crash after it, so that the commit
stands and nobody was told; StoreUnavailable before or after the commit. At a read: StoreUnavailable, a stall.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Any, TypeVar

from coordinator.errors import DtmError, StoreUnavailable
from coordinator.model import UNFINISHED, Branch, Status, Transaction, TransType
from coordinator.owner import is_a_drivers
from coordinator.store.base import (
    Assign,
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
from coordinator.store.fence import Verdict, verdict
from coordinator.store.limits import check_key_value
from coordinator.store.listed import Filter, Listed
from coordinator.store.retention import Old, OldPage, Purged
from tests.simulation.rows import START, Rows, ceil, floor, virtual_now

__all__ = ["START", "Faults", "Rows", "TwinStore", "virtual_now"]


@dataclass
class Faults:
    """How often things go wrong, as probabilities per write; 0 is a store that never fails."""

    crash_before: float = 0.0
    crash_after: float = 0.0
    unavailable_before: float = 0.0
    unavailable_after: float = 0.0
    unavailable_reads: float = 0.0
    stall: float = 0.0
    slowest: float = 0.0  # seconds; each write takes a random part of it


_KEPT = ("dtm_attempt", "dtm_stuck", "dtm_result")
STALL_SECONDS = 40.0
READ_STALL_SECONDS = 9.0  # as long as a read may take
CLAIM_SECONDS = 10.0  # as long as a claim may take
W = TypeVar("W")


class TwinStore:
    """One coordinator's connection to the rows. crash: kills that coordinator, does not return to it."""

    def __init__(
        self,
        rows: Rows,
        random: Random,
        faults: Faults | None = None,
        crash: Callable[[], None] | None = None,
    ) -> None:
        self.rows = rows
        self._random = random
        self.faults = faults or Faults()
        self._crash = crash
        self._dead = False
        self._writes: set[asyncio.Task[object]] = set()

    async def insert(self, transaction: Transaction, branches: Sequence[Branch], *, timeout: float) -> bool:
        return await self._write(lambda: self._insert(transaction, branches), timeout)

    async def change(self, change: Change, *, timeout: float) -> Changed:
        return await self._write(lambda: self._apply(change), timeout)

    async def move(self, move: Move, *, timeout: float) -> Moved:
        def commit() -> Moved:
            row = self.rows.transactions.get(move.gid)
            if row is None:
                return Moved(Changed.MISSING, None)
            stored = Stored(row, self.rows.branches[move.gid])
            if row.trans_type != move.trans_type:
                return Moved(Changed.REFUSED, stored)
            try:
                assign = move.assign(stored)
            except DtmError:
                if row.status in move.expected:
                    raise
                return Moved(Changed.REFUSED, stored)
            match verdict(Change(move.gid, move.expected, None, assign=assign), row.status, row.owner):
                case Verdict.APPLY:
                    return Moved(Changed.APPLIED, Stored(self._put(row, assign, by="move"), stored.branches))
                case Verdict.STANDS:
                    return Moved(Changed.APPLIED, stored)
                case Verdict.REFUSE:
                    self.rows.refused += 1
                    return Moved(Changed.REFUSED, stored)

        return await self._write(commit, timeout)

    async def find(self, gid: str) -> Stored | None:
        await self._read()
        transaction = self.rows.transactions.get(gid)
        return Stored(transaction, self.rows.branches[gid]) if transaction else None

    async def kept_results(self, gid: str) -> Mapping[str, bytes]:
        await self._read()
        return self.rows.results(gid)

    async def list(self, wanted: Filter) -> Listed:
        await self._read()
        newest = sorted(self.rows.transactions.values(), key=lambda t: -t.id)
        found = [t for t in newest if _wanted(t, wanted)]
        page = found[: wanted.limit]
        return Listed(page, page[-1].id if len(found) > wanted.limit else None)

    async def find_due(self, *, now: datetime, limit: int, also: Sequence[str] = ()) -> Sequence[Due]:
        await self._read()
        due, kept = self._due(now), set[int]()
        for status in UNFINISHED:
            kept.update([row.id for row in due if row.status is status][: limit // len(UNFINISHED)])
        kept.update([row.id for row in due if row.id not in kept][: limit - len(kept)])
        later = [row for gid in also if (row := self.rows.transactions.get(gid)) and row.next_cron_time > now]
        return [*map(_found, [row for row in due if row.id in kept]), *map(_found, later)]

    async def next_due(self, *, after: datetime) -> datetime | None:
        await self._read()
        times = [row.next_cron_time for row in self.rows.transactions.values() if row.status in UNFINISHED]
        return min((time for time in times if time > after), default=None)

    async def look_at(self, due: Sequence[Due]) -> Sequence[Candidate]:
        await self._read()
        by_id = {row.id: row for row in self.rows.transactions.values()}
        return [
            Candidate(
                one,
                self._readable(row),
                sum(len(it.payload) for it in self.rows.branches[row.gid]),
            )
            for one in due
            if (row := by_id.get(one.id)) is not None
        ]

    def _readable(self, row: Transaction) -> Stored | None:
        if row.gid in self.rows.unreadable:
            return None
        return Stored(row, tuple(replace(it, payload=b"") for it in self.rows.branches[row.gid]))

    async def claim(
        self, claims: Sequence[Claim], deferrals: Sequence[Deferral], *, owner: str, now: datetime
    ) -> Sequence[Stored]:
        def claim() -> Sequence[Stored]:
            by_id = {row.id: row for row in self.rows.transactions.values()}
            for deferral in deferrals:
                row = by_id.get(deferral.due.id)
                if row is not None and row.status in UNFINISHED and row.next_cron_time <= now:
                    self._put(row, Assign(owner="", next_cron_time=deferral.until), by="defer")
            claimed = []
            for one in claims:
                row = by_id.get(one.due.id)
                if row is not None and _found(row) == one.due:
                    mine = self._put(row, Assign(owner=owner, next_cron_time=one.until), by="claim")
                    claimed.append(Stored(mine, self.rows.branches[mine.gid]))
            return claimed

        return await self._write(claim, CLAIM_SECONDS)

    def _put(self, row: Transaction, assign: Assign, *, by: str) -> Transaction:
        changed = _assigned(row, assign)
        self.rows.commit(changed, self.rows.branches[row.gid], by=by)
        return changed

    async def take_back(self, *, now: datetime, owner_prefix: str, except_prefix: str) -> int:
        def mine(row: Transaction) -> bool:
            excepted = bool(except_prefix) and row.owner.startswith(except_prefix)
            return is_a_drivers(row.owner) and row.owner.startswith(owner_prefix) and not excepted

        return await self._write(
            lambda: len(self._make_due(mine, now, owner="", by="take_back")), CLAIM_SECONDS
        )

    async def reset_cron_time(
        self, *, now: datetime, later_than: datetime, limit: int, own_rows: object = None
    ) -> tuple[int, bool]:
        def waits(row: Transaction) -> bool:
            waits_for_client = row.trans_type == TransType.SAGA and row.status is Status.PREPARED
            return row.next_cron_time > later_than and not is_a_drivers(row.owner) and not waits_for_client

        def reset() -> tuple[int, bool]:
            changed = self._make_due(waits, now, limit, by="reset_cron_time")
            more = any(r.status in UNFINISHED and waits(r) for r in self.rows.transactions.values())
            return len(changed), more

        return await self._write(reset, CLAIM_SECONDS)

    # --- what ended long ago, as coordinator.store.retention deletes it ---

    async def look(self, after: int, before: datetime, *, limit: int) -> OldPage:
        await self._read()
        rows = sorted(
            (row for row in self.rows.transactions.values() if row.id > after), key=lambda it: it.id
        )
        page = rows[:limit]
        found = [Old(row.id, row.gid) for row in page if self._is_old(row.gid, before)]
        return OldPage(found, len(page), page[-1].id if len(rows) > limit else None)

    async def whole(self, old: Sequence[Old]) -> Sequence[Mapping[str, Any]]:
        raise AssertionError("nothing is archived here")

    async def purge(self, old: Sequence[Old], before: datetime) -> Purged:
        def purge() -> Purged:
            gids = [it.gid for it in old if self._is_old(it.gid, before)]
            return Purged(len(gids), sum(self.rows.purge(gid) for gid in gids))

        return await self._write(purge, CLAIM_SECONDS)

    async def give_back(self) -> int:
        return 0

    def _is_old(self, gid: str, before: datetime) -> bool:
        row = self.rows.transactions.get(gid)
        return row is not None and row.status.is_final and row.update_time < before

    async def find_value(self, category: str, key: str) -> KeyValue | None:
        await self._delay()
        return self.rows.values.get((category, key))

    async def list_values(
        self, category: str, *, limit: int, before_id: int | None = None
    ) -> Sequence[KeyValue]:
        await self._delay()
        newest = sorted(self.rows.values.values(), key=lambda v: -v.id)
        wanted = [
            v for v in newest if category in ("", v.category) and (before_id is None or v.id < before_id)
        ]
        return wanted[:limit]

    async def put_value(
        self, category: str, key: str, value: str, *, replaces: KeyValue | None, own_rows: object = ()
    ) -> bool:
        def put() -> bool:
            old = self.rows.values.get((category, key))
            if old != replaces:
                return False
            if old is None:
                new = KeyValue(category, key, value, 1, virtual_now(), virtual_now(), self.rows.next_id)
                self.rows.next_id += 1
            else:
                new = replace(old, value=value, version=old.version + 1, update_time=virtual_now())
            self.rows.values[category, key] = new
            return True

        check_key_value(category, key, value)
        return await self._write(put, CLAIM_SECONDS)

    async def delete_value(self, row: KeyValue, *, own_rows: object = ()) -> bool:
        def delete() -> bool:
            if self.rows.values.get((row.category, row.key)) != row:
                return False
            del self.rows.values[row.category, row.key]
            return True

        return await self._write(delete, CLAIM_SECONDS)

    async def utc_now(self) -> datetime:
        return virtual_now()

    async def close(self) -> None:
        for task in list(self._writes):
            task.cancel()
        await asyncio.gather(*self._writes, return_exceptions=True)

    def _insert(self, transaction: Transaction, branches: Sequence[Branch]) -> bool:
        existing = self.rows.transactions.get(transaction.gid)
        if existing is None:
            now = floor(virtual_now())
            self.rows.add(replace(transaction, create_time=now, update_time=now), branches, by="insert")
        return existing is None or existing.owner == transaction.owner != ""

    def _apply(self, change: Change) -> Changed:
        row = self.rows.transactions.get(change.gid)
        if row is None:
            return Changed.MISSING
        if change.trans_type not in ("", row.trans_type):
            return Changed.REFUSED
        target = change.assign.status
        if row.status not in change.expected or (change.owner is not None and row.owner != change.owner):
            owner = change.assign.owner if change.assign.owner is not None else change.owner
            stands = target is not None and row.status is target and row.owner == (owner or "")
            self.rows.refused += not stands
            return Changed.APPLIED if stands else Changed.REFUSED
        stored = {b.key: b for b in self.rows.branches[change.gid]}
        clashing = [b for b in change.added if b.key in stored and not _same(b, stored[b.key])]
        if clashing:
            return Changed.CLASHES
        results = dict(change.results)
        branches = tuple(
            replace(b, status=results[b.key]) if b.key in results else b
            for b in self.rows.branches[change.gid]
        )
        added = tuple(b for b in change.added if b.key not in stored)
        self.rows.commit(_assigned(row, change.assign), branches + added, by="change")
        self.rows.write_own([it for it in change.own_rows if it.table in _KEPT])
        return Changed.APPLIED

    def _due(self, now: datetime) -> Sequence[Transaction]:
        rows = self.rows.transactions.values()
        due = [t for t in rows if t.status in UNFINISHED and t.next_cron_time <= now]
        return sorted(due, key=lambda t: (t.next_cron_time, t.id))

    def _make_due(
        self,
        which: Callable[[Transaction], bool],
        now: datetime,
        limit: int | None = None,
        *,
        owner: str | None = None,
        by: str,
    ) -> Sequence[str]:
        rows = [r for r in self.rows.transactions.values() if r.status in UNFINISHED and which(r)][:limit]
        for row in rows:
            due = replace(row, next_cron_time=floor(now), owner=row.owner if owner is None else owner)
            self.rows.commit(due, self.rows.branches[row.gid], by=by)
        return [row.gid for row in rows]

    async def _delay(self) -> None:
        await asyncio.sleep(self._random.random() * self.faults.slowest)

    async def _read(self) -> None:
        await self._delay()
        if self._random.random() < self.faults.stall:
            await asyncio.sleep(READ_STALL_SECONDS * self._random.random())
        if self._random.random() < self.faults.unavailable_reads:
            raise StoreUnavailable("the simulated store did not answer")

    async def _write(self, commit: Callable[[], W], timeout: float) -> W:
        """Commit, whatever the caller hears: one that gives up waiting leaves the write to go on."""
        task = asyncio.create_task(self._commit(commit))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        await asyncio.wait({task}, timeout=timeout)
        if not task.done():
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise StoreUnavailable("the simulated store did not confirm in time")
        return task.result()

    async def _commit(self, commit: Callable[[], W]) -> W:
        await self._delay()
        if self._random.random() < self.faults.stall:
            await asyncio.sleep(STALL_SECONDS * (0.5 + self._random.random()))
        await self._fail(self.faults.crash_before, self.faults.unavailable_before)
        committed = commit()
        await self._fail(self.faults.crash_after, self.faults.unavailable_after)
        return committed

    async def _fail(self, crash: float, unavailable: float) -> None:
        drawn = self._random.random()
        if drawn < crash and self._crash is not None and not self._dead:
            self._dead = True
            self._crash()
        if self._dead:
            await asyncio.Event().wait()  # nothing after this line happens
        if drawn < crash + unavailable:
            raise StoreUnavailable("the simulated store did not confirm")


def _found(row: Transaction) -> Due:
    return Due(row.id, row.gid, row.status, row.owner, row.next_cron_time)


def _same(one: Branch, other: Branch) -> bool:
    return (one.url, one.payload, one.status) == (other.url, other.payload, other.status)


def _assigned(row: Transaction, assign: Assign) -> Transaction:
    values = {n: v for n in Assign.__dataclass_fields__ if (v := getattr(assign, n)) is not None}
    if "next_cron_time" in values:
        values["next_cron_time"] = ceil(values["next_cron_time"])
    return replace(row, update_time=floor(virtual_now()), **values)


def _wanted(transaction: Transaction, wanted: Filter) -> bool:
    if wanted.gid:
        return transaction.gid == wanted.gid
    return (
        (not wanted.status or transaction.status == wanted.status)
        and (not wanted.trans_type or transaction.trans_type == wanted.trans_type)
        and (wanted.create_time_start is None or transaction.create_time >= wanted.create_time_start)
        and (wanted.create_time_end is None or transaction.create_time <= wanted.create_time_end)
        and (wanted.before_id is None or transaction.id < wanted.before_id)
    )
