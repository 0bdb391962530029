"""Whatever goes wrong in one beat of a loop, the next one comes; what is kept never ends silently."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from loguru import logger

from coordinator.calls.connect import Reach
from coordinator.calls.places import Places
from coordinator.clock import SystemClock
from coordinator.discovery.names import Names
from coordinator.engine.alarm import Alarm
from coordinator.engine.alerts import Alert
from coordinator.engine.hook import WebHookAlerts
from coordinator.engine.recovery import Recovery
from coordinator.engine.shelf import Shelf
from coordinator.server.tasks import Tasks
from coordinator.watching.readiness import Readiness, StoreWatch

ERRORS = [ValueError("no time"), KeyError("x"), RuntimeError("a bug"), TimeoutError(), OSError("gone")]


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The lines that are logged from warnings upwards."""
    lines: list[str] = []
    handler = logger.add(lambda line: lines.append(str(line)), level="WARNING", format="{level} {message}")
    yield lines
    logger.remove(handler)


class Beats:
    """Fails in its first beats, then is well; says when it has been asked so often."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.failed = asyncio.Event()
        self.well = asyncio.Event()

    async def beat(self) -> None:
        if self._errors:
            self.failed.set()
            raise self._errors.pop(0)
        self.well.set()


@asynccontextmanager
async def tasks(readiness: Readiness) -> AsyncIterator[Tasks]:
    kept = Tasks(readiness)
    try:
        yield kept
    finally:
        await kept.end()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_beat_that_fails_is_told_and_the_next_one_comes(error: Exception, log: list[str]) -> None:
    readiness = Readiness()
    readiness.watch("recovery", str)
    beats = Beats(error, error)
    async with tasks(readiness) as kept:
        kept.repeat(beats.beat, "pulse", seconds=0.001)
        await asyncio.wait_for(beats.failed.wait(), 30)
        assert "failed, and is tried again: " in readiness.problems()["pulse"]
        await asyncio.wait_for(beats.well.wait(), 30)
        await asyncio.sleep(0)
        assert readiness.problems() == {}
    assert [line.splitlines()[0] for line in log] == ["ERROR pulse failed; it is tried again in 0.001 s"]


async def broken() -> None:
    raise RuntimeError("a bug")


async def ended() -> None:
    return


@pytest.mark.parametrize(("work", "words"), [(broken, "broke off: RuntimeError('a bug')"), (ended, "ended")])
async def test_a_task_that_ends_all_the_same_makes_it_unready(
    work: Callable[[], Any], words: str, log: list[str]
) -> None:
    readiness = Readiness()
    readiness.watch("recovery", str)
    async with tasks(readiness) as kept:
        kept.keep(work(), "alerts")
        for _ in range(5):  # turns of the loop: it ends, and is told
            await asyncio.sleep(0)
    assert readiness.problems() == {"alerts": words}
    assert log[0].startswith("ERROR alerts broke off; restart the coordinator")


async def test_a_stop_is_no_trouble(log: list[str]) -> None:
    readiness = Readiness()
    readiness.watch("recovery", str)
    async with tasks(readiness) as kept:
        kept.keep(asyncio.sleep(60), "alerts")
    assert readiness.problems() == {}
    assert log == []


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_recovery_goes_on_after_any_error(
    error: Exception, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(self: Recovery) -> float:
        await beats.beat()
        return 0.001

    beats = Beats(error)
    monkeypatch.setattr(Recovery, "look", look)
    clock = SystemClock()
    tools_ = SimpleNamespace(admission=SimpleNamespace(), shelf=Shelf(), alarm=Alarm(), clock=clock)
    engine: Any = SimpleNamespace(tools=tools_)
    recovery = Recovery(engine, interval=0.001)
    async with tasks(Readiness()) as kept:
        kept.keep(recovery.run(), "recovery")
        await asyncio.wait_for(beats.well.wait(), 30)
        await asyncio.sleep(0)
        assert recovery.problem == ""
    assert len(log) == 1


async def test_an_alert_that_cannot_be_delivered_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    delivered: asyncio.Queue[str] = asyncio.Queue()

    async def deliver(self: WebHookAlerts, session: object, alert: Alert) -> None:
        if alert.gid == "bad":
            raise RuntimeError("a bug")
        await delivered.put(alert.gid)

    monkeypatch.setattr(WebHookAlerts, "_deliver", deliver)
    alerts = WebHookAlerts("http://127.0.0.1:1/", Reach(Names(), Places()))
    alerts.failing(Alert("bad", "submitted"))
    alerts.failing(Alert("good", "submitted"))
    async with tasks(Readiness()) as kept:
        kept.keep(alerts.run(), "alerts")
        assert await asyncio.wait_for(delivered.get(), 30) == "good"
    assert any("an alert was not delivered" in line for line in log)


# --- the store's pulse ---


class Store:
    """Says what a test lets it say."""

    def __init__(self, said: datetime | Exception) -> None:
        self.said = said

    async def utc_now(self) -> datetime:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


async def test_the_clock_is_the_stores_from_the_first_look() -> None:
    clock, readiness = SystemClock(), Readiness()
    store = Store(datetime(2031, 1, 1, tzinfo=UTC))
    await StoreWatch(store, clock, readiness, own_clock=False).follow()
    assert abs((clock.now() - datetime(2031, 1, 1, tzinfo=UTC)).total_seconds()) < 5
    assert "clock" in readiness.problems()
