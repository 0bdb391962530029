"""Logging in at an issuer of OpenID Connect, through a browser, the coordinator and a small real issuer."""

import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from aiohttp import ClientSession, CookieJar
from pydantic import SecretStr
from yarl import URL

from coordinator.config.access import Access
from coordinator.config.oidc import Oidc
from coordinator.config.settings import Settings, Store
from coordinator.server.server import Server
from tests.support.oidc_issuer import (
    CLIENT_ID,
    CLIENT_SECRET,
    Claims,
    OidcIssuer,
    new_key,
    oidc_issuer,
    public_pem,
    signed,
)
from tests.support.ports import free_port
from tests.unit.access.test_oidc_tokens import by_hand

HOST = "127.0.0.1"


@dataclass
class House:
    url: str
    issuer: OidcIssuer


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with oidc_issuer() as issuer:
        port = free_port()
        settings = Settings(
            host=HOST,
            http_port=port,
            grpc_port=free_port(),
            store=Store(path=tmp_path / "dtm.db"),
            access=Access(mode="operators"),
            oidc=Oidc(
                issuer=issuer.url,
                client_id=CLIENT_ID,
                client_secret=SecretStr(CLIENT_SECRET),
                redirect_url=f"http://{HOST}:{port}/login/back",
                roles="dtm-ops=operator, dtm-admins=admin",
            ),
        )
        server = Server(settings, reset=False)
        await server.start()
        try:
            yield House(f"http://{HOST}:{port}", issuer)
        finally:
            await server.stop()


@asynccontextmanager
async def a_browser() -> AsyncIterator[ClientSession]:
    async with ClientSession(cookie_jar=CookieJar(unsafe=True), headers={"Accept": "text/html"}) as session:
        yield session


async def log_in(browser: ClientSession, house: House, back: str = "/") -> tuple[int, str, str]:
    """Status, where it ends, and the page."""
    async with browser.get(f"{house.url}/login/issuer", params={"return_to": back}) as answer:
        return answer.status, str(answer.url).removeprefix(house.url), await answer.text()


async def callback(browser: ClientSession, house: House) -> str:
    """Begin, and go to the issuer; where it sends the browser back to, not gone to yet."""
    async with browser.get(f"{house.url}/login/issuer", allow_redirects=False) as answer:
        at_issuer = answer.headers["Location"]
    async with browser.get(at_issuer, allow_redirects=False) as answer:
        return answer.headers["Location"]


async def visit(browser: ClientSession, url: str) -> tuple[int, str]:
    async with browser.get(url) as answer:
        return answer.status, await answer.text()


async def test_who_is_in_a_group_is_let_in_and_goes_on_where_they_wanted_to_be(house: House) -> None:
    async with a_browser() as browser:
        assert "Log in at 127.0.0.1" in (await visit(browser, f"{house.url}/transactions"))[1]
        status, where, text = await log_in(browser, house, "/transactions?filter=x")
        assert (status, where) == (400, "/transactions?filter=x")  # no filter, but let in
        assert ">anna (248289761001)<" in text
        async with browser.get(f"{house.url}/access") as answer:
            assert answer.status == 403  # an operator
        assert [it.key for it in browser.cookie_jar] == ["dtm"]  # what bound the log-in is gone
        async with browser.post(f"{house.url}/logout", data={}) as answer:
            assert "You are logged out." in await answer.text()
    house.issuer.groups = ["staff", "dtm-admins", "dtm-ops"]
    async with a_browser() as browser:
        await log_in(browser, house, "//evil")
        status, text = await visit(browser, f"{house.url}/access")
        assert status == 200
        assert f"People log in at {house.issuer.url}, too" in text
    assert house.issuer.asked.count("discovery") == house.issuer.asked.count("keys") == 1


async def test_who_is_in_none_is_not(house: House) -> None:
    house.issuer.groups = ["DTM-OPS", "staff"]
    async with a_browser() as browser:
        status, _, text = await log_in(browser, house)
        assert status == 403
        assert "in no group that may log in here" in text
        assert not list(browser.cookie_jar)


def _changed(**claims: Any) -> Callable[[Claims], Claims]:
    return lambda made: {**made, **claims}


