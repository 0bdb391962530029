"""Keeps the record: rows that travel with a change, rows of what was refused; forgets what is old."""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from coordinator.access.audit import REFUSED, Actor, Record, audit_row
from coordinator.access.gate import Refusal
from coordinator.access.permissions import Permission
from coordinator.clock import Clock
from coordinator.errors import StoreUnavailable
from coordinator.store.own_rows import OwnRow
from coordinator.telemetry.log import log

BEAT_SECONDS: Final = 1.0
REFUSALS_MAX: Final = 60  # recorded in a minute, over all: more are counted
_WAITING_MAX: Final = 2 * REFUSALS_MAX
_MINUTE: Final = 60.0
_FORGET_SECONDS: Final = 600.0  # between two looks for old rows
_FORGOTTEN_AT_ONCE: Final = 500
_CLIENTS: Final = Permission.SUBMIT  # what clients call is not recorded when it is refused


class Rows(Protocol):
    """What is asked of the store. Raises StoreUnavailable."""

    async def add(self, rows: Sequence[OwnRow]) -> None:
        """See AuditTable."""
        ...

    async def forget(self, now: datetime, age: timedelta, *, limit: int) -> int:
        """See AuditTable."""
        ...


class Recorder:
    """rows: None where there is no table, so that the log alone tells. beat: every BEAT_SECONDS.

    coordinator: the instance's name. kept: how long.
    """

    def __init__(self, rows: Rows | None, clock: Clock, *, coordinator: str, kept: timedelta) -> None:
        self._rows = rows
        self._clock = clock
        self._coordinator = coordinator
        self._kept = kept
        self._waiting: deque[OwnRow] = deque(maxlen=_WAITING_MAX)
        self._writing: asyncio.Task[None] | None = None
        self._minute = clock.monotonic()
        self._refusals = 0  # in this minute
        self._looked_at = -_FORGET_SECONDS

    def rows(self, by: Actor, record: Record) -> tuple[OwnRow, ...]:
        """What is to be stored with the change."""
        return () if self._rows is None else (self.row(by, record),)

    def done(self, by: Actor, record: Record) -> None:
        """Tell the log of a change that stands."""
        log.info(
            "{} of {} by {}, {}, from {}: {} -> {}",
            *(record.action, record.target, by.who, by.method, by.address or "here"),
            *(record.was or "-", record.became or "-"),
            audit=True,
        )

    def refused(self, by: Actor, record: Record) -> None:
        """Note what was refused; so many a minute that nobody fills log and table with it."""
        now = self._clock.monotonic()
        if now - self._minute >= _MINUTE:
            if self._refusals > REFUSALS_MAX:
                log.warning(
                    "{} more calls were refused in a minute", self._refusals - REFUSALS_MAX, audit=True
                )
            self._minute, self._refusals = now, 0
        self._refusals += 1
        if self._refusals > REFUSALS_MAX:
            return
        log.warning(
            "{} of {} by {}, {}, from {}: {}",
            *(record.action, record.target or "-", by.who, by.method, by.address or "here", record.outcome),
            audit=True,
        )
        if self._rows is not None:
            self._waiting.append(self.row(by, record))

    def not_let_in(self, refusal: Refusal) -> None:
        """Note a call that the gate refused, unless it is one of clients."""
        if _CLIENTS not in refusal.needs.any_of:
            by = Actor(refusal.who.name, refusal.who.method, refusal.address)
            self.refused(by, Record(refusal.call, "", outcome=f"{REFUSED}: {refusal.why}"))

    async def beat(self) -> None:
        """Write what waits; now and then, forget what is old enough. While the store is away, both wait."""
        if self._rows is None:
            return
        try:
            while self._writing is not None or self._waiting:
                await self._write(self._rows)
            now = self._clock.monotonic()
            if now - self._looked_at >= _FORGET_SECONDS:
                gone = await self._rows.forget(self._clock.now(), self._kept, limit=_FORGOTTEN_AT_ONCE)
                if gone < _FORGOTTEN_AT_ONCE:
                    self._looked_at = now
        except StoreUnavailable as error:
            log.debug("the record of who did what waits for the store: {}", error.message)

    async def _write(self, to: Rows) -> None:
        """Write what waits, once each: a write that was given up is waited for by whoever comes next."""
        if self._writing is None:
            waiting = tuple(self._waiting)
            self._waiting.clear()
            self._writing = asyncio.create_task(self._add(to, waiting))
        await asyncio.shield(self._writing)

    async def _add(self, to: Rows, rows: Sequence[OwnRow]) -> None:
        try:
            await to.add(rows)
        except StoreUnavailable:
            self._waiting = deque((*rows, *self._waiting), _WAITING_MAX)  # the latest
            raise
        finally:
            self._writing = None

    def row(self, by: Actor, record: Record) -> OwnRow:
        """The row of it, for a table that is there wherever this one is."""
        return audit_row(by, record, at=self._clock.now(), coordinator=self._coordinator)


def unrecorded(clock: Clock) -> Recorder:
    """One that tells the log alone."""
    return Recorder(None, clock, coordinator="", kept=timedelta(0))
