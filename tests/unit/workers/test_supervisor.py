"""Who is started when, and who is ended, with processes that are played."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from coordinator.errors import StartError
from coordinator.workers import supervisor as module
from coordinator.workers.supervisor import Supervisor, pause_before


class Played:
    def __init__(self, number: int, *, is_ready: bool = True, hangs: bool = False) -> None:
        self.number = number
        self.started = 0.0
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.hangs = hangs
        self.events: list[str] = []
        self.said = asyncio.create_task(self._say(is_ready))

    async def _say(self, is_ready: bool) -> str:
        if not is_ready:
            await asyncio.shield(self.code)
        return f"{self.number} is ready" if is_ready else ""

    def ask_to_stop(self) -> None:
        self.events.append("asked")
        if not self.hangs:
            self.end(0)

    def kill(self) -> None:
        self.events.append("killed")
        self.end(-9)

    def end(self, code: int) -> None:
        if not self.code.done():
            self.code.set_result(code)

    async def ended(self) -> int:
        return await asyncio.shield(self.code)


class Stage:
    def __init__(self, count: int, make: Callable[[int], Played] = Played) -> None:
        self.started: list[Played] = []
        self.pauses: list[float] = []
        self.make = make
        self.changed = asyncio.Event()
        self.supervisor = Supervisor(count, self._start, monotonic=lambda: 1.0, sleep=self._sleep)

        self.begins = asyncio.Event()  # and is there only then: a start takes its time
        self.begins.set()

    async def _start(self, number: int) -> Played:
        self.started.append(made := self.make(number))
        self.changed.set()
        await self.begins.wait()
        return made

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not is_so():
                self.changed.clear()
                await self.changed.wait()


def test_the_pause_doubles_up_to_its_bound() -> None:
    pauses = [pause_before(deaths) for deaths in range(1, 40)]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == 30.0
    assert all(earlier <= later for earlier, later in pairwise(pauses))


async def run_with(stage: Stage, meanwhile: Callable[[], Awaitable[None]]) -> None:
    await stage.supervisor.start()
    running = asyncio.create_task(stage.supervisor.run())
    try:
        await meanwhile()
    finally:
        stage.supervisor.stop()
        async with asyncio.timeout(30):
            await running


async def test_the_first_is_ready_before_the_others_are_started() -> None:
    stage = Stage(3)
    assert await stage.supervisor.start() == "1 is ready"
    assert [it.number for it in stage.started] == [1, 2, 3]


async def test_one_that_dies_is_started_again_each_time_a_little_later() -> None:
    stage = Stage(2)

    async def meanwhile() -> None:
        for deaths in range(1, 5):
            stage.started[-1].end(-9)
            await stage.until(lambda deaths=deaths: len(stage.started) == 2 + deaths)

    await run_with(stage, meanwhile)
    assert [it.number for it in stage.started[2:]] == [2, 2, 2, 2]
    assert stage.pauses == [0.1, 0.2, 0.4, 0.8]
    assert all(it.code.done() for it in stage.started)


async def test_one_that_is_never_ready_ends_all() -> None:
    stage = Stage(3, lambda number: Played(number, is_ready=number != 3))
    starting = asyncio.create_task(stage.supervisor.start())
    await stage.until(lambda: len(stage.started) == 3)
    stage.started[2].end(1)
    with pytest.raises(StartError, match="process 3 of 3 ended with 1"):
        await starting
    assert [it.events for it in stage.started[:2]] == [["asked"], ["asked"]]


async def test_one_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.01)
    stage = Stage(2, lambda number: Played(number, hangs=number == 2))

    async def nothing() -> None:
        return

    await run_with(stage, nothing)
    assert [it.events for it in stage.started] == [["asked"], ["asked", "killed"]]


async def test_renewing_ends_the_next_when_the_one_before_is_ready() -> None:
    stage = Stage(2)
    await run_with(stage, stage.supervisor.renew)
    assert [it.number for it in stage.started] == [1, 2, 1, 2]
    assert stage.pauses == []  # nobody died


async def test_one_that_is_being_started_when_all_are_to_stop_is_ended_in_order() -> None:
    stage = Stage(2)

    async def meanwhile() -> None:
        stage.begins.clear()
        stage.started[1].end(-9)
        await stage.until(lambda: len(stage.started) == 3)
        asyncio.get_running_loop().call_later(0.05, stage.begins.set)

    await run_with(stage, meanwhile)
    assert stage.started[2].events == ["asked"]
    assert stage.started[0].events == ["asked"]
