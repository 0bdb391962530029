"""A workflow function that raises for ever: it backs off, alerts, and shows where (PROTOCOL §7, §9)."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from coordinator.client import BranchContext, Status, Workflow, workflow
from coordinator.testing import Kit


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    async with Kit() as kit:
        yield kit


async def weigh(branch: BranchContext) -> int:
    pears: dict[str, int] = {}
    return pears["weight"]


async def attempts_of(kit: Kit, gid: str) -> list[Any]:
    url = f"{kit.http_url}/api/operate/transactions/{gid}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        found: list[Any] = (await answer.json())["attempts"]
        return found


async def test_it_backs_off_and_its_traceback_is_an_attempt(kit: Kit) -> None:
    runs = 0

    @workflow("weigh")
    async def weighing(wf: Workflow, data: Any) -> None:
        nonlocal runs
        runs += 1
        await wf.do(weigh)

    workflows = await kit.serve(weighing)
    with pytest.raises(KeyError):
        await workflows.execute(weighing, gid="g1")
    await kit.advance(400)
    assert runs <= 7, "10, 20, 40, 80, 160 s"
    (attempt,) = await attempts_of(kit, "g1")
    assert attempt["times"] == runs - 1
    assert "raised KeyError: 'weight'" in attempt["answer"]
    assert "test_workflow_raises.py" in attempt["answer"]
    assert "in weigh" in attempt["answer"]
    assert "in weighing" in attempt["answer"]
    assert "/" not in attempt["answer"], "where it lies is nobody's business"
    stored = await kit.dtm.query("g1")
    assert stored is not None
    assert stored.status is Status.PREPARED
