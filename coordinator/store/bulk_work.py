"""What a coordinator asks of the tables while it works on a job. Leases are by the database's clock.

A lease is taken by comparing the row with how it was read, so that of two coordinators one finds it taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, select, update

from coordinator.model import EPOCH, Transaction
from coordinator.store.access_tables import AskTime, Run
from coordinator.store.bulk_rows import LEASE, Item, Job, State
from coordinator.store.bulk_stored import counted, counts_of, job_of
from coordinator.store.own_rows import OwnRow, with_text_times
from coordinator.store.own_tables import DTM_BULK, DTM_BULK_ITEM, DTM_BULK_RESULT
from coordinator.store.queries import understood
from coordinator.store.tables import TRANS_GLOBAL, add_own_rows
from coordinator.store.wall_clock import WallClock

_JOB: Final = DTM_BULK.c
_ITEM: Final = DTM_BULK_ITEM.c
_RESULT: Final = DTM_BULK_RESULT.c
_GLOBAL: Final = TRANS_GLOBAL.c
_ACTIVE: Final = (State.MAKING.value, State.RUNNING.value)
_ACTIVE_MAX: Final = 100  # that one look sees


@dataclass(frozen=True, slots=True)
class Active:
    """Jobs that somebody works on or should, and the database's time."""

    now: datetime
    jobs: Sequence[Job]


@dataclass(frozen=True, slots=True)
class Portion:
    """Items that wait, and their transactions by gid: those that are there, and understood."""

    items: Sequence[Item]
    transactions: Mapping[str, Transaction]


class BulkWork:
    """Raises StoreUnavailable."""

    def __init__(self, transact: Run, read: Run, ask_time: AskTime, wall_clock: WallClock) -> None:
        """ask_time: the database's clock. wall_clock: of the transactions' own times."""
        self._transact = transact
        self._read = read
        self._ask_time = ask_time
        self._wall_clock = wall_clock
        self._clock = WallClock(UTC, offsets=wall_clock.offsets)

    async def active(self) -> Active:
        """The jobs that somebody works on or should; one statement where there are none."""
        asked = select(DTM_BULK).where(_JOB.state.in_(_ACTIVE)).order_by(_JOB.id).limit(_ACTIVE_MAX)

        def found(connection: Connection) -> Active:
            rows = connection.execute(asked).all()
            now = self._ask_time(connection) if rows else EPOCH
            return Active(now, [job_of(row, self._clock) for row in rows])

        return await self._read(found)

    async def take(self, job: Job, owner: str) -> bool:
        """Begin a lease on a job that runs, if it is as it was read; False where somebody else was faster."""

        def taken(connection: Connection) -> bool:
            until = self._clock.text(self._ask_time(connection) + LEASE)
            still = update(DTM_BULK).where(
                *(_JOB.id == job.id, _JOB.state == State.RUNNING.value),
                *(_JOB.owner == job.owner, _JOB.until == self._clock.text(job.until)),
            )
            return connection.execute(still.values(owner=owner, until=until)).rowcount == 1

        return await self._transact(taken)

    async def renew(self, job_id: int, owner: str, passed: int) -> bool:
        """Go on with a lease, and write how far it has come; False where it is not the owner's any more."""

        def renewed(connection: Connection) -> bool:
            values = {
                "until": self._clock.text(self._ask_time(connection) + LEASE),
                "passed": passed,
                **counted(counts_of(connection, job_id)),
            }
            mine = (_JOB.id == job_id, _JOB.owner == owner, _JOB.state == State.RUNNING.value)
            return connection.execute(update(DTM_BULK).where(*mine).values(values)).rowcount == 1

        return await self._transact(renewed)

    async def let_go(self, owner: str) -> None:
        """End the leases of this run of a coordinator: any other may go on at once."""
        mine = update(DTM_BULK).where(_JOB.state == State.RUNNING.value, _JOB.owner == owner)
        await self._transact(lambda connection: connection.execute(mine.values(owner="")))

    async def portion(self, job_id: int, owner: str, *, passed: int, limit: int) -> Portion | None:
        """The next items without a result behind `passed`; None where the job is not the owner's any more."""
        mine = select(_JOB.id).where(
            _JOB.id == job_id, _JOB.owner == owner, _JOB.state == State.RUNNING.value
        )

        def found(connection: Connection) -> Portion | None:
            if connection.execute(mine).first() is None:
                return None
            items = _waiting(connection, job_id, passed, limit)
            rows = connection.execute(select(TRANS_GLOBAL).where(_GLOBAL.gid.in_([it.gid for it in items])))
            return Portion(items, {it.gid: it for it in understood(rows, self._wall_clock)})

        return await self._read(found)

    async def add_results(self, results: Sequence[OwnRow]) -> None:
        """Store results of items that nothing was done to. Raises Conflict where one has a result already."""
        texts = with_text_times(results, self._clock)
        await self._transact(lambda connection: add_own_rows(connection, texts))


def _waiting(connection: Connection, job_id: int, passed: int, limit: int) -> list[Item]:
    """The first items behind `passed` that wait, at most `limit`; none at the end.

    By ranges of the two tables' keys, which need no statistics to be found: a join would.
    """
    found: list[Item] = []
    while len(found) < limit:
        behind = select(DTM_BULK_ITEM).where(_ITEM.bulk == job_id, _ITEM.number > passed)
        rows = connection.execute(behind.order_by(_ITEM.number).limit(limit)).all()
        if not rows:
            break
        last = rows[-1].number
        results = select(_RESULT.number).where(
            _RESULT.bulk == job_id, _RESULT.number > passed, _RESULT.number <= last
        )
        have = set(connection.execute(results).scalars())
        found += [Item(row.number, row.gid, row.trans_id) for row in rows if row.number not in have]
        passed = last
    return found[:limit]
