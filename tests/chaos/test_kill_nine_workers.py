"""`kill -9` of one of several processes, and of the one before them, while old rows are deleted."""

import asyncio
import os
import signal
import time
from collections import deque
from random import Random

import pytest

from tests.chaos.business import BranchService, Seen, check, clients, plans, until_final
from tests.chaos.test_kill_nine import submit_all
from tests.chaos.test_purging import OLD, at_most, check_purged, count, plant
from tests.conftest import StartCoordinator
from tests.support.patience import PATIENCE
from tests.support.processes import children_of, is_alive
from tests.support.servers import Database
from tests.support.under_test import CoordinatorProcess

SAGAS = 120
SUBMITTERS = 8
WORKERS = 2
KILLS = 5  # of a worker; the one before them is killed once between
LONGEST_LIFE_SECONDS = 0.5


@pytest.mark.timeout(300)
async def test_nothing_is_lost_whichever_of_several_processes_is_killed_while_old_rows_go(
    start_coordinator: StartCoordinator,
    branch_service: BranchService,
    mariadb_database: Database,
    seed: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    random, seen, started = Random(seed), Seen(), time.monotonic()
    made = plans(SAGAS, random, "kill")
    coordinator = await asyncio.to_thread(
        start_coordinator, store=mariadb_database, settings={"Workers": WORKERS, "TimeZoneOffset": "+0"}
    )
    await asyncio.to_thread(plant, mariadb_database)
    async with clients(coordinator, timeout=200) as (http, grpc):
        waiting = deque(made)
        submitters = [
            asyncio.create_task(submit_all(waiting, http, grpc, branch_service, seen))
            for _ in range(SUBMITTERS)
        ]
        for number in range(KILLS):
            await asyncio.sleep(random.uniform(0, LONGEST_LIFE_SECONDS))
            await _kill_one(coordinator, random)
            if number == KILLS // 2:
                await _kill_the_one_before_them(coordinator)
        await asyncio.gather(*submitters)
        views = await until_final(http, [plan.gid for plan in made], seconds=120)
    check(made, views, branch_service, seen)
    gone = OLD * 2 - await asyncio.to_thread(count, mariadb_database, "old-%")
    await at_most(0, mariadb_database)
    await asyncio.to_thread(check_purged, mariadb_database)
    with capsys.disabled():
        print(
            f"\n  {SAGAS} sagas, {KILLS} workers and one supervisor killed, {gone} old rows gone meanwhile,"
            f" {time.monotonic() - started:.1f} s, seed {seed}"
        )


async def _kill_one(coordinator: CoordinatorProcess, random: Random) -> None:
    """Any that runs; who stands before them starts another."""
    victim = random.choice(await _workers(coordinator))
    os.kill(victim, signal.SIGKILL)


async def _workers(coordinator: CoordinatorProcess) -> list[int]:
    """Those that run, as soon as there is one."""
    deadline = time.monotonic() + 60 * PATIENCE
    while not (found := [pid for pid in children_of(coordinator.pid) if is_alive(pid)]):
        assert time.monotonic() < deadline, "no worker was started again"
        await asyncio.sleep(0.02)
    return found


async def _kill_the_one_before_them(coordinator: CoordinatorProcess) -> None:
    """None of the others outlives it; then all are started again."""
    workers = children_of(coordinator.pid)
    await asyncio.to_thread(coordinator.kill)
    deadline = time.monotonic() + 60 * PATIENCE
    while any(map(is_alive, workers)):
        assert time.monotonic() < deadline, "a worker outlives the one before it"
        await asyncio.sleep(0.02)
    await asyncio.to_thread(coordinator.start)
