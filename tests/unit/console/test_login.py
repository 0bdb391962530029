"""Logging in and out by the pages, as a browser does it: what is let in, kept, sent elsewhere, forgotten."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientResponse, ClientSession, CookieJar
from yarl import URL

from coordinator.access.audit import NOBODY
from coordinator.access.cookies import Cookies
from coordinator.access.passwords import Passwords
from coordinator.access.people import People
from coordinator.access.slowing import Attempt, Slowing
from coordinator.cli.beside import Kept
from coordinator.clock import SystemClock
from coordinator.config.access import Access
from coordinator.config.settings import Settings
from coordinator.config.store import Store
from coordinator.server.server import Server
from coordinator.store.open import StoreConfig, open_store
from tests.support.ports import free_port

HOST = "127.0.0.1"
GOOD = "four words, none alike"
PAGES = ("/", "/transactions", "/transactions?filter=status:failed")


@dataclass
class Console:
    url: str
    path: Path

    @asynccontextmanager
    async def people(self) -> AsyncIterator[People]:
        """As `dtm user` has them, beside the server."""
        config = StoreConfig(path=str(self.path), beside=True)
        store = await open_store(config, clock=SystemClock(), zone=None, wait_seconds=5.0)
        passwords = Passwords(memory_kib=64, passes=1)
        try:
            yield People(store.people.users, passwords, Kept())
        finally:
            passwords.close()
            await store.close()


@asynccontextmanager
async def running(folder: Path, mode: str = "operators") -> AsyncIterator[Console]:
    settings = Settings(
        host=HOST,
        http_port=free_port(),
        grpc_port=free_port(),
        store=Store(path=folder / "dtm.db"),
        access=Access(mode=mode),
    )
    server = Server(settings, reset=False)
    await server.start()
    try:
        yield Console(f"http://{HOST}:{settings.http_port}", folder / "dtm.db")
    finally:
        await server.stop()


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with running(tmp_path) as made:
        async with made.people() as people:
            for name, role in (("anna", "operator"), ("vera", "viewer")):
                await people.add(NOBODY, name, role=role, password=GOOD)
        yield made


@pytest.fixture
async def browser() -> AsyncIterator[ClientSession]:
    async with ClientSession(cookie_jar=CookieJar(unsafe=True), headers={"Accept": "text/html"}) as session:
        yield session


async def log_in(
    browser: ClientSession,
    console: Console,
    name: str = "anna",
    password: str = GOOD,
    back: str = "/",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Status and where it leads."""
    form = {"name": name, "password": password, "return_to": back}
    async with browser.post(
        f"{console.url}/login", data=form, headers=headers, allow_redirects=False
    ) as answer:
        return answer.status, answer.headers.get("Location", "")


def held(browser: ClientSession, name: str = "dtm") -> str:
    return next((it.value for it in browser.cookie_jar if it.key == name), "")


async def seen(browser: ClientSession, console: Console, path: str = "/") -> str:
    """Where a visit ends."""
    async with browser.get(console.url + path) as answer:
        return str(answer.url).removeprefix(console.url)


async def test_who_is_not_logged_in_is_asked_to_and_then_is_where_they_wanted_to_be(
    console: Console, browser: ClientSession
) -> None:
    for path in PAGES:
        where = await seen(browser, console, path)
        assert where.startswith("/login?return_to="), path
    assert await log_in(browser, console, back=PAGES[-1]) == (
        *(303, "/login?done=1&return_to=%2Ftransactions%3Ffilter%3Dstatus%3Afailed"),
    )
    assert await seen(browser, console, "/login?done=1&return_to=%2Ftransactions%3Ffilter%3Dx") == (
        "/transactions?filter=x"
    )
    async with browser.get(f"{console.url}/") as answer:
        text = await answer.text()
        assert answer.status == 200
        assert ">anna<" in text and 'action="/logout"' in text


