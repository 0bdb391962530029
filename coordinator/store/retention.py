"""What ended long ago is deleted: a page at a time, branches first, and nothing that is unfinished.

Rows are gone through by id, which grows with time: no other key is needed, and what is unfinished is passed
over. What is deleted is locked first and compared once more in the DELETE itself; by ids, so that no gap
between rows is locked. All of a page is one transaction, but for branches beyond BRANCHES_MAX: those go
before their transaction, never after it.
"""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, func, select

from coordinator.model import Status
from coordinator.store.access_tables import Run
from coordinator.store.column_types import TIME
from coordinator.store.own_tables import DTM_RESULT, OF_TRANSACTIONS, OWN_METADATA
from coordinator.store.queries import pieces
from coordinator.store.result_table import results_of
from coordinator.store.rows import text_of
from coordinator.store.tables import TRANS_BRANCH_OP, TRANS_GLOBAL
from coordinator.store.wall_clock import WallClock

BRANCHES_MAX: Final = 5_000  # rows deleted in one commit
WHOLE_MAX: Final = 20  # transactions read whole at once: each may have megabytes of payload
FINAL_STATUSES: Final = (Status.FAILED.value, Status.SUCCEED.value)

_INCREMENTAL: Final = 2  # what SQLite calls auto_vacuum in steps
_PAGES_AT_ONCE: Final = 200  # of SQLite: 800 KB
_LATER_IDS: Final = timedelta(minutes=1)  # ids of several coordinators grow with time, but for so much
_GLOBAL: Final = TRANS_GLOBAL.c
_BRANCH: Final = TRANS_BRANCH_OP.c
_ENDED: Final = func.coalesce(
    _GLOBAL.finish_time, _GLOBAL.rollback_time, _GLOBAL.update_time, _GLOBAL.create_time, type_=TIME
)


@dataclass(frozen=True, slots=True)
class Old:
    """A transaction that ended long ago, as it was found."""

    id: int
    gid: str


@dataclass(frozen=True, slots=True)
class OldPage:
    """found: in order of id. looked_at: rows. after: where the next page begins; None at the end."""

    found: Sequence[Old]
    looked_at: int
    after: int | None


@dataclass(frozen=True, slots=True)
class Purged:
    """Rows that were deleted. is_done: False where branches are left, and so their transactions."""

    transactions: int = 0
    branches: int = 0
    is_done: bool = True

    def __add__(self, other: "Purged") -> "Purged":
        return Purged(self.transactions + other.transactions, self.branches + other.branches, other.is_done)


