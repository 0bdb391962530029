"""`kill -9` of the coordinator that works on a bulk job: it is finished, nothing twice, nothing else."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.conftest import StartCoordinator
from tests.support.ports import HOST, free_port
from tests.support.servers import Database
from tests.support.under_test import CoordinatorProcess

COUNT = 200
RATE = 50  # a second, so that there is time to kill
SECONDS_MAX = 40.0  # a lease of ten, a look every five
GIDS = [f"bulk-{number:03d}" for number in range(COUNT)]


class Asked:
    """The coordinators, asked over HTTP."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def post(self, at: CoordinatorProcess, path: str, **body: Any) -> Any:
        async with self._session.post(f"{at.http_url}/api/{path}", json=body) as answer:
            said = await answer.json()
            assert answer.status == 200, said
            return said

    async def get(self, at: CoordinatorProcess, path: str, **given: str) -> Any:
        async with self._session.get(f"{at.http_url}/api/operate/{path}", params=given) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def saga(self, at: CoordinatorProcess, call: str, gid: str) -> None:
        step = {"action": f"http://{HOST}:{free_port()}/nobody", "compensate": ""}
        await self.post(at, f"dtmsvr/{call}", gid=gid, trans_type="saga", steps=[step], payloads=["{}"])

    async def job(self, at: CoordinatorProcess, job_id: int, *, done: int) -> Any:
        """The job, once so many are done."""
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                job = await self.get(at, f"bulk/{job_id}")
                if job["done"] >= done:
                    return job
                await asyncio.sleep(0.05)

    async def stopped(self, at: CoordinatorProcess) -> Counter[str]:
        """How often the record says of each transaction that it was stopped."""
        found: Counter[str] = Counter()
        after = ""
        while True:
            page = await self.get(at, "audit", limit="500", after=after)
            found.update([it["target"] for it in page["records"] if it["action"] == "stop"])
            after = page["after"]
            if not after:
                return found


async def half_done(asked: Asked, at: CoordinatorProcess) -> int:
    """Begin a job on all that is prepared, change what its filter finds, let some of it be done."""
    await asyncio.gather(*[asked.saga(at, "prepare", gid) for gid in GIDS])
    made = await asked.post(
        at, "operate/bulk/stop", filter="status:prepared", rate=RATE, confirm=COUNT, reason="gone"
    )
    job_id = int(made["job"]["id"])
    await asked.saga(at, "submit", GIDS[-1])  # which the filter would not find any more
    await asked.saga(at, "prepare", "late")  # which it would
    assert (await asked.job(at, job_id, done=COUNT // 8))["waiting"] > COUNT // 2
    return job_id


async def check(asked: Asked, at: CoordinatorProcess, job_id: int) -> None:
    job = await asked.job(at, job_id, done=COUNT)
    assert (job["count"], job["waiting"]) == (COUNT, 0)
    assert await asked.stopped(at) == Counter(GIDS), "each once"
    page = await asked.get(at, "transactions", filter="-status:failed", limit="10")
    assert [(it["gid"], it["status"]) for it in page["transactions"]] == [("late", "prepared")]


@pytest.mark.timeout(120)
async def test_another_coordinator_finishes_it(
    start_coordinator: StartCoordinator, mariadb_database: Database
) -> None:
    first = await asyncio.to_thread(start_coordinator, store=mariadb_database)
    second = await asyncio.to_thread(start_coordinator, store=mariadb_database)
    async with ClientSession() as session:
        asked = Asked(session)
        job_id = await half_done(asked, first)
        await asyncio.to_thread(first.kill)
        left = await asked.get(second, f"bulk/{job_id}")
        assert left["waiting"] > 0
        await check(asked, second, job_id)


@pytest.mark.timeout(120)
async def test_after_a_restart_it_is_finished(start_coordinator: StartCoordinator) -> None:
    coordinator = await asyncio.to_thread(start_coordinator)
    async with ClientSession() as session:
        asked = Asked(session)
        job_id = await half_done(asked, coordinator)
        await asyncio.to_thread(coordinator.kill)
        await asyncio.to_thread(coordinator.start)
        await check(asked, coordinator, job_id)