async def test_a_token_that_is_not_good_lets_nobody_in(house: House) -> None:
    issuer, stranger = house.issuer, new_key()
    plain = issuer.bend
    bent = [
        *(_changed(iss="https://evil.example"), _changed(aud="other"), _changed(nonce="another")),
        *(_changed(exp=1_700_000_000), _changed(azp="other")),
    ]
    signs: list[Callable[[Claims], str]] = [
        lambda claims: jwt.encode(claims, None, algorithm="none"),
        lambda claims: signed(claims, stranger),
        lambda claims: "no token",
        lambda claims: _hs256(claims, public_pem(issuer.key)),
    ]
    async with a_browser() as browser:
        for bend in bent:
            issuer.bend = bend
            status, _, text = await log_in(browser, house)
            assert (status, "Begin again" in text) == (401, True)
        issuer.bend = plain
        for sign in signs:
            issuer.sign = sign
            assert (await log_in(browser, house))[0] == 401
        assert not list(browser.cookie_jar)
        issuer.sign = None
        assert (await log_in(browser, house))[:2] == (200, "/")


def _hs256(claims: Claims, pem: bytes) -> str:
    """As somebody would who has the public key; PyJWT itself refuses to."""
    return by_hand(
        {"alg": "HS256", "kid": "one"}, claims, lambda text: hmac.digest(pem, text, hashlib.sha256)
    )


async def test_what_was_begun_in_another_browser_or_came_once_already_is_nobodys(house: House) -> None:
    async with a_browser() as mine, a_browser() as theirs:
        url = await callback(theirs, house)
        for browser in (mine,):  # an attacker's answer, brought to somebody else
            assert (await visit(browser, url))[0] == 401
            await callback(browser, house)  # who has begun one themselves
            assert (await visit(browser, url))[0] == 401
        tokens = house.issuer.asked.count("token")
        kept = {it.key: it.value for it in theirs.cookie_jar}
        assert (await visit(theirs, url))[0] == 200
        assert house.issuer.asked.count("token") == tokens + 1
        theirs.cookie_jar.update_cookies({"dtm-login": kept["dtm-login"]}, response_url=_url(house))
        assert (await visit(theirs, url))[0] == 401  # the same again, with the cookie of then

        again = await callback(mine, house)
        state = parse_qs(urlsplit(again).query)["state"][0]
        for wrong in ("", "x", state + "x", state.lower()):
            changed = again.replace(f"state={state}", f"state={wrong}")
            if changed != again:
                assert (await visit(mine, changed))[0] == 401


def _url(house: House) -> URL:
    return URL(house.url)


async def test_a_code_of_another_browsers_log_in_does_not_fit_ours(house: House) -> None:
    async with a_browser() as mine, a_browser() as theirs:
        my_code, their_code = (
            parse_qs(urlsplit(it).query)
            for it in (await callback(mine, house), await callback(theirs, house))
        )
        url = f"{house.url}/login/back?code={their_code['code'][0]}&state={my_code['state'][0]}"
        assert (await visit(mine, url))[0] == 401  # PKCE, and the nonce


async def test_the_cookie_that_binds_a_log_in_is_no_scripts_and_short_lived(house: House) -> None:
    async with a_browser() as browser:
        async with browser.get(f"{house.url}/login/issuer?return_to=//evil", allow_redirects=False) as answer:
            [line] = answer.headers.getall("Set-Cookie")
            assert line.startswith("dtm-login=") and line.endswith("HttpOnly; SameSite=Lax; Max-Age=600")
            assert "evil" not in line
            asked = parse_qs(urlsplit(answer.headers["Location"]).query)
        assert asked["redirect_uri"] == [f"{house.url}/login/back"]
        secret = line.removeprefix("dtm-login=").partition(".")[0]
        assert secret not in str(asked)
        error = f"{house.url}/login/back?error=access_denied&state={asked['state'][0]}"
        assert (await visit(browser, error))[0] == 401
        assert (await visit(browser, error))[0] == 401


async def test_an_issuer_that_does_not_answer_keeps_nobody_from_a_password(house: House) -> None:
    house.issuer.url = "http://another.name.localhost:1"  # what it calls itself is not what is configured
    async with a_browser() as browser:
        status, _, text = await log_in(browser, house)
        assert status == 503
        assert "does not answer as it should" in text and 'name="password"' in text
