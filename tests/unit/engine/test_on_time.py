"""What is due is taken up within a second, however rarely the store is polled."""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.calls.base import SUCCESS, Answer
from coordinator.engine.alarm import Alarm
from coordinator.engine.recovery import Recovery
from coordinator.model import Branch, Status, Step, Transaction
from tests.simulation.twin import START, virtual_now
from tests.simulation.virtual_loop import run_virtually
from tests.unit.service.bench import Bench, request, virtually


class Late:
    """Delayed messages, submitted one after the other at any coordinator, and how late each was called."""

    def __init__(self, *, interval: float, coordinators: int = 1) -> None:
        self.called: dict[str, float] = {}
        self.bench = Bench(self.call)
        nodes = [self.bench.first, *(self.bench.node() for _ in range(coordinators - 1))]
        self.nodes = [(node, Recovery(node.engine, interval=interval)) for node in nodes]

    async def call(self, branch: Branch) -> Answer:
        self.called[branch.gid] = asyncio.get_running_loop().time()
        return SUCCESS

    async def submit(self, gid: str, delay: int, *, at: int = 0) -> float:
        """Returns its stored second, as the loop counts."""
        asked = replace(
            request("msg", steps=1), gid=gid, custom_data=f'{{"delay":{delay}}}', query_prepared=""
        )
        asked = replace(asked, steps=(Step("http://branch/do"),))
        await self.nodes[at][0].operations.transactions.submit(asked)
        await asyncio.sleep(0.2)
        return (self.bench.rows.transactions[gid].next_cron_time - START).total_seconds()

    def run(self) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(recovery.run()) for _, recovery in self.nodes]


async def lateness(late: Late, delays: Iterable[tuple[float, int]]) -> list[float]:
    """delays: pauses before each submit, and its delay."""
    looking = late.run()
    stored = {}
    for number, (pause, delay) in enumerate(delays):
        await asyncio.sleep(pause)
        stored[f"m{number}"] = await late.submit(f"m{number}", delay, at=number % len(late.nodes))
    await asyncio.sleep(200)
    for task in looking:
        task.cancel()
    await asyncio.gather(*looking, return_exceptions=True)
    return [late.called[gid] - second for gid, second in stored.items()]


@settings(max_examples=40, deadline=None)
@given(
    interval=st.sampled_from([1, 3, 60, 3600]),
    coordinators=st.integers(1, 3),
    delays=st.lists(st.tuples(st.floats(0, 90), st.integers(1, 150)), min_size=1, max_size=6),
)
def test_a_delayed_message_is_called_within_a_second(
    interval: int, coordinators: int, delays: list[tuple[float, int]]
) -> None:
    async def run() -> list[float]:
        return await lateness(Late(interval=interval, coordinators=coordinators), delays)

    found = run_virtually(run())
    assert len(found) == len(delays)
    assert all(0 <= late <= 1 for late in found), found


@virtually
async def test_five_hundred_of_one_second_are_called_within_it() -> None:
    late = Late(interval=60)
    looking = late.run()
    due = math.ceil(asyncio.get_running_loop().time()) + 30
    for number in range(500):
        gid = f"m{number}"
        row = Transaction(
            gid,
            "msg",
            Status.SUBMITTED,
            create_time=virtual_now(),
            next_cron_interval=10,
            next_cron_time=START + timedelta(seconds=due),
        )
        late.bench.rows.add(row, [Branch(gid, "01", "action", "http://branch/do", b"{}")], by="another")
    await asyncio.sleep(60)
    looking[0].cancel()
    assert len(late.called) == 500
    assert max(late.called.values()) <= due + 1


def test_an_alarm_remembers_near_seconds_alone() -> None:
    alarm, told = Alarm(), []
    alarm.note(START + timedelta(seconds=1), START)
    alarm.horizon = 60
    alarm.sooner = lambda: told.append(alarm.first())
    for seconds in (61, -1, 30, 40, 30, 20.5):
        alarm.note(START + timedelta(seconds=seconds), START)
    at = START.timestamp()
    assert told == [pytest.approx(at + 30.02), pytest.approx(at + 21.02)]
    alarm.looked(START + timedelta(seconds=30))
    assert alarm.first() == pytest.approx(at + 40.02)
    alarm.looked(START + timedelta(seconds=40))
    assert alarm.first() is None
