"""The pages of bulk jobs: dry run, what is confirmed, the job, without script."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from coordinator.config.settings import Settings, Store
from coordinator.server.server import Server
from tests.support.ports import free_port

HOST = "127.0.0.1"
SECONDS_MAX = 60.0


class Person:
    """Somebody at the console."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def put(self, *gids: str) -> None:
        for gid in gids:
            step = {"action": f"http://{HOST}:{free_port()}/pay", "compensate": ""}
            saga = {"gid": gid, "trans_type": "saga", "steps": [step], "payloads": ["{}"]}
            async with self._session.post(f"{self._url}/api/dtmsvr/prepare", json=saga) as answer:
                assert answer.status == 200, await answer.text()

    async def see(self, path: str, **query: str) -> tuple[int, str]:
        async with self._session.get(self._url + path, params=query) as answer:
            return answer.status, await answer.text()

    async def press(self, path: str, **form: str) -> tuple[int, str, str]:
        """Status, where it leads, text."""
        async with self._session.post(self._url + path, data=form) as answer:
            return answer.status, answer.url.path, await answer.text()

    async def see_until(self, path: str, words: str) -> str:
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                _, text = await self.see(path)
                if words in text:
                    return text
                await asyncio.sleep(0.05)


@pytest.fixture
async def person(tmp_path: Path) -> AsyncIterator[Person]:
    settings = Settings(
        host=HOST, http_port=free_port(), grpc_port=free_port(), store=Store(path=tmp_path / "dtm.db")
    )
    server = Server(settings, reset=False)
    await server.start()
    try:
        async with ClientSession() as session:
            yield Person(session, f"http://{HOST}:{settings.http_port}")
    finally:
        await server.stop()


def hidden(text: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text))


async def test_a_job_is_looked_at_begun_and_looked_at_again(person: Person) -> None:
    await person.put("one", "two")
    status, text = await person.see("/bulk")
    assert (status, "No bulk job is running" in text, "/bulk/new" in text) == (200, True, True)
    status, text = await person.see("/bulk/new", filter="status:prepared", action="stop")
    assert (status, "The filter finds 2 transactions" in text) == (200, True)
    assert "will be asked" in text and ">one</a>" in text and "Stop 2 for good" in text
    given = hidden(text)
    assert given == {"filter": "status:prepared", "id_max": "2", "confirm": "2"}
    await person.put("later")
    status, path, text = await person.press("/bulk/stop", **given, reason="<b>gone</b>", rate="1000")
    assert (status, path) == (200, "/bulk/1")
    text = await person.see_until("/bulk/1", "All 2 have had their turn")
    assert "&lt;b&gt;gone" in text and "data-live" not in text
    assert text.count("data-row=") == 2
    _, text = await person.see("/bulk/1", result="waiting")
    assert "data-row=" not in text
    status, text = await person.see("/bulk")
    assert "Stop 2 transactions for good" in text and "2 of 2" in text
    _, text = await person.see("/transactions", filter="gid:later")
    assert "status-prepared" in text


async def test_many_are_confirmed_by_typing_how_many(person: Person) -> None:
    await person.put(*[f"g{number}" for number in range(101)])
    _, text = await person.see("/bulk/new", filter="status:prepared", action="stop")
    assert "Type how many they are, 101, to confirm" in text and 'name="confirm" required' in text
    given = {**hidden(text), "reason": "gone", "rate": "1"}
    status, path, text = await person.press("/bulk/stop", **given, confirm="100")
    assert (status, path) == (409, "/bulk/stop")
    assert "finds 101 transactions, not 100" in text and 'value="gone"' in text
    assert "No bulk job is running" in (await person.see("/bulk"))[1]
    status, path, _ = await person.press("/bulk/stop", **given, confirm=" 101 ")
    assert (status, path) == (200, "/bulk/1")


async def test_a_job_is_paused_resumed_and_cancelled(person: Person) -> None:
    await person.put(*[f"g{number}" for number in range(20)])
    await person.press("/bulk/stop", filter="status:prepared", reason="x", rate="1", confirm="20")
    _, text = await person.see("/bulk/1")
    assert 'data-live="tick"' in text and "/bulk/1/pause" in text and "/bulk/1/resume" not in text
    for verb, words in (("pause", "Paused: "), ("resume", "have had their turn"), ("cancel", "Cancelled: ")):
        status, path, text = await person.press(f"/bulk/1/{verb}")
        assert (status, path, words in text) == (200, "/bulk/1", True)
    status, _, text = await person.press("/bulk/1/cancel")
    assert (status, "it cannot be asked to cancel" in text) == (409, True)


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        ({"filter": "colour:red", "reason": "x"}, 400, "there is no key"),
        ({"filter": "gid:one"}, 400, "reason: say why"),
        ({"filter": "gid:one", "reason": "x", "rate": "fast"}, 400, "rate: must be a number"),
        ({"filter": "gid:one", "reason": "x", "rate": "0"}, 400, "rate: must be from 1"),
        ({"filter": "gid:one", "reason": "x", "id_max": "9" * 30}, 400, "id_max: must be a number"),
        ({"filter": "gid:nobody", "reason": "x"}, 409, "there is nothing to do"),
    ],
)
async def test_what_is_wrong_is_said_beside_the_form(
    person: Person, form: dict[str, str], status: int, said: str
) -> None:
    await person.put("one")
    answered, _, text = await person.press("/bulk/stop", **form)
    assert (answered, said in text, 'name="filter"' in text) == (status, True, True)


async def test_what_is_no_job_is_no_page(person: Person) -> None:
    for path, said in (
        ("/bulk/7", "there is no bulk job 7"),
        ("/bulk/x", "id: must be a number"),
        ("/bulk/0", "id: must be the number of a bulk job"),
    ):
        status, text = await person.see(path)
        assert (status >= 400, said in text) == (True, True), path
