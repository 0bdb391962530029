"""Logging in at an issuer of OpenID Connect: a code, PKCE, and a cookie that binds it to one browser.

Everything that must fit at the end is derived from one secret that the browser holds in a cookie until it is
back: what comes back with another state, or in another browser, is nobody's, and the coordinator that answers
then need not be the one that began.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote, unquote, urlencode

from coordinator.access.login import Identity
from coordinator.access.oidc_issuer import Endpoints
from coordinator.access.oidc_tokens import Client, Keys, Person, UnknownKey, person_of
from coordinator.access.sessions import has_shape, new_session
from coordinator.access.tokens import hash_of
from coordinator.errors import Busy, Unauthenticated

_SCOPES: Final = "openid profile email"
_AT_ONCE_MAX: Final = 20
_CODE_MAX: Final = 4096


class Asked(Protocol):
    """What is asked of the issuer; see Issuer. Raises IssuerUnavailable."""

    async def endpoints(self) -> Endpoints:
        """As it says."""
        ...

    async def keys(self, *, anew: bool = False) -> Keys:
        """Its keys."""
        ...

    async def id_token(self, code: str, verifier: str) -> str:
        """What it gives for a code. Raises Unauthenticated."""
        ...


class Begun(NamedTuple):
    """url: of the issuer, where the browser goes. held: what it holds meanwhile."""

    url: str
    held: str


class Came(NamedTuple):
    """Who came back, and where they wanted to be."""

    who: Identity
    back: str


class OidcLogin:
    """client: who we are to the issuer. random_bytes: so many, that nobody can guess."""

    def __init__(self, client: Client, issuer: Asked, random_bytes: Callable[[int], bytes]) -> None:
        self.client = client
        self._issuer = issuer
        self._random_bytes = random_bytes
        self._under_way = 0

    async def begin(self, back: str) -> Begun:
        """Begin one. back: a path of ours to be gone to afterwards. Raises IssuerUnavailable."""
        endpoint = (await self._issuer.endpoints()).authorization
        secret = new_session(self._random_bytes).text
        challenge = _encoded(hashlib.sha256(_derived(secret, "verifier").encode()).digest())
        asked = {
            "response_type": "code",
            "client_id": self.client.client_id,
            "redirect_uri": self.client.redirect_url,
            "scope": _SCOPES,
            "state": _derived(secret, "state"),
            "nonce": _derived(secret, "nonce"),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        sign = "&" if "?" in endpoint else "?"
        return Begun(f"{endpoint}{sign}{urlencode(asked)}", f"{secret}.{quote(back, safe='')}")

    async def finish(self, held: str, query: Mapping[str, str]) -> Came:
        """Who came back with this. held: what the browser holds. query: of the url that it was sent to.

        Raises Unauthenticated; Forbidden for somebody who may not; Busy, IssuerUnavailable.
        """
        secret, _, back = held.partition(".")
        state = _derived(secret, "state")
        came = query.get("state", "").encode(errors="replace")
        if not has_shape(secret) or not hmac.compare_digest(came, state.encode()):
            raise Unauthenticated("this log-in was begun in another browser, or too long ago: begin again")
        if query.get("iss", self.client.issuer) != self.client.issuer:
            raise Unauthenticated("another issuer has answered")
        code = query.get("code", "")
        if not 0 < len(code) <= _CODE_MAX:
            raise Unauthenticated(f"the issuer says no: {query.get('error', 'it gives no code')[:100]}")
        if self._under_way >= _AT_ONCE_MAX:
            raise Busy("too many are logging in just now; try again in a moment")
        self._under_way += 1
        try:
            token = await self._issuer.id_token(code, _derived(secret, "verifier"))
            who = await self._person(token, _derived(secret, "nonce"))
        finally:
            self._under_way -= 1
        return Came(
            Identity(self.client.issuer, who.subject, who.name, who.role, hash_of(f"oidc {state}")),
            unquote(back),
        )

    async def _person(self, token: str, nonce: str) -> Person:
        try:
            return person_of(token, await self._issuer.keys(), self.client, nonce)
        except UnknownKey:
            return person_of(token, await self._issuer.keys(anew=True), self.client, nonce)


def _derived(secret: str, purpose: str) -> str:
    return _encoded(hmac.digest(secret.encode(errors="replace"), purpose.encode(), "sha256"))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
