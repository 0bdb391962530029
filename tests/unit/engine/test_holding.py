"""What an operator holds is called by no coordinator until it is released, or its time is over."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from coordinator.calls.base import SUCCESS, Answer
from coordinator.engine.admission import Bounds
from coordinator.engine.holding import BEAT_SECONDS, Holding
from coordinator.errors import DtmError, StoreUnavailable
from coordinator.hold import Hold
from coordinator.model import Branch, Result, Status, Step
from coordinator.store.base import Change, Changed
from tests.simulation.hold_rows import HoldRows
from tests.simulation.twin import TwinStore, virtual_now
from tests.unit.engine.test_recovery import put_due
from tests.unit.service.bench import Bench, Node, Told, request, virtually

KNOWN_SECONDS = 5  # after which every coordinator has heard of it
URL = "http://branch/do"  # the bench's endpoints are whole urls


def hold_of(endpoint: str = URL, seconds: float = 60) -> Hold:
    now = virtual_now().replace(microsecond=0)
    return Hold(endpoint, "its rack is moved", "anna", now, now + timedelta(seconds=seconds))


class Held:
    """Coordinators whose doors are kept by one table; recovery works at each."""

    def __init__(self, bench: Bench, nodes: int = 1) -> None:
        self.bench = bench
        self.rows = HoldRows()
        self.nodes = [bench.first, *(bench.node() for _ in range(nodes - 1))]
        self.holdings = [Holding(self.rows, it.tools.admission, it.tools.clock) for it in self.nodes]
        self._tasks = [asyncio.create_task(_beat(it)) for it in self.holdings]
        self._tasks += [asyncio.create_task(it.recovery.run()) for it in self.nodes]

    async def hold(self, hold: Hold, at: int = 0) -> None:
        assert await self.holdings[at].hold(hold, ())

    async def release(self, endpoint: str = URL, at: int = 0) -> None:
        assert await self.holdings[at].release(endpoint, ())

    def status(self, gid: str) -> Status:
        return self.bench.rows.transactions[gid].status

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for node in self.nodes:
            await node.engine.stop(1)


async def _beat(holding: Holding) -> None:
    while True:
        await holding.beat()
        await asyncio.sleep(BEAT_SECONDS)


async def submit(node: Node, gid: str) -> None:
    wanted = replace(request("msg", steps=1), gid=gid, steps=(Step(URL),), query_prepared="")
    await node.operations.transactions.submit(wanted)


@virtually
async def test_nothing_is_called_while_it_is_held_and_all_is_when_it_is_released() -> None:
    told = Told()
    held = Held(Bench(alerts=told))
    await held.hold(hold_of(seconds=3600))
    await submit(held.nodes[0], "submitted")
    put_due(held.bench, "waiting", URL)
    put_due(held.bench, "elsewhere", "http://other/do")
    await asyncio.sleep(300)
    assert held.status("elsewhere") is Status.SUCCEED
    for gid in ("submitted", "waiting"):
        row = held.bench.rows.transactions[gid]
        assert (row.status, row.owner, row.next_cron_interval, row.ext_data) == (
            Status.SUBMITTED,
            "",
            10,
            "",
        ), "no round was driven, none has failed"
    assert held.bench.caller.called == ["action 01"], "the other service alone"
    await held.release()
    await asyncio.sleep(1)
    assert [held.status(gid) for gid in ("submitted", "waiting")] == [Status.SUCCEED] * 2
    assert told.alerts == []
    await held.close()


@virtually
async def test_it_ends_by_itself() -> None:
    held = Held(Bench())
    await held.hold(hold_of(seconds=60))
    put_due(held.bench, "waiting", URL)
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(59)
    assert held.bench.caller.called == []
    await asyncio.sleep(3)
    assert held.status("waiting") is Status.SUCCEED
    assert 60 <= held.bench.caller.at[0] - began <= 62
    assert held.holdings[0].standing == []
    await held.close()


@virtually
async def test_every_coordinator_obeys_within_five_seconds() -> None:
    held = Held(Bench(), nodes=2)
    await held.hold(hold_of(seconds=3600), at=0)
    await asyncio.sleep(KNOWN_SECONDS)
    await submit(held.nodes[1], "there")
    await asyncio.sleep(60)
    assert held.bench.caller.called == []
    assert held.holdings[1].standing == held.holdings[0].standing
    await held.release(at=1)
    await asyncio.sleep(KNOWN_SECONDS)
    assert held.status("there") is Status.SUCCEED
    assert held.holdings[0].standing == []
    await held.close()


@virtually
async def test_calls_that_run_end_as_ever_and_the_next_step_waits() -> None:
    async def slow(branch: Branch) -> Answer:
        await asyncio.sleep(2)
        return SUCCESS

    held = Held(Bench(slow))
    await held.nodes[0].operations.transactions.submit(request(steps=2))
    await asyncio.sleep(1)
    await held.hold(hold_of(seconds=3600))
    await asyncio.sleep(100)
    done = [(branch_id, op) for branch_id, op, status in held.bench.branch_rows if status == "succeed"]
    assert done == [("01", "action")]
    assert held.bench.row.owner == ""
    await held.release()
    await asyncio.sleep(5)
    assert held.status("g") is Status.SUCCEED
    assert held.bench.caller.called == ["action 01", "action 02"], "each once"
    await held.close()


@virtually
async def test_a_call_that_waits_for_a_commit_does_not_start_once_it_is_held() -> None:
    """Its place is taken, the result before it is being written: then the hold comes."""
    held = Held(Bench())
    written = asyncio.Event()
    change = TwinStore.change

    async def slowly(store: TwinStore, wanted: Change, *, timeout: float) -> Changed:
        if wanted.results:
            written.set()
            await asyncio.sleep(2)
        return await change(store, wanted, timeout=timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TwinStore, "change", slowly)
        await held.nodes[0].operations.transactions.submit(request(steps=2))
        await written.wait()
        await held.hold(hold_of(seconds=60))
        await asyncio.sleep(50)
        assert held.bench.caller.called == ["action 01"]
        assert not held.bench.tools.admission.by_endpoint(), "its place was given back"
        await asyncio.sleep(20)
    assert held.status("g") is Status.SUCCEED
    await held.close()


@virtually
async def test_a_back_off_is_neither_lengthened_nor_forgotten() -> None:
    answers = [Answer(Result.UNKNOWN, "down")] * 3

    async def failing(branch: Branch) -> Answer:
        return answers.pop() if answers else SUCCESS

    held = Held(Bench(failing))
    await submit(held.nodes[0], "g")
    await asyncio.sleep(200)
    assert held.status("g") is Status.SUCCEED, "after 20, 40 and 80 s"
    answers += [Answer(Result.UNKNOWN, "down")] * 2
    await submit(held.nodes[0], "again")
    await asyncio.sleep(70)
    before = held.bench.rows.transactions["again"]
    await held.hold(hold_of(seconds=600))
    await asyncio.sleep(300)
    after = held.bench.rows.transactions["again"]
    assert (after.next_cron_interval, after.ext_data) == (before.next_cron_interval, before.ext_data)
    await held.close()


@virtually
async def test_what_waits_costs_next_to_nothing() -> None:
    """Each is written every half a minute at most, and all go on at once, whenever they were due."""
    held = Held(Bench(bounds=Bounds()))
    await held.hold(hold_of(seconds=3600))
    for number in range(500):
        put_due(held.bench, f"m{number}", URL)
    await asyncio.sleep(60)
    writes = len(held.bench.rows.history)
    await asyncio.sleep(600)
    deferred = len(held.bench.rows.history) - writes
    assert deferred <= 500 * 600 / 30
    await held.release()
    began = asyncio.get_running_loop().time()
    while any(not row.status.is_final for row in held.bench.rows.transactions.values()):
        await asyncio.sleep(0.1)
        assert asyncio.get_running_loop().time() - began < 5
    await held.close()


@virtually
async def test_a_time_limit_counts_on() -> None:
    held = Held(Bench())
    await held.hold(hold_of(seconds=600))
    limited = replace(request(steps=1, timeout_to_fail=30), steps=(Step(URL, ""),))
    await held.nodes[0].operations.transactions.submit(limited)
    await asyncio.sleep(40)
    assert held.status("g") is Status.FAILED
    assert "action 01" not in held.bench.caller.called
    await held.close()


@virtually
async def test_while_the_store_is_away_what_was_read_stands() -> None:
    held = Held(Bench())
    await held.hold(hold_of(seconds=60))
    held.rows.is_away = True
    await asyncio.sleep(50)
    assert held.holdings[0].standing
    await asyncio.sleep(12)
    assert not held.holdings[0].standing
    with pytest.raises(StoreUnavailable):
        await held.hold(hold_of())
    assert not held.holdings[0].standing
    await held.close()


@virtually
async def test_a_read_that_began_before_a_change_here_does_not_undo_it() -> None:
    bench, rows = Bench(), HoldRows()
    holding = Holding(rows, bench.tools.admission, bench.tools.clock)
    asked, answer = asyncio.Event(), asyncio.Event()
    standing = rows.standing

    async def slowly(now: object) -> list[Hold]:
        found = list(await standing(virtual_now()))
        asked.set()
        await answer.wait()
        return found

    rows.standing = slowly  # type: ignore[method-assign, assignment]
    reading = asyncio.create_task(holding.read())
    await asked.wait()
    await holding.hold(hold_of(), ())
    answer.set()
    await reading
    assert holding.standing


@virtually
async def test_it_is_read_every_few_seconds_and_no_more() -> None:
    held = Held(Bench())
    await asyncio.sleep(100)
    assert 30 <= held.rows.reads <= 51
    await held.close()


async def test_without_a_table_it_says_what_to_do() -> None:
    bench = Bench()
    holding = Holding(None, bench.tools.admission, bench.tools.clock, missing="to have it, run: CREATE …")
    with pytest.raises(DtmError, match="CREATE"):
        await holding.hold(Hold(URL, "", "", virtual_now(), virtual_now()), ())
    with pytest.raises(DtmError, match="CREATE"):
        await holding.release(URL, ())
