"""What a step answered outlives its coordinator: kill -9 between two steps, on every store."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.branch_server import BranchServer, branch_server
from tests.support.every_store import STORES, coordinator_on
from tests.support.under_test import CoordinatorProcess

WAIT_SECONDS = 30


@pytest.fixture(scope="module", params=STORES)
def coordinator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CoordinatorProcess]:
    yield from coordinator_on(request.param, request, tmp_path_factory)


async def test_the_next_coordinator_goes_on_with_what_is_stored(coordinator: CoordinatorProcess) -> None:
    async with branch_server() as branches:
        saga = {
            "gid": "killed",
            "trans_type": "saga",
            "steps": [
                {"action": branches.url("http", "ok"), "keep_result": True},
                {
                    "action": branches.url("http", "ongoing"),
                    "from_results": [{"at": "$.was", "step": 0, "path": "$.dtm_result"}],
                },
            ],
            "payloads": ["{}", '{"was":null}'],
        }
        assert (await asyncio.to_thread(coordinator.post, "submit", saga))[0] == 200
        await until_called(branches, 2)
        coordinator.kill()
        await asyncio.to_thread(coordinator.start)
        await asyncio.to_thread(coordinator.post, "resetNextCronTime", {"gid": "killed"})
        await until_called(branches, 3)
        assert [(it.path, it.body) for it in branches.asked[:3]] == [
            ("/ok", "{}"),
            ("/ongoing", '{"was":"SUCCESS"}'),
            ("/ongoing", '{"was":"SUCCESS"}'),
        ]


async def until_called(branches: BranchServer, count: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while len(branches.asked) < count:
            branches.was_asked.clear()
            await branches.was_asked.wait()
