"""The page of who may do what: an admin's alone; what it makes, shows once, changes and ends."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from coordinator.access.audit import NOBODY
from tests.unit.console.test_login import GOOD, Console, browser, log_in, running, seen

__all__ = ["browser"]

FORMS = {
    "/access/users": {"name": "carl", "role": "viewer", "password": GOOD},
    "/access/users/vera/role": {"role": "admin"},
    "/access/users/vera/password": {"password": "another one, also good"},
    "/access/users/vera/disable": {},
    "/access/users/vera/enable": {},
    "/access/users/vera/remove": {},
    "/access/tokens": {"name": "orders", "role": "service", "gid_prefix": "orders-", "days": "9"},
    "/access/tokens/000000000000/revoke": {},
    "/access/sessions": {"session": "x"},
}
VIEWS = ("/access", "/access/users/vera", "/access/users/vera/remove", "/access/tokens/000000000000/revoke")


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with running(tmp_path) as made:
        async with made.people() as people:
            for name, role in (("anna", "admin"), ("otto", "operator"), ("vera", "viewer")):
                await people.add(NOBODY, name, role=role, password=GOOD)
        yield made


async def send(browser: ClientSession, console: Console, path: str, **form: str) -> tuple[int, str]:
    """Status and page after the form was sent."""
    async with browser.post(console.url + path, data=form) as answer:
        return answer.status, await answer.text()


async def test_nobody_but_an_admin_looks_or_changes(console: Console, browser: ClientSession) -> None:
    for name in ("", "vera", "otto"):
        if name:
            await log_in(browser, console, name=name)
        for path in VIEWS:
            async with browser.get(console.url + path, allow_redirects=False) as answer:
                assert answer.status == (403 if name else 303), (name, path)
        for path, form in FORMS.items():
            status, _ = await send(browser, console, path, **form)
            assert status == (403 if name else 401), (name, path)
        if name:
            async with browser.get(f"{console.url}/") as answer:
                assert 'href="/access"' not in await answer.text()


async def test_the_life_of_somebody(console: Console, browser: ClientSession) -> None:
    await log_in(browser, console)
    status, text = await send(browser, console, "/access/users", name="Carl", role="viewer", password="short")
    assert status == 400
    assert "a password has at least 12 characters, this one has 5" in text
    assert 'value="Carl"' in text and "short" not in text.partition("<h2>")[2]
    status, text = await send(browser, console, "/access/users", name="Carl", role="viewer", password=GOOD)
    assert status == 200
    assert 'href="/access/users/carl"' in text
    status, text = await send(browser, console, "/access/users", name="carl", role="viewer", password=GOOD)
    assert (status, "somebody is called carl already" in text) == (400, True)

    async with ClientSession() as other:
        form = {"name": "carl", "password": GOOD}
        async with other.post(f"{console.url}/login", data=form, allow_redirects=False) as answer:
            carls = answer.cookies["dtm"].value
    async with ClientSession(cookies={"dtm": carls}) as other:
        assert await seen(other, console) == "/"
        assert (await send(browser, console, "/access/users/carl/role", role="operator"))[0] == 200
        assert (await seen(other, console)).startswith("/login")  # at once, here
    for change, shown in (("disable", "disabled"), ("enable", "Keep out")):
        async with browser.get(f"{console.url}/access/users/carl/{change}") as answer:
            assert f'action="/access/users/carl/{change}"' in await answer.text()
        assert shown in (await send(browser, console, f"/access/users/carl/{change}"))[1]
    _, text = await send(browser, console, "/access/users/carl/remove")
    assert "carl" not in text.partition("<h2>")[2].partition("</table>")[0]


async def test_nobody_takes_their_own_role_or_locks_themselves_out(
    console: Console, browser: ClientSession
) -> None:
    await log_in(browser, console)
    for change in ("role", "disable", "remove"):
        status, text = await send(browser, console, f"/access/users/Anna/{change}", role="viewer")
        assert status >= 400
        assert "this is yourself" in text
    assert await seen(browser, console, "/access") == "/access"


async def test_a_token_is_shown_once_and_revoked(console: Console, browser: ClientSession) -> None:
    await log_in(browser, console)
    form = FORMS["/access/tokens"]
    status, text = await send(browser, console, "/access/tokens", **{**form, "days": "x"})
    assert (status, "days: must be a whole number" in text) == (400, True)
    status, text = await send(browser, console, "/access/tokens", **{**form, "role": "viewer"})
    assert (status, "gid prefix: is for the role service" in text) == (400, True)
    status, text = await send(browser, console, "/access/tokens", **form)
    [token] = re.findall(r"dtm_[0-9a-f]{12}_[0-9a-f]{64}_[0-9a-f]{8}", text)
    identifier = token.split("_")[1]
    async with browser.get(f"{console.url}/access") as answer:
        text = await answer.text()
        assert identifier in text and token not in text
    async with browser.get(f"{console.url}/access/tokens/{identifier}/revoke") as answer:
        assert "cannot be undone" in await answer.text()
    _, text = await send(browser, console, f"/access/tokens/{identifier}/revoke")
    assert identifier not in text
    assert "1 token is revoked or expired." in text


async def test_a_session_is_ended(console: Console, browser: ClientSession) -> None:
    async with ClientSession() as other:
        form = {"name": "vera", "password": GOOD}
        async with other.post(f"{console.url}/login", data=form, allow_redirects=False) as answer:
            veras = answer.cookies["dtm"].value
    await log_in(browser, console)
    async with browser.get(f"{console.url}/access") as answer:
        text = await answer.text()
    assert veras not in text
    row = next(it for it in text.split("<tr>") if "vera" in it and 'name="session"' in it)
    [hashed] = re.findall(r'name="session" value="([0-9a-f]{64})"', row)
    await send(browser, console, "/access/sessions", session=hashed)
    async with ClientSession(cookies={"dtm": veras}) as other:
        assert (await seen(other, console)).startswith("/login")


async def test_where_nobody_is_asked_nothing_is_shown_or_changed(
    tmp_path: Path, browser: ClientSession
) -> None:
    async with running(tmp_path, "off") as console:
        async with browser.get(f"{console.url}/access") as answer:
            assert "Access.Mode is off" in await answer.text()
        for path, form in FORMS.items():
            status, text = await send(browser, console, path, **form)
            assert status == 403, path
            assert "anybody could add themselves here" in text
