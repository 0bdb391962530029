"""What nobody waits for is done when the loop is idle, a little at a time, and never much later."""

import asyncio
import time

import pytest

from coordinator.engine import lull as lull_room
from coordinator.engine.lull import SECONDS_MAX, WAITING_MAX, Lull


class Played:
    """A clock, and a loop whose turns take as long as is said."""

    def __init__(self, turn_seconds: float = 0.0) -> None:
        self.now = 0.0
        self.turns = 0
        self.turn_seconds = turn_seconds
        self.came: list[tuple[int, int, float]] = []  # number, turn, time
        self.lull = Lull(lambda: self.now)

    async def turn(self) -> None:
        """Turns of the loop until cancelled."""
        while True:
            self.now += self.turn_seconds
            self.turns += 1
            await asyncio.sleep(0)

    async def wait(self, number: int) -> None:
        await self.lull.come()
        self.came.append((number, self.turns, self.now))


async def played(count: int, turn_seconds: float) -> list[tuple[int, int, float]]:
    """So many wait at once; returns who came, in which turn, and when."""
    it = Played(turn_seconds)
    turning = asyncio.create_task(it.turn())
    await asyncio.gather(*(it.wait(number) for number in range(count)))
    turning.cancel()
    return it.came


async def test_an_idle_loop_lets_them_go_in_their_order_a_few_in_one_turn() -> None:
    came = await played(30, turn_seconds=0.0)
    assert [number for number, _, _ in came] == list(range(30))
    turns = [turn for _, turn, _ in came]
    assert max(turns.count(turn) for turn in turns) <= 8


async def test_while_the_loop_is_busy_they_wait_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lull_room, "TOGETHER_SECONDS", 0)
    times = [when for _, _, when in await played(30, turn_seconds=0.001)]
    assert len(times) == 30
    assert SECONDS_MAX < min(times) <= max(times) < SECONDS_MAX + 0.01


async def test_who_gives_up_is_in_nobodys_way() -> None:
    it = Played()
    gone, stays = (asyncio.create_task(it.wait(number)) for number in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await stays
    assert [number for number, _, _ in it.came] == [1]


async def test_on_a_loop_as_it_is_it_takes_but_a_moment() -> None:
    lull = Lull(time.perf_counter)
    began = time.perf_counter()
    await lull.come()
    await lull.come()
    assert time.perf_counter() - began < 1


async def test_of_very_many_the_last_do_not_wait() -> None:
    it = Played()
    waiting = [asyncio.create_task(it.wait(number)) for number in range(WAITING_MAX + 3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [number for number, _, _ in it.came] == list(range(WAITING_MAX, WAITING_MAX + 3))
    await asyncio.gather(*waiting)
