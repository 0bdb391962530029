"""PROTOCOL §10: a time-out is an absolute deadline. The same contract as `asyncio.timeout`."""

import asyncio
from collections import Counter

import pytest

from coordinator.deadlines import LATE_SECONDS, TICK_SECONDS, Deadlines
from tests.simulation.virtual_loop import run_virtually


async def test_a_body_in_time_is_left_alone() -> None:
    deadlines = Deadlines()
    with deadlines.within(10) as deadline:
        await asyncio.sleep(0)
    assert not deadline.expired


async def test_a_body_that_takes_longer_ends_with_timeout_error() -> None:
    deadlines = Deadlines()
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(TimeoutError), deadlines.within(0.1) as deadline:
        await asyncio.sleep(3600)
    assert deadline.expired
    assert 0.1 <= round(loop.time() - began, 3) < 0.1 + 2 * TICK_SECONDS + 30
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


async def test_many_deadlines_each_expire_at_their_own_time() -> None:
    deadlines = Deadlines()
    loop = asyncio.get_running_loop()

    async def wait(seconds: float) -> float:
        began = loop.time()
        with pytest.raises(TimeoutError), deadlines.within(seconds):
            await asyncio.sleep(10)
        return loop.time() - began

    wanted = [0.02 * number for number in range(10)]
    for seconds, took in zip(wanted, await asyncio.gather(*map(wait, wanted)), strict=True):
        assert took >= seconds


@pytest.mark.parametrize(("count", "at_once_max"), [(256, 2), (4000, 31)])
def test_many_that_end_in_one_tick_end_a_few_at_a_time_and_soon(count: int, at_once_max: int) -> None:
    ended: Counter[float] = Counter()  # by moment: between two of them others have their turn

    async def hang(deadlines: Deadlines, seconds: float) -> None:
        with pytest.raises(TimeoutError), deadlines.within(seconds):
            await asyncio.sleep(60)
        ended[asyncio.get_running_loop().time()] += 1

    async def all_hang() -> None:
        deadlines = Deadlines()
        with deadlines.within(30):  # is not kept from its own time
            await asyncio.gather(hang(deadlines, 0.3), *[hang(deadlines, 0.1) for _ in range(count)])

    run_virtually(all_hang())
    assert max(ended.values()) <= at_once_max
    assert ended.total() == count + 1
    assert max(ended) <= 0.3 + LATE_SECONDS


async def test_one_that_ends_by_itself_while_others_of_its_tick_are_ended_is_left_alone() -> None:
    deadlines = Deadlines()
    let = asyncio.Event()
    outcomes: list[bool] = []

    async def call() -> None:
        try:
            with deadlines.within(0.1):
                await let.wait()
            outcomes.append(True)
        except TimeoutError:
            let.set()  # of the first that are ended: the others end by themselves
            outcomes.append(False)

    await asyncio.gather(*[asyncio.create_task(call()) for _ in range(200)])
    assert len(outcomes) == 200
    assert outcomes.count(True) >= 100
    await asyncio.sleep(4 * TICK_SECONDS)
    assert not deadlines._buckets
    assert deadlines._timer is None


async def test_the_timer_stops_with_the_last_deadline_and_starts_again() -> None:
    deadlines = Deadlines()
    for _ in range(3):
        with deadlines.within(1e9):
            pass
        await asyncio.sleep(4 * TICK_SECONDS)
        assert deadlines._timer is None
        assert not deadlines._buckets
        with pytest.raises(TimeoutError), deadlines.within(TICK_SECONDS):
            await asyncio.sleep(10)


async def test_a_cancellation_from_outside_passes_through() -> None:
    deadlines = Deadlines()

    async def body() -> None:
        with deadlines.within(10):
            await asyncio.sleep(10)

    task = asyncio.create_task(body())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_from_outside_wins_over_the_deadline() -> None:
    deadlines = Deadlines()
    held: list[asyncio.Task[None]] = []

    async def body() -> None:
        with deadlines.within(0.01) as deadline:
            try:
                await asyncio.sleep(10)
            finally:
                assert deadline.expired
                held[0].cancel()  # as if somebody else had asked at the same moment
                await asyncio.sleep(0)

    held.append(asyncio.create_task(body()))
    with pytest.raises(asyncio.CancelledError):
        await held[0]


async def test_an_error_of_the_body_stays_what_it_is() -> None:
    deadlines = Deadlines()
    with pytest.raises(KeyError), deadlines.within(10):
        raise KeyError


async def test_deadlines_nest() -> None:
    deadlines = Deadlines()
    with pytest.raises(TimeoutError), deadlines.within(0.01) as outer, deadlines.within(10) as inner:
        await asyncio.sleep(10)
    assert (outer.expired, inner.expired) == (True, False)
