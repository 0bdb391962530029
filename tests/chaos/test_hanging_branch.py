"""Branches that never answer hold up their own transactions and nobody else's."""

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest

from branches.proto.user import UserRequest
from coordinator.client import BranchStatus, Dtm, Status
from tests.chaos.business import BranchService, Plan, clients, saga_of, until, until_final
from tests.conftest import StartCoordinator
from tests.support.under_test import Store

HANGING, HEALTHY = 30, 300
HANGING_SECONDS = 60  # until the coordinator gives a call up: not before the test is over
SECONDS_MAX = 20  # for the healthy ones, once their service is back


@pytest.mark.timeout(70)
async def test_transactions_whose_branch_hangs_do_not_hold_up_recovery(
    start_coordinator: StartCoordinator,
    branch_service: BranchService,
    store: Store | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    healthy_folder = tmp_path / "healthy"
    healthy_folder.mkdir()
    healthy = BranchService(healthy_folder)  # down at first
    coordinator = await asyncio.to_thread(start_coordinator, store=store)
    made = [
        Plan(f"healthy-{number}", number, grpc=number % 2 == 0, fails=False, wait_result=False)
        for number in range(1, HEALTHY + 1)
    ]

    async def all_hang_again() -> bool:
        return await _hung(branch_service) == 2 * HANGING

    try:
        async with clients(coordinator, timeout=10) as (http, grpc):
            stuck = await _submit_hanging(http, grpc, branch_service)
            await asyncio.gather(
                *(saga_of(grpc if plan.grpc else http, plan, healthy).submit() for plan in made)
            )
            # A refused connection is no result: each waits for its next round, among those that hang.
            before = [await http.query(plan.gid) for plan in made]
            assert all(view and view.status is Status.SUBMITTED for view in before)
            # After a crash all of them are due at once: now it is recovery that meets those that hang.
            await asyncio.to_thread(coordinator.kill)
            await asyncio.to_thread(coordinator.start)
            await until(all_hang_again, seconds=10, what=f"{HANGING} recovered calls hanging")
            await asyncio.to_thread(healthy.start)
            started = time.monotonic()
            views = await until_final(http, [plan.gid for plan in made], seconds=SECONDS_MAX)
            seconds = time.monotonic() - started
            assert {view.status for view in views.values()} == {Status.SUCCEED}
            assert await _hung(branch_service) == 2 * HANGING  # they hung all the time
            for gid in stuck:  # unknown is not failure: they are asked again, and not rolled back
                view = await http.query(gid)
                assert view is not None
                assert view.status is Status.SUBMITTED
                assert {branch.status for branch in view.branches} == {BranchStatus.PREPARED}
    finally:
        healthy.close()
        coordinator.kill()  # an orderly stop would wait for the calls that hang
    with capsys.disabled():
        print(f"\n  {HEALTHY} transactions finished {seconds:.1f} s after their service came, {HANGING} hung")


async def _submit_hanging(http: Dtm, grpc: Dtm, service: BranchService) -> list[str]:
    gids = [f"hanging-{number}" for number in range(HANGING)]
    user = f"{service.grpc_address}/user.User"
    for number, gid in enumerate(gids):
        if number % 2:
            payload = bytes(UserRequest(id="1", name="a", gender="hang"))
            saga = grpc.saga(gid, retry_interval=1, request_timeout=HANGING_SECONDS).add(
                f"{user}/saveUser", f"{user}/saveUserCallback", payload
            )
        else:
            url = service.http_url
            saga = http.saga(gid, retry_interval=1, request_timeout=HANGING_SECONDS).add(
                f"{url}/saveUser", f"{url}/deleteUser", {"id": 1, "gender": "hang"}
            )
        await saga.submit()
    return gids


async def _hung(service: BranchService) -> int:
    """Return how many calls have begun to hang there."""
    async with aiohttp.ClientSession() as session, session.get(f"{service.http_url}/state") as answer:
        return int((await answer.json())["hung"])