async def test_what_the_browser_holds_is_seen_by_no_script_nor_sent_by_another_site(
    console: Console, browser: ClientSession
) -> None:
    form = {"name": "anna", "password": GOOD}
    async with browser.post(f"{console.url}/login", data=form, allow_redirects=False) as answer:
        [line] = answer.headers.getall("Set-Cookie")
        assert line.endswith("; Path=/; HttpOnly; SameSite=Lax")
        assert answer.headers["Cache-Control"] == "no-store"
    through_a_proxy = {"Host": "dtm.example", "Origin": "https://dtm.example"}
    cookies = Cookies.of("dtm.example", is_encrypted=False)
    assert cookies.set(cookies.session, "x").startswith(
        "__Host-dtm=x; Path=/; HttpOnly; SameSite=Lax; Secure"
    )
    async with browser.post(f"{console.url}/login", data=form, headers=through_a_proxy) as answer:
        assert answer.status == 403  # on loopback the proxy's origin is named in Access.Origins


async def test_whatever_was_wrong_the_answer_is_the_same(console: Console, browser: ClientSession) -> None:
    texts = set()
    for name, password in (("anna", "another one, not hers"), ("nobody", GOOD), ("", ""), ("\x01", "x")):
        async with browser.post(f"{console.url}/login", data={"name": name, "password": password}) as answer:
            text = await answer.text()
            assert answer.status == 401
            assert "The name or the password is not right." in text
            texts.add(text.partition("<form")[2].replace(f'value="{name}"', "").partition("as of")[0])
        assert not held(browser)
    assert len({text.partition('name="name"')[0] for text in texts}) == 1


async def test_who_is_put_off_hears_for_how_long(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slowing, "attempt", lambda *_: Attempt(None, 6.2))
    form = {"name": "anna", "password": GOOD}
    async with ClientSession() as session, session.post(f"{console.url}/login", data=form) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
        assert "Try again in 7 seconds." in await answer.text()


async def test_guesses_are_slowed_and_then_put_off(console: Console) -> None:
    async def guess(number: int) -> int:
        async with ClientSession() as session:
            return (await log_in(session, console, password=f"a guess, number {number}"))[0]

    statuses = await asyncio.gather(*(guess(number) for number in range(40)))
    assert set(statuses) == {401, 429}
    assert statuses.count(401) < 20


async def test_a_session_that_somebody_planted_is_not_the_one_after_the_login(
    console: Console, browser: ClientSession
) -> None:
    planted = "A" * 43
    browser.cookie_jar.update_cookies({"dtm": planted}, URL(console.url))
    assert (await seen(browser, console)).startswith("/login")
    await log_in(browser, console)
    first = held(browser)
    await log_in(browser, console)
    assert len({planted, first, held(browser)}) == 3
    async with ClientSession(cookies={"dtm": first}) as other:
        assert (await seen(other, console)).startswith("/login")  # it ended with the second login
    async with ClientSession(cookies={"dtm": planted}) as other:
        assert (await seen(other, console)).startswith("/login")


async def test_after_logging_out_nothing_opens_and_no_page_was_kept(
    console: Console, browser: ClientSession
) -> None:
    await log_in(browser, console)
    async with browser.get(f"{console.url}/transactions") as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    copied = held(browser)
    async with browser.post(f"{console.url}/logout", data={}) as answer:
        assert "You are logged out." in await answer.text()
    assert not held(browser)
    async with ClientSession(cookies={"dtm": copied}) as other:
        assert (await seen(other, console)).startswith("/login")


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
async def test_another_sites_page_logs_nobody_in_or_out(
    console: Console, browser: ClientSession, headers: Mapping[str, str]
) -> None:
    assert (await log_in(browser, console, headers=headers))[0] == 403
    assert not held(browser)
    await log_in(browser, console)
    for path in ("/logout", "/inbox/probe"):
        async with browser.post(console.url + path, data={"gid": "x"}, headers=headers) as answer:
            assert answer.status == 403, path
    assert await seen(browser, console) == "/"
    async with browser.get(f"{console.url}/logout") as answer:
        assert answer.status == 404
    async with browser.get(f"{console.url}/login", headers={"Host": "evil.example"}) as answer:
        assert held(browser) not in await answer.text()
    form = {"name": "anna", "password": GOOD}
    rebound = {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}
    async with browser.post(f"{console.url}/login", data=form, headers=rebound) as answer:
        assert answer.status == 403


