"""Rows of `dtm_hold`: endpoints to which nothing is to be called. Times are in UTC, in whole seconds."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from coordinator.hold import Hold
from coordinator.model import EPOCH
from coordinator.store.access_tables import Run
from coordinator.store.own_rows import OwnRow, with_text_times
from coordinator.store.own_tables import DTM_HOLD
from coordinator.store.tables import add_own_rows
from coordinator.store.wall_clock import WallClock

HOLDS_MAX: Final = 200  # that are read

_HOLD: Final = DTM_HOLD.c


class HoldTable:
    """What is asked of the holds. Raises StoreUnavailable."""

    def __init__(self, transact: Run, read: Run, *, offsets: bool) -> None:
        """offsets: see WallClock."""
        self._transact = transact
        self._read = read
        self._clock = WallClock(UTC, offsets=offsets)

    async def standing(self, now: datetime) -> Sequence[Hold]:
        """Those whose time is not over, the latest end first; at most HOLDS_MAX."""

        def found(connection: Connection) -> list[Hold]:
            wanted = select(DTM_HOLD).where(_HOLD.until > self._clock.text(now))
            wanted = wanted.order_by(_HOLD.until.desc(), _HOLD.endpoint).limit(HOLDS_MAX)
            return [self._hold(row) for row in connection.execute(wanted)]

        return await self._read(found)

    async def put(self, hold: Hold, records: Sequence[OwnRow]) -> bool:
        """Store it in the place of an earlier one of its endpoint, with the record of it.

        What was over before it began goes. False where another was stored at the same moment: ask again.
        """
        text = self._clock.text
        values = {
            "reason": hold.reason,
            "who": hold.who,
            "since": text(hold.since),
            "until": self._clock.text_rounded_up(hold.until),
        }

        def stored(connection: Connection) -> bool:
            connection.execute(delete(DTM_HOLD).where(_HOLD.until < text(hold.since)))
            earlier = update(DTM_HOLD).where(_HOLD.endpoint == hold.endpoint)
            if not connection.execute(earlier.values(values)).rowcount:
                try:
                    connection.execute(insert(DTM_HOLD).values(endpoint=hold.endpoint, **values))
                except IntegrityError:
                    return False
            self._add(connection, records)
            return True

        return await self._transact(stored)

    async def remove(self, endpoint: str, records: Sequence[OwnRow]) -> bool:
        """Delete that of this endpoint, with the record of it; False where there is none."""

        def removed(connection: Connection) -> bool:
            if not connection.execute(delete(DTM_HOLD).where(_HOLD.endpoint == endpoint)).rowcount:
                return False
            self._add(connection, records)
            return True

        return await self._transact(removed)

    def _add(self, connection: Connection, records: Sequence[OwnRow]) -> None:
        add_own_rows(connection, with_text_times(records, self._clock))

    def _hold(self, row: Row[Any]) -> Hold:
        time = self._clock.time
        return Hold(row.endpoint, row.reason, row.who, time(row.since) or EPOCH, time(row.until) or EPOCH)
