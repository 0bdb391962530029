"""Jobs on many transactions, in their tables: made, moved, looked at, forgotten. Times are in UTC.

Every move compares the state that it expects, so that of two who move one, one finds it moved.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, delete, func, insert, select, update

from coordinator.errors import NotFound, StoreUnavailable
from coordinator.store.access_tables import AskTime, Run
from coordinator.store.attempt_tables import AttemptTables
from coordinator.store.bulk_rows import MAKING, UNFINISHED, Counts, Item, Job, State
from coordinator.store.bulk_stored import counted, counts_of, item_of, job_of, plain_values
from coordinator.store.bulk_work import BulkWork
from coordinator.store.gathering import Matches, newest_id, page_of_matches
from coordinator.store.own_rows import OwnRow, with_text_times
from coordinator.store.own_tables import DTM_BULK, DTM_BULK_ITEM, DTM_BULK_RESULT
from coordinator.store.search import Search
from coordinator.store.tables import add_own_rows
from coordinator.store.wall_clock import WallClock

_JOB: Final = DTM_BULK.c
_ITEM: Final = DTM_BULK_ITEM.c
_RESULT: Final = DTM_BULK_RESULT.c


class BulkTables:
    """Raises StoreUnavailable. missing: tables of our own that there are not."""

    def __init__(
        self,
        transact: Run,
        read: Run,
        ask_time: AskTime,
        attempts: AttemptTables,
        wall_clock: WallClock,
        *,
        missing: Collection[str] = (),
    ) -> None:
        """ask_time: the database's clock. wall_clock: of the transactions' own times."""
        names = {table.name for table in (DTM_BULK, DTM_BULK_ITEM, DTM_BULK_RESULT)}
        self.are_there = names.isdisjoint(missing)
        self.work = BulkWork(transact, read, ask_time, wall_clock)
        self._transact_always = transact
        self._read_always = read
        self._ask_time = ask_time
        self._attempts = attempts
        self._wall_clock = wall_clock
        self._clock = WallClock(UTC, offsets=wall_clock.offsets)

    async def newest_id(self) -> int:
        """The id of the newest transaction; 0 where there is none."""
        return await self._read(newest_id)

    async def matches(self, wanted: Search, *, id_max: int, after: str, limit: int, now: datetime) -> Matches:
        """A page of what a filter finds; see coordinator.store.gathering. Raises Invalid."""

        def found(connection: Connection) -> Matches:
            return page_of_matches(
                *(connection, wanted, self._attempts, self._wall_clock),
                id_max=id_max,
                after=after,
                limit=limit,
                now=now,
            )

        return await self._read(found)

    async def unfinished(self) -> int:
        """How many jobs have not ended."""
        states = [state.value for state in UNFINISHED]
        asked = select(func.count()).select_from(DTM_BULK).where(_JOB.state.in_(states))
        return await self._read(lambda connection: connection.execute(asked).scalar() or 0)

    async def make(self, job: Job) -> int:
        """Store it, without its items; returns its id. Its owner has MAKING to store them, and starts it."""

        def made(connection: Connection) -> int:
            now = self._ask_time(connection)
            values = {
                **plain_values(job),
                "state": State.MAKING.value,
                "until": self._clock.text(now + MAKING),
                "passed": 0,
                **counted(Counts()),
                "made": self._clock.text(now),
            }
            key = connection.execute(insert(DTM_BULK).values(values)).inserted_primary_key
            assert key is not None, "the row has one"
            return int(key[0])

        return await self._transact(made)

    async def add_items(self, job_id: int, items: Sequence[Item]) -> None:
        """Store items of a job that is being made: some thousand at a time."""
        rows = [{"bulk": job_id, "number": it.number, "gid": it.gid, "trans_id": it.trans_id} for it in items]
        await self._transact(lambda connection: connection.execute(insert(DTM_BULK_ITEM), rows))

    async def move(
        self, job: Job, to: State, *, records: Sequence[OwnRow] = (), owner: str | None = None
    ) -> bool:
        """Change its state, with the record of it, if it is in that of `job`; False where it is not.

        Nobody works on it then. owner: who must be working on it; None: whoever does.
        """

        def moved(connection: Connection) -> bool:
            now = self._clock.text(self._ask_time(connection))
            still = and_(_JOB.id == job.id, _JOB.state == job.state.value)
            if owner is not None:
                still = and_(still, _JOB.owner == owner)
            values: dict[str, Any] = {"state": to.value, "owner": "", "until": now}
            if to.is_final:
                values |= {"ended": now, **counted(counts_of(connection, job.id))}
            if connection.execute(update(DTM_BULK).where(still).values(values)).rowcount != 1:
                return False
            add_own_rows(connection, with_text_times(records, self._clock))
            return True

        return await self._transact(moved)

    async def jobs(self, *, limit: int, before_id: int | None) -> Sequence[Job]:
        """At most `limit`, the newest first."""
        newest = select(DTM_BULK).order_by(_JOB.id.desc()).limit(limit)
        if before_id is not None:
            newest = newest.where(_JOB.id < before_id)
        return await self._read(lambda it: [job_of(row, self._clock) for row in it.execute(newest)])

    async def find(self, job_id: int) -> Job:
        """It, with its results counted now. Raises NotFound."""

        def found(connection: Connection) -> Job:
            row = connection.execute(select(DTM_BULK).where(_JOB.id == job_id)).one_or_none()
            if row is None:
                raise NotFound(f"there is no bulk job {job_id}")
            is_over = State(row.state).is_final
            return job_of(row, self._clock, None if is_over else counts_of(connection, job_id))

        return await self._read(found)

    async def items(
        self, job_id: int, *, results: Collection[str] = (), after: int = 0, limit: int
    ) -> Sequence[Item]:
        """At most `limit` of its items behind the number `after`. results: those alone; "": that wait."""
        both = and_(_RESULT.bulk == _ITEM.bulk, _RESULT.number == _ITEM.number)
        wanted: Select[Any] = (
            select(DTM_BULK_ITEM, _RESULT.result, _RESULT.said, _RESULT.at)
            .outerjoin(DTM_BULK_RESULT, both)
            .where(_ITEM.bulk == job_id, _ITEM.number > after)
            .order_by(_ITEM.number)
            .limit(limit)
        )
        if results:
            wanted = wanted.where(func.coalesce(_RESULT.result, "").in_(sorted(results)))
        return await self._read(lambda it: [item_of(row, self._clock) for row in it.execute(wanted)])

    async def forget(self, now: datetime, age: timedelta, *, limit: int) -> bool:
        """Delete at most `limit` items of a job that ended longer ago; whether there may be more."""
        ended = select(_JOB.id).where(_JOB.ended < self._clock.text(now - age)).order_by(_JOB.id).limit(1)

        def forgotten(connection: Connection) -> bool:
            job_id = connection.execute(ended).scalar()
            if job_id is None:
                return False
            first = select(func.min(_ITEM.number)).where(_ITEM.bulk == job_id)
            lowest = connection.execute(first).scalar()
            if lowest is None:
                connection.execute(delete(DTM_BULK).where(_JOB.id == job_id))
                return True
            upto = lowest + limit - 1
            connection.execute(delete(DTM_BULK_RESULT).where(_RESULT.bulk == job_id, _RESULT.number <= upto))
            connection.execute(delete(DTM_BULK_ITEM).where(_ITEM.bulk == job_id, _ITEM.number <= upto))
            return True

        return await self._transact(forgotten)

    @property
    def _transact(self) -> Run:
        self._check()
        return self._transact_always

    @property
    def _read(self) -> Run:
        self._check()
        return self._read_always

    def _check(self) -> None:
        if not self.are_there:
            raise StoreUnavailable("this needs the table dtm_bulk: /api/ready says how to make it")
