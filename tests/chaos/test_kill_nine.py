"""`kill -9` of the coordinator at random moments: nothing is lost, nothing happens twice."""

import asyncio
import time
from collections import deque
from random import Random

import pytest

from coordinator.client import Dtm, Failure, Ongoing, Status
from tests.chaos.business import BranchService, Plan, Seen, check, clients, plans, saga_of, until_final
from tests.conftest import StartCoordinator
from tests.support.under_test import CoordinatorProcess, Store

SAGAS = 300
SUBMITTERS = 16
KILLS_MIN, KILLS_MAX = 4, 8  # fewer would prove little, more take long: each costs a start
LONGEST_LIFE_SECONDS = 0.4  # from ready to the kill: so many lives are less than the sagas need
LONGEST_START_SECONDS = 0.5
SUBMIT_SECONDS = 200  # more than the whole test may need: only the connection ever breaks


@pytest.mark.timeout(300)
async def test_nothing_is_lost_or_done_twice_when_the_coordinator_is_killed(
    start_coordinator: StartCoordinator,
    branch_service: BranchService,
    store: Store | None,
    seed: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    random = Random(seed)
    made = plans(SAGAS, random, "kill")
    seen = Seen()
    coordinator = await asyncio.to_thread(start_coordinator, store=store)
    started = time.monotonic()
    async with clients(coordinator, timeout=SUBMIT_SECONDS) as (http, grpc):
        waiting = deque(made)
        submitters = [
            asyncio.create_task(submit_all(waiting, http, grpc, branch_service, seen))
            for _ in range(SUBMITTERS)
        ]
        kills = await kill_while(coordinator, submitters, random)
        await asyncio.gather(*submitters)
        views = await until_final(http, [plan.gid for plan in made], seconds=120)
    check(made, views, branch_service, seen)
    with capsys.disabled():
        print(f"\n  {SAGAS} sagas, {kills} kills, {time.monotonic() - started:.1f} s, seed {seed}")
    assert kills >= KILLS_MIN


async def submit_all(waiting: deque[Plan], http: Dtm, grpc: Dtm, service: BranchService, seen: Seen) -> None:
    """Submit what waits, one after the other, again while the connection breaks; note what is told."""
    while waiting:
        plan = waiting.popleft()
        saga = saga_of(grpc if plan.grpc else http, plan, service)
        try:
            submitted = await saga.submit()
        except Ongoing:
            continue
        except Failure as failure:
            # A repeated submit of a saga that is rolled back, or being rolled back, is refused by its status.
            assert plan.fails, f"{plan} was refused: {failure}"
            seen.rolled_back.add(plan.gid)
        else:
            if submitted.status is Status.SUCCEED:
                seen.succeeded.add(plan.gid)


async def kill_while(
    coordinator: CoordinatorProcess, submitters: list[asyncio.Task[None]], random: Random
) -> int:
    """Kill and start it again while there is work, at most so often; return how often. It runs at the end."""
    kills = 0
    while kills < KILLS_MAX and not all(submitter.done() for submitter in submitters):
        await asyncio.wait(submitters, timeout=random.uniform(0, LONGEST_LIFE_SECONDS))
        await asyncio.to_thread(coordinator.kill)
        kills += 1
        if random.random() < 0.25:  # and once more, while it is still starting
            await asyncio.to_thread(coordinator.launch)
            await asyncio.sleep(random.uniform(0, LONGEST_START_SECONDS))
            await asyncio.to_thread(coordinator.kill)
            kills += 1
        await asyncio.to_thread(coordinator.start)
        for submitter in submitters:
            if submitter.done():
                submitter.result()  # one that broke off fails the test now
    return kills