@pytest.mark.parametrize(
    "wanted",
    ["//evil", "/\\evil", "https:evil", "https://evil", "javascript:alert(1)", "/\t/evil", "\\\\evil"],
)
async def test_nobody_is_sent_elsewhere_after_the_login(
    console: Console, browser: ClientSession, wanted: str
) -> None:
    assert await log_in(browser, console, back=wanted) == (303, "/login?done=1&return_to=%2F")
    async with browser.get(
        f"{console.url}/login", params={"return_to": wanted, "done": "1"}, allow_redirects=False
    ) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/")


async def test_a_role_has_what_it_may_and_no_more(console: Console, browser: ClientSession) -> None:
    await log_in(browser, console, name="vera")
    assert await seen(browser, console) == "/"
    async with browser.post(f"{console.url}/inbox/probe", data={"gid": "x"}) as answer:
        assert answer.status == 403
    async with browser.get(f"{console.url}/api/dtmsvr/all") as answer:
        assert answer.status == 401  # a session opens pages alone


async def test_a_change_of_somebody_ends_what_they_see_within_seconds_live_pages_too(
    console: Console, browser: ClientSession
) -> None:
    await log_in(browser, console)
    assert await seen(browser, console) == "/"
    async with console.people() as people:
        await people.set_role(NOBODY, "anna", "viewer")
    for _ in range(40):
        if (await seen(browser, console)).startswith("/login"):
            break
        await asyncio.sleep(0.2)
    events = {"Accept": "text/event-stream"}
    async with browser.get(f"{console.url}/live?of=inbox", headers=events, allow_redirects=False) as answer:
        assert answer.status == 401


async def test_everybody_changes_their_own_password_who_knows_it(
    console: Console, browser: ClientSession
) -> None:
    await log_in(browser, console, name="vera")
    before, new = held(browser), "another four, as good"
    assert 'href="/password"' in await text_of(browser.get(f"{console.url}/"))
    for current, typed, again, says in (
        ("a guess, not hers", new, new, "not your password of today"),
        (GOOD, new, "something else here", "was not typed the same twice"),
        (GOOD, "short", "short", "a password has at least 12 characters"),
    ):
        form = {"current": current, "password": typed, "again": again}
        async with browser.post(f"{console.url}/password", data=form) as answer:
            text = await answer.text()
            assert (answer.status, says in text) == (400, True), text
            assert typed not in text
    form = {"current": GOOD, "password": new, "again": new}
    assert "Log in with the new one." in await text_of(browser.post(f"{console.url}/password", data=form))
    async with ClientSession(cookies={"dtm": before}) as other:
        assert (await seen(other, console)).startswith("/login")  # at once, here
    assert (await log_in(browser, console, name="vera"))[0] == 401
    assert (await log_in(browser, console, name="vera", password=new))[0] == 303


async def text_of(asked: AbstractAsyncContextManager[ClientResponse]) -> str:
    async with asked as answer:
        return await answer.text()


async def test_where_nobody_is_asked_there_is_no_login(tmp_path: Path, browser: ClientSession) -> None:
    async with running(tmp_path, "off") as console:
        assert await seen(browser, console, "/login?return_to=/transactions") == "/transactions"
        assert await log_in(browser, console) == (303, "/")
        async with browser.get(f"{console.url}/") as answer:
            assert 'action="/logout"' not in await answer.text()
