"""The record of what was refused: written beside the calls, bounded, and kept while the store is away."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from coordinator.access.audit import Actor, Record
from coordinator.access.gate import Gate
from coordinator.access.permissions import Mode, Permission, changes
from coordinator.access.recorder import REFUSALS_MAX, Recorder, unrecorded
from coordinator.errors import Forbidden, StoreUnavailable, Unauthenticated
from coordinator.store.own_rows import OwnRow
from tests.unit.access.calls import KnownTokens

ANNA = Actor("anna", "token 1", "10.0.0.1")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Rows:
    def __init__(self) -> None:
        self.stored: list[OwnRow] = []
        self.old = 0
        self.is_away = False

    async def add(self, rows: Sequence[OwnRow]) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise StoreUnavailable("away")
        self.stored.extend(rows)

    async def forget(self, now: datetime, age: timedelta, *, limit: int) -> int:
        gone = min(self.old, limit)
        self.old -= gone
        return gone

    def column(self, name: str) -> list[object]:
        return [row.values[row.columns.index(name)] for row in self.stored]


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(rows: Rows, clock: Clock) -> Recorder:
    return Recorder(rows, clock, coordinator="one", kept=timedelta(days=365))


async def test_who_is_not_let_in_to_an_operators_call_is_recorded(recorder: Recorder, rows: Rows):
    gate = Gate(Mode.ALL, tokens=KnownTokens(), told=recorder.not_let_in)
    stop = gate.door("POST forceStop", changes(Permission.OPERATE_FORCE))
    with pytest.raises(Unauthenticated):
        await stop.enter((), "10.0.0.9")
    with pytest.raises(Forbidden):
        await stop.enter(("Bearer dtm_viewer",), "10.0.0.8")
    with pytest.raises(Unauthenticated):
        await stop.enter(("Bearer dtm_nonsense",), "10.0.0.7")
    submit = gate.door("POST submit", changes(Permission.SUBMIT))
    with pytest.raises(Unauthenticated):
        await submit.enter((), "10.0.0.9")  # one of a client's, of which there may be thousands
    await recorder.beat()
    assert rows.column("who") == ["anonymous", "the viewer", "anonymous"]
    assert rows.column("address") == ["10.0.0.9", "10.0.0.8", "10.0.0.7"]
    assert rows.column("action") == ["POST forceStop"] * 3
    assert all(str(outcome).startswith("refused: ") for outcome in rows.column("outcome"))
    assert "dtm_nonsense" not in str(rows.stored)


async def test_nobody_fills_the_table_with_refusals(recorder: Recorder, rows: Rows, clock: Clock):
    for _ in range(10 * REFUSALS_MAX):
        recorder.refused(ANNA, Record("stop", "g1", outcome="refused: x"))
    await recorder.beat()
    assert len(rows.stored) == REFUSALS_MAX
    clock.seconds = 61.0
    recorder.refused(ANNA, Record("stop", "g2"))
    await recorder.beat()
    assert len(rows.stored) == REFUSALS_MAX + 1


async def test_while_the_store_is_away_the_record_waits_within_bounds(
    recorder: Recorder, rows: Rows, clock: Clock
):
    rows.is_away = True
    for minute in range(10):
        clock.seconds = 61.0 * minute
        for _ in range(REFUSALS_MAX):
            recorder.refused(ANNA, Record("stop", str(minute)))
        await recorder.beat()
    rows.is_away = False
    await recorder.beat()
    assert len(rows.stored) == 2 * REFUSALS_MAX
    assert set(rows.column("target")) == {"8", "9"}  # the latest
    await recorder.beat()
    assert len(rows.stored) == 2 * REFUSALS_MAX  # once each


async def test_a_beat_that_is_given_up_while_it_writes_writes_once(recorder: Recorder, rows: Rows):
    recorder.refused(ANNA, Record("stop", "g1"))
    beat = asyncio.create_task(recorder.beat())
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # it is in the store
    recorder.refused(ANNA, Record("stop", "g2"))
    beat.cancel()
    await recorder.beat()  # as the stop does
    assert rows.column("target") == ["g1", "g2"]


async def test_old_rows_are_forgotten_a_portion_a_beat(recorder: Recorder, rows: Rows, clock: Clock):
    rows.old = 1200
    for clock.seconds in range(5):
        await recorder.beat()
    assert rows.old == 0
    rows.old = 10
    await recorder.beat()
    assert rows.old == 10  # not looked for all the time
    clock.seconds = 700
    await recorder.beat()
    assert rows.old == 0


async def test_without_a_table_the_log_alone_is_told(clock: Clock):
    recorder = unrecorded(clock)
    recorder.refused(ANNA, Record("stop", "g1"))
    recorder.done(ANNA, Record("stop", "g1"))
    assert recorder.rows(ANNA, Record("stop", "g1")) == ()
    await recorder.beat()
