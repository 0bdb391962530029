"""Rows of `dtm_attempt` and `dtm_stuck` beside the hot path: read, and forgotten. Times are in UTC."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Table, select

from coordinator.attempt import Attempt, Stuck
from coordinator.model import UNFINISHED
from coordinator.store.access_tables import Run
from coordinator.store.attempt_rows import attempt_of, stuck_of
from coordinator.store.own_tables import DTM_ATTEMPT, DTM_STUCK
from coordinator.store.swept import swept
from coordinator.store.wall_clock import WallClock

_ATTEMPT: Final = DTM_ATTEMPT.c
_STUCK: Final = DTM_STUCK.c
_UNFINISHED: Final = frozenset(status.value for status in UNFINISHED)


class AttemptTables:
    """What is asked of what went wrong. Raises StoreUnavailable."""

    def __init__(
        self, transact: Run, read: Run, wall_clock: WallClock, *, missing: Collection[str] = ()
    ) -> None:
        """wall_clock: of the transactions' own times. missing: tables of our own that there are not."""
        self.are_there = {DTM_ATTEMPT.name, DTM_STUCK.name}.isdisjoint(missing)
        self._transact = transact
        self._read = read
        self._wall_clock = wall_clock
        self._clock = WallClock(UTC, offsets=wall_clock.offsets)

    async def attempts(self, gid: str) -> Sequence[Attempt]:
        """Those of this transaction that are kept, by branch and op, in their order."""
        return await self._read(lambda connection: self.attempts_of(connection, gid))

    def attempts_of(self, connection: Connection, gid: str) -> list[Attempt]:
        """The same, over a connection; none where there are no tables."""
        if not self.are_there:
            return []
        wanted = select(DTM_ATTEMPT).where(_ATTEMPT.gid == gid)
        wanted = wanted.order_by(_ATTEMPT.branch_id, _ATTEMPT.op, _ATTEMPT.number)
        time = self._clock.time
        return [
            attempt_of({**row._mapping}, time(row.began), time(row.last))
            for row in connection.execute(wanted)
            if row.gid == gid
        ]

    async def stuck(self, gids: Sequence[str]) -> Mapping[str, Stuck]:
        """Those of these transactions that are stuck. gids: a page of them."""
        return await self._read(lambda connection: self.stuck_of(connection, gids))

    def stuck_of(self, connection: Connection, gids: Sequence[str]) -> dict[str, Stuck]:
        """The same, over a connection; none where there are no tables."""
        if not self.are_there:
            return {}
        rows = connection.execute(select(DTM_STUCK).where(_STUCK.gid.in_(gids)))
        return {row.gid: stuck_of({**row._mapping}, self._clock.time(row.since)) for row in rows}

    async def sweep_attempts(self, after: str, *, now: datetime, kept: timedelta, limit: int) -> str:
        """Delete those of transactions that are gone, or that ended longer ago than `kept`.

        after: the gid behind which to begin, "" for the first. limit: transactions that are looked at.
        Returns where to go on; "" at the end.
        """
        old = self._wall_clock.text(now - kept)

        def is_over(row: Any) -> bool:
            return row.status not in _UNFINISHED and str(row.update_time or "") < old

        return await self._sweep(DTM_ATTEMPT, after, is_over, limit)

    async def sweep_stuck(self, after: str, *, limit: int) -> str:
        """Delete those of transactions that are gone, or have ended. See sweep_attempts."""
        return await self._sweep(DTM_STUCK, after, lambda row: row.status not in _UNFINISHED, limit)

    async def _sweep(self, table: Table, after: str, is_over: Callable[[Any], bool], limit: int) -> str:
        return await self._transact(lambda it: swept(it, table, after, is_over, limit))
