"""What operators have held, kept alike at every coordinator's doors: the table is read every few seconds.

Whoever holds or releases here is obeyed at once; at other coordinators it takes as long as their next read.
While the store is away, what was read last stands until its time is over.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, Protocol

from coordinator.clock import Clock
from coordinator.engine.admission import Admission
from coordinator.errors import StoreUnavailable
from coordinator.hold import Hold
from coordinator.store.own_rows import OwnRow
from coordinator.telemetry.log import log

BEAT_SECONDS: Final = 1.0
READ_SECONDS: Final = 2.0  # at least, between two reads


class Rows(Protocol):
    """What is asked of the store. Raises StoreUnavailable."""

    async def standing(self, now: datetime) -> Sequence[Hold]:
        """See HoldTable."""
        ...

    async def put(self, hold: Hold, records: Sequence[OwnRow]) -> bool:
        """See HoldTable."""
        ...

    async def remove(self, endpoint: str, records: Sequence[OwnRow]) -> bool:
        """See HoldTable."""
        ...


class Holding:
    """rows: None where there is no table. beat: every BEAT_SECONDS, as long as there is one."""

    def __init__(self, rows: Rows | None, admission: Admission, clock: Clock, *, missing: str = "") -> None:
        """missing: why there is no table, for people."""
        self._rows_or_none = rows
        self._missing = missing
        self._admission = admission
        self._clock = clock
        self._standing: Mapping[str, Hold] = {}  # by endpoint
        self._changes = 0  # made here
        self._read_at = -READ_SECONDS

    @property
    def standing(self) -> Sequence[Hold]:
        """What is in force here, by endpoint."""
        return sorted(self._standing.values(), key=lambda hold: hold.endpoint)

    async def beat(self) -> None:
        """Release what is over; now and then, read what stands."""
        self._obey(self._standing)
        if self._rows_or_none is not None and self._clock.monotonic() - self._read_at >= READ_SECONDS:
            with suppress(StoreUnavailable):  # readiness says that the store is away
                await self.read()

    async def read(self) -> None:
        """Obey what stands in the table. Raises StoreUnavailable."""
        changes, self._read_at = self._changes, self._clock.monotonic()
        found = await self._rows.standing(self._clock.now())
        if changes == self._changes:  # else it may be older than what was changed here meanwhile
            self._obey({hold.endpoint: hold for hold in found})

    async def hold(self, hold: Hold, records: Sequence[OwnRow]) -> bool:
        """Store it with the records of it, and obey; False where another was stored at the same moment.

        Raises StoreUnavailable.
        """
        if not await self._rows.put(hold, records):
            return False
        self._changes += 1
        self._obey({**self._standing, hold.endpoint: hold})
        return True

    async def release(self, endpoint: str, records: Sequence[OwnRow]) -> bool:
        """Delete it with the records of that, and obey; False where nobody holds the endpoint.

        Raises StoreUnavailable.
        """
        was_there = await self._rows.remove(endpoint, records)
        self._changes += 1
        self._obey({name: hold for name, hold in self._standing.items() if name != endpoint})
        return was_there

    def _obey(self, wanted: Mapping[str, Hold]) -> None:
        now, before = self._clock.now(), self._standing
        self._standing = {name: hold for name, hold in wanted.items() if hold.stands(now)}
        for name, hold in self._standing.items():
            if before.get(name) != hold:
                self._admission.hold(hold, (hold.until - now).total_seconds())
                log.info(
                    "no call to {} starts until {:%Y-%m-%d %H:%M:%S} UTC: held by {}: {}",
                    *(name, hold.until, hold.who, hold.reason),
                )
        for name in before.keys() - self._standing.keys():
            self._admission.release(name)
            log.info("calls to {} start again: it is held no more", name)

    @property
    def _rows(self) -> Rows:
        if self._rows_or_none is None:
            raise StoreUnavailable(self._missing or "this store keeps no holds")
        return self._rows_or_none
