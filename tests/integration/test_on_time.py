"""Delayed messages with a coordinator that hardly ever polls, on every store."""

import asyncio
import time

import pytest

from coordinator.client import Dtm
from tests.conftest import StartCoordinator
from tests.support.branch_server import branch_server
from tests.support.every_store import STORES
from tests.support.servers import Database

DELAYS = (2, 4, 7)


@pytest.mark.parametrize("kind", STORES)
async def test_each_is_called_within_a_second_of_its_time(
    kind: str, request: pytest.FixtureRequest, start_coordinator: StartCoordinator
) -> None:
    store: Database | None = None if kind == "sqlite" else request.getfixturevalue(f"{kind}_database")
    settings = {"TransCronInterval": 3600}
    coordinator = await asyncio.to_thread(start_coordinator, store=store, settings=settings)
    due: dict[str, float] = {}
    async with branch_server() as branches, Dtm(coordinator.api_url) as dtm:
        for delay in DELAYS:
            message = dtm.msg(f"delayed-{delay}", delay=delay).add(branches.url("http", "ok"), {})
            await message.submit()
            due[message.gid] = time.time() + delay
        called: dict[str, float] = {}
        async with asyncio.timeout(max(DELAYS) + 10):
            while len(called) < len(DELAYS):
                branches.was_asked.clear()
                called |= {it.gid: time.time() for it in branches.asked if it.gid not in called}
                if len(called) < len(DELAYS):
                    await branches.was_asked.wait()
    # Stored in whole seconds, rounded up; a machine that others use gets some time more.
    assert all(-0.1 <= called[gid] - at < 3 for gid, at in due.items()), (due, called)
