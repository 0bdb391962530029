"""SIGTERM under load: the coordinator ends by itself, soon, and has lost nothing."""

import asyncio
import time
from random import Random

import pytest

from coordinator.client import Dtm, DtmError, Ongoing
from tests.chaos.business import BranchService, Plan, check, clients, plans, saga_of, until, until_final
from tests.conftest import StartCoordinator
from tests.support.under_test import Store

SAGAS = 200
STOP_SECONDS_MAX = 15


@pytest.mark.timeout(60)
async def test_sigterm_under_load(
    start_coordinator: StartCoordinator,
    branch_service: BranchService,
    store: Store | None,
    seed: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    coordinator = await asyncio.to_thread(start_coordinator, store=store)
    made = plans(SAGAS, Random(seed), "stop")
    acknowledged: list[Plan] = []
    async with (
        clients(coordinator, timeout=2) as (http, grpc),
        Dtm(coordinator.http_url, timeout=60) as patient,
    ):

        async def submit(plan: Plan) -> None:
            try:
                await saga_of(grpc if plan.grpc else http, plan, branch_service).submit()
            except Ongoing:
                acknowledged.append(plan)
            except DtmError:  # refused, rolled back, or no answer any more: it may be stored
                pass
            else:
                acknowledged.append(plan)

        async def some_taken() -> bool:
            return len(acknowledged) > 10

        submitting = asyncio.gather(*(submit(plan) for plan in made))
        # One call that never ends must not keep it from stopping.
        hang = patient.saga("hangs", retry_interval=1)
        url = branch_service.http_url
        await hang.add(f"{url}/saveUser", f"{url}/deleteUser", {"id": 0, "gender": "hang"}).submit()
        await until(some_taken, seconds=20, what="some sagas acknowledged")
        started = time.monotonic()
        code = await asyncio.to_thread(coordinator.stop)
        seconds = time.monotonic() - started
        await submitting
        assert code == 0
        assert seconds < STOP_SECONDS_MAX
        assert "Traceback" not in coordinator.output()

        await asyncio.to_thread(coordinator.start)
        found = {plan.gid: await patient.query(plan.gid) for plan in made}
        stored = [plan for plan in made if found[plan.gid] is not None]
        assert {plan.gid for plan in acknowledged} <= {plan.gid for plan in stored}
        views = await until_final(patient, [plan.gid for plan in stored], seconds=20)
    check(stored, views, branch_service)
    coordinator.kill()  # the hanging one would hold up a second orderly stop
    with capsys.disabled():
        print(f"\n  stopped within {seconds:.1f} s, {len(acknowledged)} acknowledged, {len(stored)} stored")
