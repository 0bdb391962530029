"""The shell of the pages: what surrounds every one of them, whatever is on it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from coordinator.config.settings import Settings
from coordinator.config.store import Store
from coordinator.console.own_path import own_path
from coordinator.server.server import Server
from tests.support.ports import free_port

HOST = "127.0.0.1"


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    settings = Settings(
        host=HOST,
        http_port=free_port(),
        grpc_port=free_port(),
        admin_base_path="dtm",
        store=Store(path=tmp_path / "dtm.db"),
    )
    server = Server(settings, reset=False)
    await server.start()
    try:
        yield f"http://{HOST}:{settings.http_port}"
    finally:
        await server.stop()


async def test_every_page_is_guarded_also_one_that_says_what_went_wrong(url: str) -> None:
    async with ClientSession() as session:
        for path in (
            "/",
            "/access",
            "/transactions",
            "/transactions?filter=nonsense",
            "/language?to=xx",
            "/live?of=x",
        ):
            async with session.get(url + path) as answer:
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"], path
                assert answer.headers["X-Frame-Options"] == "DENY"
                assert answer.headers["Cache-Control"] == "no-store"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.content_type == "text/html"
                text = await answer.text()
                assert "<script>" not in text and "style=" not in text and "onclick" not in text


async def test_the_pages_are_below_the_base_too_and_link_to_each_other_there(url: str) -> None:
    async with ClientSession() as session:
        async with session.get(f"{url}/dtm/") as answer:
            text = await answer.text()
            assert 'href="/dtm/transactions"' in text and 'href="/transactions"' not in text
        async with session.get(f"{url}/dtm/admin/", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/dtm/")


async def test_a_language_is_kept(url: str) -> None:
    async with ClientSession() as session:
        async with session.get(f"{url}/language?to=zh&back=/transactions") as answer:
            assert str(answer.url) == f"{url}/transactions"
        async with session.get(f"{url}/") as answer:
            assert 'lang="zh"' in await answer.text()


async def test_what_never_changes_is_kept_by_browsers_and_what_may_is_not(url: str) -> None:
    async with ClientSession() as session:
        async with session.get(f"{url}/") as answer:
            text = await answer.text()
        linked = text.partition('rel="stylesheet" href="')[2].partition('"')[0]
        async with session.get(url + linked) as answer:
            assert "immutable" in answer.headers["Cache-Control"]
        async with session.get(f"{url}/static/console.css") as answer:
            assert answer.headers["Cache-Control"] == "no-cache"
        async with session.get(f"{url}/static/..%2Fconsole.py") as answer:
            assert answer.status == 404


async def test_a_bad_filter_is_said_beside_the_filter(url: str) -> None:
    async with ClientSession() as session, session.get(f"{url}/transactions?filter=colour:red") as answer:
        text = await answer.text()
        assert answer.status == 400
        assert "there is no key &#39;colour&#39;" in text and 'value="colour:red"' in text


async def test_another_sites_page_cannot_press_a_button(url: str) -> None:
    async with ClientSession() as session:
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
            async with session.post(f"{url}/inbox/probe", data={"gid": "x"}, headers=headers) as answer:
                assert answer.status == 403


@pytest.mark.parametrize("subject", ["gid:prepared", "inbox"])
async def test_who_looks_at_what_has_not_moved_since_is_told_the_mark_that_the_page_has(
    url: str, subject: str
) -> None:
    path = "/" if subject == "inbox" else "/transactions/prepared"
    async with ClientSession() as session:
        prepared = {"gid": "prepared", "trans_type": "tcc"}
        async with session.post(f"{url}/api/dtmsvr/prepare", json=prepared) as answer:
            assert answer.status == 200
        async with session.get(url + path) as answer:
            shown = (await answer.text()).partition('data-mark="')[2].partition('"')[0]
        async with session.get(f"{url}/live", params={"of": subject}) as answer:
            told = [await answer.content.readline() for _ in range(3)]
    assert told[2].decode() == f"data: {shown}\n"


async def test_what_is_wrong_with_a_request_is_told_in_chinese_on_a_chinese_page(url: str) -> None:
    async with ClientSession(headers={"Accept-Language": "zh-CN"}) as session:
        for path, says in (
            ("/transactions?filter=state:x", "过滤条件：没有键 &#39;state&#39;"),
            ("/transactions/nobody", "没有 gid 为 nobody 的事务"),
            ("/bulk/x", "id：必须是 0 到"),
        ):
            async with session.get(url + path) as answer:
                assert says in await answer.text(), path


async def test_a_stream_tells_the_state_and_ends_when_the_server_stops(tmp_path: Path) -> None:
    settings = Settings(
        host=HOST,
        http_port=free_port(),
        grpc_port=free_port(),
        store=Store(path=tmp_path / "dtm.db"),
    )
    server = Server(settings, reset=False)
    await server.start()
    stopping = None
    try:
        async with (
            ClientSession() as session,
            session.get(f"http://{HOST}:{settings.http_port}/live?of=inbox") as answer,
        ):
            assert answer.content_type == "text/event-stream"
            told = [await answer.content.readline() for _ in range(3)]
            assert told[2].startswith(b"data: ")
            stopping = asyncio.create_task(server.stop())
            assert await answer.content.read() in {b"\n", b""}
    finally:
        await (stopping or server.stop())


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil",
        "/\\evil",
        "\\\\evil",
        "https://evil",
        "https:evil",
        "evil",
        "",
        "/a\\b",
        "/\t/evil",
        "/é",
        "///x",
        "http:///x",
        "/a\r\nSet-Cookie: x",
        " //evil",
        "/a b",
        "/\x00/",
        "//[",
    ],
)
def test_nobody_is_sent_to_another_site(wanted: str) -> None:
    assert own_path(wanted) == "/"


@pytest.mark.parametrize("wanted", ["/", "/transactions?filter=a%3Ab", "/transactions/a%2Fb"])
def test_paths_of_ours_are_gone_back_to(wanted: str) -> None:
    assert own_path(wanted) == wanted
