"""Two people and the driver act on one transaction at once, in real stores: each stands or is refused.

Nothing is left half done: what was answered with success is what the transaction then does.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from tests.support.servers import Database, PostgresDatabase
from tests.support.under_test import CoordinatorProcess

ENDS_WITHIN = 90.0
RACES_AT_ONCE = 30
ACTIONS: dict[str, dict[str, str]] = {
    "retry": {},
    "rollback": {},
    "stop": {},
    "skip": {"branch_id": "01", "op": "action"},
}
PAIRS = list(itertools.combinations_with_replacement(ACTIONS, 2))
MOMENTS = ("before they ask", "while they ask", "after they were answered")  # when the driver's call ends


@dataclass
class Gates:
    """A service whose first step is answered when its gate is opened."""

    opened: dict[str, asyncio.Event] = field(default_factory=dict)
    begun: dict[str, asyncio.Event] = field(default_factory=dict)
    called: list[tuple[str, str, str]] = field(default_factory=list)  # gid, branch, op

    def add(self, gid: str) -> None:
        self.opened[gid], self.begun[gid] = asyncio.Event(), asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        gid, branch_id, op = (request.query[name] for name in ("gid", "branch_id", "op"))
        self.called.append((gid, branch_id, op))
        if (branch_id, op) == ("01", "action"):
            self.begun[gid].set()
            await self.opened[gid].wait()
        return web.Response()

    def calls(self, gid: str) -> set[tuple[str, str]]:
        return {(branch_id, op) for called, branch_id, op in self.called if called == gid}


@pytest.fixture
async def service() -> AsyncIterator[tuple[Gates, str]]:
    gates = Gates()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", gates.answer)
    async with TestServer(app) as server:
        yield gates, str(server.make_url("/"))


@contextmanager
def running(folder: Path, store: Database | None) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(folder, store=store)
    process.launch()
    try:
        yield process
    finally:
        print(process.output())
        process.close()


class People:
    """Who asks one coordinator."""

    def __init__(self, session: ClientSession, coordinator: CoordinatorProcess) -> None:
        self._session = session
        self._url = coordinator.http_url

    async def get(self, path: str, **given: str) -> Any:
        async with self._session.get(f"{self._url}/api/operate/{path}", params=given) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def submit(self, gid: str, url: str) -> None:
        steps = [{"action": f"{url}{step}", "compensate": f"{url}{step}/undo"} for step in ("one", "two")]
        saga = {
            "gid": gid,
            "trans_type": "saga",
            "steps": steps,
            "payloads": ["{}", "{}"],
            "request_timeout": 3,
        }
        async with self._session.post(f"{self._url}/api/dtmsvr/submit", json=saga) as answer:
            assert answer.status == 200, await answer.text()

    async def act(self, gid: str, action: str, agreed: str, who: int) -> bool:
        """Whether it was done; nothing else than a refusal is the alternative."""
        body = {**ACTIONS[action], "hash": agreed, "reason": f"person {who}"}
        url = f"{self._url}/api/operate/transactions/{gid}/{action}"
        async with self._session.post(url, json=body) as answer:
            said = await answer.json()
            assert answer.status in (200, 409), said
            assert said["dtm_result"] == ("SUCCESS" if answer.status == 200 else "FAILURE")
            return answer.status == 200

    async def ended(self, gid: str) -> Any:
        async with asyncio.timeout(ENDS_WITHIN):
            while True:
                shown = await self.get(f"transactions/{gid}")
                if shown["transaction"]["status"] in ("succeed", "failed"):
                    return shown
                await asyncio.sleep(0.2)


async def in_turn(turns: asyncio.Semaphore, race: Coroutine[Any, Any, None]) -> None:
    async with turns:
        await race


async def one_race(
    people: People, gates: Gates, url: str, gid: str, pair: tuple[str, str], moment: str
) -> None:
    gates.add(gid)
    await people.submit(gid, url)
    await gates.begun[gid].wait()
    agreed = [
        (await people.get(f"transactions/{gid}/preview", action=action, **ACTIONS[action]))["hash"]
        for action in pair
    ]
    if moment == MOMENTS[0]:
        gates.opened[gid].set()
    asking = [
        asyncio.create_task(people.act(gid, action, it, who))
        for who, (action, it) in enumerate(zip(pair, agreed, strict=True))
    ]
    if moment == MOMENTS[1]:
        gates.opened[gid].set()
    answers = await asyncio.gather(*asking)
    gates.opened[gid].set()
    done = {action for action, is_done in zip(pair, answers, strict=True) if is_done}
    shown = await people.ended(gid)
    is_as_answered(shown, gates.calls(gid), done, moment)
    records = (await people.get("audit", limit="1000"))["records"]
    recorded = [
        (it["action"], it["reason"]) for it in records if it["target"] == gid and it["outcome"] == "done"
    ]
    expected = [(action, f"person {who}") for who, action in enumerate(pair) if answers[who]]
    told = (gid, recorded, expected)
    assert sorted(recorded) == sorted(expected), told  # each that stands has its record, and no other has


def is_as_answered(shown: Any, calls: set[tuple[str, str]], done: set[str], moment: str) -> None:
    status = shown["transaction"]["status"]
    told = (done, moment, status, calls)
    assert done <= {"retry"} or len(done - {"retry"}) == 1, told
    if done & {"stop", "rollback"}:
        assert status == "failed", told
        assert ("02", "action") not in calls or moment != MOMENTS[2], told
    else:
        assert status == "succeed", told
        assert ("02", "action") in calls, told
    if "rollback" in done:
        assert ("01", "compensate") in calls, told
        assert "by an operator: person" in shown["transaction"]["rollback_reason"], told
    else:
        assert not {op for _, op in calls} & {"compensate"}, told


@pytest.mark.timeout(240)
async def test_two_people_and_the_driver_at_once(
    service: tuple[Gates, str],
    mariadb_database: Database,
    postgres_database: PostgresDatabase,
    tmp_path: Path,
) -> None:
    gates, url = service
    turns = asyncio.Semaphore(RACES_AT_ONCE)
    with (
        running(tmp_path / "sqlite", None) as first,
        running(tmp_path / "mariadb", mariadb_database) as second,
        running(tmp_path / "postgres", postgres_database) as third,
    ):
        for coordinator in (first, second, third):
            await asyncio.to_thread(coordinator.wait_until_ready)
        async with ClientSession() as session, asyncio.TaskGroup() as racing:
            for name, coordinator in (("sqlite", first), ("mariadb", second), ("postgres", third)):
                people = People(session, coordinator)
                for pair, moment in itertools.product(PAIRS, MOMENTS):
                    gid = f"{name}-{'-'.join(pair)}-{MOMENTS.index(moment)}"
                    racing.create_task(in_turn(turns, one_race(people, gates, url, gid, pair, moment)))
