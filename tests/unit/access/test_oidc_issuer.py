"""The issuer as it is asked: what it says of itself, its keys, and answers that are none."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiohttp import web

from coordinator.access.oidc_http import IssuerHttp
from coordinator.access.oidc_issuer import Issuer
from coordinator.access.oidc_tokens import Client
from coordinator.errors import IssuerUnavailable, Unauthenticated
from coordinator.tls import ClientTls, TlsFiles
from tests.support.ports import free_port

ISSUER = "https://login.example/realms/shop"
CLIENT = Client(ISSUER, "dtm", "", "https://dtm.example/login/back", "groups", {})
SAYS = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://login.example/authorize",
    "token_endpoint": "https://login.example/token",
    "jwks_uri": "https://keys.example/keys",
}
KEY = {"kty": "RSA", "kid": "one"}


class Web:
    """What answers, by url; remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Mapping[str, Any]]] = {
            f"{ISSUER}/.well-known/openid-configuration": (200, SAYS),
            SAYS["jwks_uri"]: (200, {"keys": [KEY, "no key"]}),
        }
        self.asked: list[str] = []
        self.forms: list[Mapping[str, str]] = []
        self.now = 0.0

    async def fetch(
        self, url: str, *, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, Any]]:
        self.asked.append(url.rpartition("/")[2])
        if form is not None:
            self.forms.append({**form, **(headers or {})})
        if url not in self.answers:
            raise IssuerUnavailable("nobody answers")
        return self.answers[url]

    def says(self, **changed: Any) -> None:
        self.answers[f"{ISSUER}/.well-known/openid-configuration"] = 200, {**SAYS, **changed}

    def issuer(self, client: Client = CLIENT) -> Issuer:
        return Issuer(client, self.fetch, lambda: self.now)


async def test_it_is_asked_once_an_hour():
    its = Web()
    issuer = its.issuer()
    for its.now in (0.0, 10.0, 3599.0):
        assert (await issuer.endpoints()).authorization == SAYS["authorization_endpoint"]
        assert await issuer.keys() == [KEY]
    assert its.asked == ["openid-configuration", "keys"]
    its.now = 3600.0
    await issuer.keys()
    assert its.asked == ["openid-configuration", "keys"] * 2


async def test_for_a_key_that_is_not_known_it_is_asked_again_but_not_for_everybody_who_makes_some_up():
    its = Web()
    issuer = its.issuer()
    await issuer.keys()
    for _ in range(100):
        its.now += 0.5
        await issuer.keys(anew=True)
    assert its.asked.count("keys") == 2


@pytest.mark.parametrize(
    "changed",
    [
        *({"issuer": f"{ISSUER}/"}, {"issuer": None}, {"issuer": "https://evil.example"}),
        *({"jwks_uri": "http://keys.example/keys"}, {"token_endpoint": "file:///etc/passwd"}),
        *({"authorization_endpoint": "javascript:alert(1)"}, {"token_endpoint": None}),
        {"token_endpoint": "https://user@login.example/"},
    ],
)
async def test_what_cannot_be_believed_of_it_is_not(changed: dict[str, Any]):
    its = Web()
    its.says(**changed)
    with pytest.raises(IssuerUnavailable):
        await its.issuer().endpoints()


async def test_while_it_is_away_it_is_asked_now_and_then():
    its = Web()
    its.answers.clear()
    issuer = its.issuer()
    for _ in range(60):
        with pytest.raises(IssuerUnavailable):
            await issuer.endpoints()
        its.now += 0.1
    assert len(its.asked) == 2
    its.says()
    its.now += 3.0
    assert await issuer.endpoints()


async def test_a_secret_goes_where_the_issuer_takes_it():
    secret = Client(ISSUER, "d:tm", "s/e", "https://dtm.example/login/back", "groups", {})
    its = Web()
    its.answers[SAYS["token_endpoint"]] = 200, {"id_token": "x"}
    assert await its.issuer(secret).id_token("code", "verifier") == "x"
    its.says(token_endpoint_auth_methods_supported=["client_secret_post"])
    await its.issuer(secret).id_token("code", "verifier")
    await its.issuer().id_token("code", "verifier")
    basic, post, public = its.forms
    assert basic["Authorization"] == "Basic ZCUzQXRtOnMlMkZl" and "client_secret" not in basic
    assert (post["client_id"], post["client_secret"]) == ("d:tm", "s/e") and "Authorization" not in post
    assert public["client_id"] == "dtm" and not {"client_secret", "Authorization"} & set(public)
    assert {form["code_verifier"] for form in its.forms} == {"verifier"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((400, {"error": "invalid_grant"}), Unauthenticated),
        ((200, {}), Unauthenticated),
        ((200, {"id_token": 7}), Unauthenticated),
        ((200, {"id_token": "x" * 100_000}), Unauthenticated),
        ((302, {}), Unauthenticated),
        ((500, {}), IssuerUnavailable),
    ],
)
async def test_a_code_that_gives_no_token(answer: tuple[int, dict[str, Any]], error: type[Exception]):
    its = Web()
    its.answers[SAYS["token_endpoint"]] = answer
    with pytest.raises(error):
        await its.issuer().id_token("code", "verifier")


# ---- over HTTP -----------------------------------------------------------------------------------


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        match request.path:
            case "/big":
                return web.Response(body=b" " * (2 << 20))
            case "/elsewhere":
                raise web.HTTPFound("/fine")
            case "/list":
                return web.json_response([1])
            case "/html":
                return web.Response(text="<html>")
            case _:
                return web.json_response({"fine": True})

    app = web.Application()
    app.router.add_get("/{name}", answer)
    runner, port = web.AppRunner(app), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


async def test_answers_are_bounded_objects_and_nobody_is_followed_elsewhere(url: str):
    http = IssuerHttp(ClientTls(TlsFiles(), "Oidc.CaFile").context)
    try:
        assert await http.fetch(f"{url}/fine") == (200, {"fine": True})
        assert await http.fetch(f"{url}/elsewhere") == (302, {})
        assert await http.fetch(f"{url}/list") == (200, {})
        assert await http.fetch(f"{url}/html") == (200, {})
        for path in (f"{url}/big", "http://127.0.0.1:1/x", "https://127.0.0.1:1/x"):
            with pytest.raises(IssuerUnavailable, match="the issuer cannot be asked"):
                await http.fetch(path)
    finally:
        await http.close()