class RetentionTables:
    """What is asked of old rows. before: the time before which they have ended. Raises StoreUnavailable."""

    def __init__(
        self,
        transact: Run,
        read: Run,
        wall_clock: WallClock,
        *,
        skip_locked: bool,
        missing: Collection[str] = (),
    ) -> None:
        """wall_clock: of the transactions' own times. missing: tables of our own that are not there."""
        self._transact = transact
        self._read = read
        self._clock = wall_clock
        self._skip_locked = skip_locked
        self._of_transactions = tuple(name for name in OF_TRANSACTIONS if name not in missing)

    async def look(self, after: int, before: datetime, *, limit: int) -> OldPage:
        """Look at so many rows behind this id, the oldest first."""
        return await self._read(lambda it: self._look(it, after, before, limit))

    def _look(self, connection: Connection, after: int, before: datetime, limit: int) -> OldPage:
        columns = (
            _GLOBAL.id, _GLOBAL.gid, _GLOBAL.status, _GLOBAL.create_time, _ENDED.label("ended"),
        )  # fmt: skip
        page = select(*columns).where(_GLOBAL.id > after).order_by(_GLOBAL.id).limit(limit)
        found: list[Old] = []
        rows = connection.execute(page).all()
        for number, row in enumerate(rows):
            created = self._clock.time(row.create_time)
            if created is not None and created > before + _LATER_IDS:
                return OldPage(found, number, None)
            if self._is_old(row, before):
                found.append(Old(row.id, row.gid))
        return OldPage(found, len(rows), rows[-1].id if len(rows) == limit else None)

    def _is_old(self, row: Any, before: datetime) -> bool:
        ended = self._clock.time(row.ended)
        return (
            text_of(row.status).strip().casefold() in FINAL_STATUSES and ended is not None and ended < before
        )

    async def when_ended(self, gids: Collection[str]) -> Mapping[str, datetime | None]:
        """Of those that are stored, in lower case: when they ended; None: they have not."""
        return await self._read(lambda it: self._when_ended(it, gids))

    def _when_ended(self, connection: Connection, gids: Collection[str]) -> Mapping[str, datetime | None]:
        ended: dict[str, datetime | None] = {}
        for some in pieces(sorted(gids)):
            wanted = select(_GLOBAL.gid, _GLOBAL.status, _ENDED.label("ended")).where(_GLOBAL.gid.in_(some))
            for row in connection.execute(wanted):
                gid, end = text_of(row.gid).casefold(), self._clock.time(row.ended)
                is_final = text_of(row.status).strip().casefold() in FINAL_STATUSES
                # Where two differ in case alone, one that has not ended counts.
                ended[gid] = end if is_final and ended.get(gid, end) is not None else None
        return ended

    async def whole(self, old: Sequence[Old]) -> Sequence[Mapping[str, Any]]:
        """Their rows as they are stored, `{"transaction": …, "branches": […]}`, and with `"results"`, by
        branch_id, where steps kept some. old: WHOLE_MAX at most.
        """

        def read(connection: Connection) -> Sequence[Mapping[str, Any]]:
            ids, gids = [it.id for it in old], [it.gid for it in old]
            rows = connection.execute(select(TRANS_GLOBAL).where(_GLOBAL.id.in_(ids)).order_by(_GLOBAL.id))
            branches: dict[str, list[Mapping[str, Any]]] = {gid: [] for gid in gids}
            transactions = [self._readable(row) for row in rows]
            of_them = select(TRANS_BRANCH_OP).where(_BRANCH.gid.in_(gids)).order_by(_BRANCH.id)
            for row in connection.execute(of_them):
                branches.setdefault(row.gid, []).append(self._readable(row))
            kept = results_of(connection, gids) if DTM_RESULT.name in self._of_transactions else {}
            of_gids = {gid: {"results": results} for gid, results in kept.items()}
            return [
                {"transaction": it, "branches": branches[it["gid"]], **of_gids.get(it["gid"], {})}
                for it in transactions
            ]

        return await self._read(read)

    def _readable(self, row: Row[Any]) -> Mapping[str, Any]:
        values = {str(name): value for name, value in row._mapping.items()}
        return values | {name: self._clock.time(values[name]) for name in values if name.endswith("_time")}

    async def give_back(self) -> int:
        """Give some of the space that was freed back to the disk; returns pages that are still to be given.

        Only a SQLite file that was made so has any: servers look after their own.
        """
        return await self._transact(_give_back)

    async def purge(self, old: Sequence[Old], before: datetime) -> Purged:
        """Delete those of them that have ended before that, as the database has it now."""
        return await self._transact(lambda it: self._purge(it, old, before)) if old else Purged()

    def _purge(self, connection: Connection, old: Sequence[Old], before: datetime) -> Purged:
        is_old = self._is_old_still(before)
        ids = [it.id for it in old]
        locked = select(_GLOBAL.id, _GLOBAL.gid).where(_GLOBAL.id.in_(ids), is_old)
        rows = connection.execute(locked.with_for_update(skip_locked=self._skip_locked)).all()
        ids, gids = [row.id for row in rows], [row.gid for row in rows]
        if not ids:
            return Purged()
        of_them = select(_BRANCH.id).where(_BRANCH.gid.in_(gids)).limit(BRANCHES_MAX + 1)
        branches = list(connection.execute(of_them).scalars())
        its_own = select(_GLOBAL.id).where(_GLOBAL.gid == _BRANCH.gid, is_old)
        for some in pieces(sorted(branches[:BRANCHES_MAX])):
            connection.execute(delete(TRANS_BRANCH_OP).where(_BRANCH.id.in_(some), exists(its_own)))
        if len(branches) > BRANCHES_MAX:
            return Purged(0, BRANCHES_MAX, is_done=False)
        for name in self._of_transactions:
            table = OWN_METADATA.tables[name]
            found = connection.execute(select(table.c.gid).distinct().where(table.c.gid.in_(gids)))
            if there := list(found.scalars()):
                connection.execute(delete(table).where(table.c.gid.in_(there)))
        gone = connection.execute(delete(TRANS_GLOBAL).where(_GLOBAL.id.in_(ids), is_old)).rowcount
        return Purged(gone, len(branches))

    def _is_old_still(self, before: datetime) -> ColumnElement[bool]:
        return and_(_GLOBAL.status.in_(FINAL_STATUSES), self._clock.text(before) > _ENDED)


def _give_back(connection: Connection) -> int:
    if connection.dialect.name != "sqlite":
        return 0
    if connection.exec_driver_sql("PRAGMA auto_vacuum").scalar() != _INCREMENTAL:
        return 0
    driver = cast(sqlite3.Connection, connection.connection.driver_connection)
    driver.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()  # each row frees a page
    return int(connection.exec_driver_sql("PRAGMA freelist_count").scalar() or 0)
