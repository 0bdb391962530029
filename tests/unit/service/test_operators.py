"""Stopping for good, and bringing the next round forward (PROTOCOL §3)."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from coordinator.access.audit import NOBODY
from coordinator.backoff import Timing
from coordinator.calls.base import SUCCESS, Answer
from coordinator.errors import Conflict, Failure
from coordinator.explain.actions import Action
from coordinator.model import Branch, Options, Result, Status, Transaction
from coordinator.patterns import saga
from coordinator.service.operate import Wish
from coordinator.store.base import Changed
from tests.unit.service.bench import Bench, request, succeed, virtually


@virtually
async def test_force_stop_ends_calling() -> None:
    """PROTOCOL §3: status failed, nothing more is called."""

    async def slow(_branch: Branch) -> Answer:
        await asyncio.sleep(1)
        return SUCCESS

    bench = Bench(slow)
    running = asyncio.create_task(bench.transactions.submit(request("saga", 5, wait_result=True)))
    await asyncio.sleep(1.5)
    await bench.operators.force_stop("g")
    with pytest.raises(Failure):
        await running
    assert bench.row.status is Status.FAILED
    assert bench.caller.called == ["action 01", "action 02"]
    with pytest.raises(Failure, match=r"force stop error. status: failed. error: FAILURE"):
        await bench.operators.force_stop("g")


@virtually
async def test_a_call_in_flight_is_not_made_again_because_everything_is_made_due() -> None:
    """PROTOCOL §3, §9: resetCronTime takes no lease from a driver."""
    calls = 0

    async def slow(_branch: Branch) -> Answer:
        nonlocal calls
        calls += 1
        await asyncio.sleep(2.5)
        return SUCCESS

    bench = Bench(slow)
    driven = asyncio.create_task(bench.transactions.submit(request("saga", 1, wait_result=True)))
    looking = asyncio.create_task(bench.recovery.run())
    await asyncio.sleep(1)
    assert await bench.operators.reset_cron_time(timeout=0, limit=10) == (0, False)
    await driven
    looking.cancel()
    assert (bench.row.status, calls) == (Status.SUCCEED, 1)


@virtually
async def test_what_another_coordinator_drives_is_due_when_its_lease_is_over() -> None:
    """PROTOCOL §3, §9: resetNextCronTime; the back-off of 300 s that the row waits for is cut short."""
    bench = Bench(succeed)
    now = bench.tools.clock.now()
    row = Transaction(
        *("g", "saga", Status.SUBMITTED),
        next_cron_interval=300,
        next_cron_time=now + timedelta(seconds=300),
        owner="b/1/1",
    )
    branches = saga.branches_of(request("saga", 1, wait_result=True))
    assert await bench.store.insert(row, branches, timeout=5)
    looking = asyncio.create_task(bench.recovery.run())
    await bench.operators.reset_next_cron_time("g")
    await asyncio.sleep(Timing().lease(Options()) - 1)
    assert bench.row.owner == "b/1/1"  # b may be in the middle of a call
    await asyncio.sleep(7)
    assert bench.row.status is Status.SUCCEED
    looking.cancel()


@virtually
async def test_a_transaction_waiting_for_its_time_can_be_made_due_now() -> None:
    """PROTOCOL §3: resetNextCronTime, resetCronTime."""
    answers = [Answer(Result.UNKNOWN)]

    async def behaviour(_branch: Branch) -> Answer:
        return answers.pop() if answers else SUCCESS

    bench = Bench(behaviour)
    with pytest.raises(Failure):
        await bench.transactions.submit(request("saga", 1, wait_result=True, retry_interval=1000))
    looking = asyncio.create_task(bench.recovery.run())
    await asyncio.sleep(5)
    assert bench.row.status is Status.SUBMITTED
    assert await bench.operators.reset_cron_time(timeout=5000, limit=10) == (0, False)
    assert await bench.operators.reset_cron_time(timeout=None, limit=10) == (1, False)
    await asyncio.sleep(1)
    assert bench.row.status is Status.SUCCEED
    await bench.operators.reset_next_cron_time("g")
    looking.cancel()


@virtually
async def test_a_reset_is_due_at_once_and_not_in_the_next_second() -> None:
    """PROTOCOL §3: resetNextCronTime; asking for it all the time must not push the retry away."""
    answers = [Answer(Result.UNKNOWN)]

    async def behaviour(_branch: Branch) -> Answer:
        return answers.pop() if answers else SUCCESS

    bench = Bench(behaviour)
    await asyncio.sleep(0.4)
    with pytest.raises(Failure):
        await bench.transactions.submit(request("saga", 1, wait_result=True, retry_interval=1000))
    looking = asyncio.create_task(bench.recovery.run())
    await asyncio.sleep(0.1)
    await bench.operators.reset_next_cron_time("g")
    await asyncio.sleep(0.1)
    assert bench.row.status is Status.SUCCEED
    looking.cancel()


@pytest.mark.parametrize("lost", [1, 99])
@virtually
async def test_who_is_not_the_quickest_asks_again_and_who_never_is_hears_of_it(
    lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retries and the stop: none says that it is done when it is not."""
    bench, left = Bench(), 0
    store = type(bench.store)
    change = store.change

    async def quicker(*given: Any, **named: Any) -> Changed:
        nonlocal left
        left -= 1
        return Changed.REFUSED if left >= 0 else await change(*given, **named)

    monkeypatch.setattr(store, "change", quicker)
    await bench.put("saga", Status.SUBMITTED, next_cron_time=bench.tools.clock.now() + timedelta(hours=1))
    for asked in (
        lambda: bench.operators.reset_next_cron_time("g"),
        lambda: bench.first.operations.operate.act("g", Wish(Action.RETRY), "", NOBODY),
        lambda: bench.operators.force_stop("g"),
    ):
        left = lost
        if lost > 1:
            with pytest.raises(Conflict, match="being changed by others all the time"):
                await asked()
        else:
            await asked()
            assert left < 0
