"""A small issuer of OpenID Connect on a port of its own: codes, PKCE, signed tokens; a test may bend each."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import jwt
from aiohttp import BasicAuth, web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.ports import free_port

HOST = "127.0.0.1"
CLIENT_ID, CLIENT_SECRET = "dtm", "a secret: of/ours"
Claims = dict[str, Any]


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_jwk(key: rsa.RSAPrivateKey, kid: str) -> dict[str, Any]:
    return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"}


def public_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed(claims: Claims, key: rsa.RSAPrivateKey, kid: str = "one", algorithm: str = "RS256") -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})


@dataclass
class Login:
    """What was asked for a code."""

    nonce: str
    challenge: str
    redirect_uri: str


@dataclass
class OidcIssuer:
    """groups: of the one person it knows. bend: changes the claims of the next tokens. sign: makes them."""

    url: str
    groups: list[str] = field(default_factory=lambda: ["dtm-ops"])
    key: rsa.RSAPrivateKey = field(default_factory=new_key)
    kid: str = "one"
    bend: Callable[[Claims], Claims] = lambda claims: claims
    sign: Callable[[Claims], str] | None = None
    logins: dict[str, Login] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def discovery(self, request: web.Request) -> web.Response:
        self.asked.append("discovery")
        return web.json_response(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
            }
        )

    async def keys(self, request: web.Request) -> web.Response:
        self.asked.append("keys")
        return web.json_response({"keys": [public_jwk(self.key, self.kid)]})

    async def authorize(self, request: web.Request) -> web.Response:
        """As if the person had written their password there already."""
        query = request.query
        assert (query["response_type"], query["client_id"]) == ("code", CLIENT_ID)
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        code = secrets.token_urlsafe(8)
        self.logins[code] = Login(query["nonce"], query["code_challenge"], query["redirect_uri"])
        back = urlencode({"code": code, "state": query["state"], "iss": self.url})
        raise web.HTTPSeeOther(f"{query['redirect_uri']}?{back}")

    async def token(self, request: web.Request) -> web.Response:
        self.asked.append("token")
        form = await request.post()
        login = self.logins.pop(str(form["code"]), None)
        given = BasicAuth.decode(request.headers["Authorization"])
        verifier = base64.urlsafe_b64encode(hashlib.sha256(str(form["code_verifier"]).encode()).digest())
        if (
            login is None
            or login.challenge != verifier.decode().rstrip("=")
            or login.redirect_uri != form["redirect_uri"]
            or (given.login, given.password) != (CLIENT_ID, "a+secret%3A+of%2Fours")
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        claims = self.bend(self.claims(login.nonce))
        token = self.sign(claims) if self.sign else signed(claims, self.key, self.kid)
        return web.json_response({"access_token": "x", "token_type": "Bearer", "id_token": token})

    def claims(self, nonce: str) -> Claims:
        now = int(time.time())
        return {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": "248289761001",
            "nonce": nonce,
            "iat": now,
            "exp": now + 300,
            "preferred_username": "anna",
            "groups": self.groups,
        }


@asynccontextmanager
async def oidc_issuer() -> AsyncIterator[OidcIssuer]:
    """It answers within the block."""
    port = free_port()
    issuer = OidcIssuer(f"http://{HOST}:{port}")
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", issuer.discovery)
    app.router.add_get("/keys", issuer.keys)
    app.router.add_get("/authorize", issuer.authorize)
    app.router.add_post("/token", issuer.token)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    try:
        yield issuer
    finally:
        await runner.cleanup()
