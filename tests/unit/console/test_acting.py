"""Acting from a page, on a coordinator that runs: a preview, a reason, and what was agreed to."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession
from sqlalchemy import event
from sqlalchemy.engine import Engine

from coordinator.config.settings import Settings, Store
from coordinator.server.server import Server
from tests.support.ports import free_port

HOST = "127.0.0.1"
STATEMENTS_MAX = 5


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    settings = Settings(
        host=HOST, http_port=free_port(), grpc_port=free_port(), store=Store(path=tmp_path / "dtm.db")
    )
    server = Server(settings, reset=False)
    await server.start()
    try:
        yield f"http://{HOST}:{settings.http_port}"
    finally:
        await server.stop()


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as opened:
        yield opened


async def submitted(session: ClientSession, url: str, gid: str = "g/1") -> str:
    """A saga whose branch refuses connections; returns its page."""
    away = f"http://{HOST}:{free_port()}"
    steps = [{"action": f"{away}/out", "compensate": f"{away}/undo-out"}]
    body = {
        "gid": gid,
        "trans_type": "saga",
        "steps": steps,
        "payloads": ['{"amount":30}'],
        "wait_result": True,
    }
    async with session.post(f"{url}/api/dtmsvr/submit", json=body) as answer:
        assert answer.status != 200
    return f"{url}/transactions/{gid.replace('/', '%2F')}"


async def text_at(session: ClientSession, url: str, status: int = 200) -> str:
    async with session.get(url) as answer:
        assert answer.status == status
        return await answer.text()


def hash_in(text: str) -> str:
    found = re.search(r'name="hash" value="([0-9a-f]+)"', text)
    assert found
    return found[1]


@contextmanager
def statements() -> Iterator[list[str]]:
    """Those that are executed meanwhile."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_the_page_of_one_that_is_stuck_costs_a_handful_of_statements(
    url: str, session: ClientSession
) -> None:
    page = await submitted(session, url)
    await text_at(session, page)
    counts = []
    for _ in range(3):  # something else may be looked at meanwhile
        with statements() as seen:
            text = await text_at(session, page)
        counts.append(len([one for one in seen if "trans_" in one or "dtm_" in one]))
    assert 0 < min(counts) <= STATEMENTS_MAX
    assert "refuses connections" in text and ">W11<" in text


async def test_retry_is_a_click_and_leads_back(url: str, session: ClientSession) -> None:
    page = await submitted(session, url)
    agreed = hash_in(await text_at(session, page))
    async with session.post(f"{page}/retry", data={"hash": agreed}, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/transactions/g%2F1")


async def test_a_stop_shows_what_it_leaves_asks_why_and_stands_in_the_record(
    url: str, session: ClientSession
) -> None:
    page = await submitted(session, url)
    preview = await text_at(session, f"{page}/stop")
    assert "look, and put it right by hand if it did" in preview and "dtm stop g/1" in preview
    agreed = hash_in(preview)
    async with session.post(f"{page}/stop", data={"hash": agreed}) as answer:
        assert answer.status == 400
        assert "Say why" in await answer.text()
    done = {"hash": agreed, "reason": "the shop is <closed>"}
    async with session.post(f"{page}/stop", data=done) as answer:
        assert (answer.status, str(answer.url).endswith("/transactions/g%2F1")) == (200, True)
        assert "It was stopped" in await answer.text()
    async with session.get(f"{url}/api/operate/audit") as answer:
        records = (await answer.json())["records"]
    assert (records[0]["action"], records[0]["reason"]) == ("stop", "the shop is <closed>")


async def test_what_was_not_agreed_to_is_not_done_and_a_new_preview_is_shown(
    url: str, session: ClientSession
) -> None:
    page = await submitted(session, url)
    async with session.post(f"{page}/rollback", data={"hash": "0" * 16, "reason": "why"}) as answer:
        text = await answer.text()
        assert answer.status == 409
    assert "Nothing was done: it has moved since." in text
    assert 'value="why"' in text
    again = {"hash": hash_in(text), "reason": "why"}
    async with session.post(f"{page}/rollback", data=again, allow_redirects=False) as answer:
        assert answer.status == 303


async def test_a_branch_that_is_skipped_is_chosen_first(url: str, session: ClientSession) -> None:
    page = await submitted(session, url)
    assert '<option value="action 01">' in await text_at(session, f"{page}/skip")
    preview = await text_at(session, f"{page}/skip?branch=action+01&skip_reason=must+not+happen")
    assert "dtm skip g/1 01 --must-not-happen" in preview
    done = {
        "hash": hash_in(preview),
        "reason": "done by hand",
        "branch_id": "01",
        "op": "action",
        "skip_reason": "must not happen",
    }
    async with session.post(f"{page}/skip", data=done, allow_redirects=False) as answer:
        assert answer.status == 303


async def test_what_is_over_is_not_acted_on(url: str, session: ClientSession) -> None:
    page = await submitted(session, url)
    agreed = hash_in(await text_at(session, f"{page}/stop"))
    async with session.post(f"{page}/stop", data={"hash": agreed, "reason": "x"}) as answer:
        assert answer.status == 200
    assert "is failed already" in await text_at(session, f"{page}/stop", 409)
    assert "is failed already" in await text_at(session, f"{page}/skip", 409)


async def test_a_payload_is_downloaded_as_a_file(url: str, session: ClientSession) -> None:
    page = await submitted(session, url)
    assert "&#34;amount&#34;: 30" in await text_at(session, f"{page}/payload?branch_id=01&op=action")
    async with session.get(f"{page}/payload?branch_id=01&op=action&as=file") as answer:
        assert await answer.read() == b'{"amount":30}'
        assert answer.headers["Content-Disposition"] == 'attachment; filename="payload"'
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_transaction_that_there_is_not_is_said_on_a_page(url: str, session: ClientSession) -> None:
    assert "There is no such transaction" in await text_at(session, f"{url}/transactions/nobody", 404)
