"""The issuer of OpenID Connect, asked over HTTP: where it is asked what, its keys, a code for an ID token."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote_plus

from coordinator.access.oidc_tokens import TOKEN_BYTES_MAX, Client, Keys
from coordinator.config.oidc import is_safe_url
from coordinator.errors import IssuerUnavailable, Unauthenticated

_DISCOVERY: Final = "/.well-known/openid-configuration"
_KEPT_SECONDS: Final = 3600.0  # what it says of itself, and its keys
_AGAIN_SECONDS: Final = 30.0  # at least, between two looks for keys that are not known
_PAUSE_SECONDS: Final = 3.0  # after it did not answer


class Fetch(Protocol):
    """How it is asked; see coordinator.access.oidc_http."""

    def __call__(
        self, url: str, *, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Awaitable[tuple[int, Mapping[str, Any]]]:
        """Status and the JSON object of the answer. form: for a POST. Raises IssuerUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where it is asked what."""

    authorization: str
    token: str
    keys: str
    takes_basic: bool  # whether a client's secret goes in a header


class Issuer:
    """monotonic: seconds."""

    def __init__(self, client: Client, fetch: Fetch, monotonic: Callable[[], float]) -> None:
        self._client = client
        self._fetch = fetch
        self._monotonic = monotonic
        self._endpoints: Endpoints | None = None
        self._keys: Keys = ()
        self._asked_at = self._keys_at = self._failed_at = -_KEPT_SECONDS
        self._asking = asyncio.Lock()

    async def endpoints(self) -> Endpoints:
        """As it says. Raises IssuerUnavailable."""
        async with self._asking:
            if self._endpoints is None or self._monotonic() - self._asked_at >= _KEPT_SECONDS:
                if self._monotonic() - self._failed_at < _PAUSE_SECONDS:
                    raise IssuerUnavailable("the issuer cannot be asked just now")
                try:
                    self._endpoints = await self._discover()
                except IssuerUnavailable:
                    self._failed_at = self._monotonic()  # whoever waited for this need not try again
                    raise
                self._asked_at = self._monotonic()
            return self._endpoints

    async def _discover(self) -> Endpoints:
        status, said = await self._fetch(self._client.issuer.rstrip("/") + _DISCOVERY)
        if status != 200:
            raise IssuerUnavailable(f"the issuer answers {status} when it is asked about itself")
        return _endpoints(said, self._client.issuer)

    async def keys(self, *, anew: bool = False) -> Keys:
        """Its keys. anew: look again, though not for everybody who wishes so. Raises IssuerUnavailable."""
        address = (await self.endpoints()).keys
        async with self._asking:
            age = self._monotonic() - self._keys_at
            if age >= (_AGAIN_SECONDS if anew else _KEPT_SECONDS):
                status, said = await self._fetch(address)
                found = said.get("keys")
                if status != 200 or not isinstance(found, list):
                    raise IssuerUnavailable("the issuer does not tell its keys")
                self._keys = [key for key in found if isinstance(key, dict)]
                self._keys_at = self._monotonic()
            return self._keys

    async def id_token(self, code: str, verifier: str) -> str:
        """What it gives for a code. Raises Unauthenticated where it refuses; IssuerUnavailable."""
        endpoints, client = await self.endpoints(), self._client
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": client.redirect_url,
            "code_verifier": verifier,
        }
        headers: dict[str, str] = {}
        if client.secret and endpoints.takes_basic:
            login = f"{quote_plus(client.client_id)}:{quote_plus(client.secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        else:
            form["client_id"] = client.client_id
            if client.secret:
                form["client_secret"] = client.secret
        status, said = await self._fetch(endpoints.token, form=form, headers=headers)
        token = said.get("id_token")
        if status >= 500:
            raise IssuerUnavailable(f"the issuer answers {status} to a code")
        if status != 200 or not isinstance(token, str) or len(token) > TOKEN_BYTES_MAX:
            why = str(said.get("error", f"status {status}"))[:100]
            raise Unauthenticated(f"the issuer gives no ID token for the code: {why}")
        return token


def _endpoints(said: Mapping[str, Any], issuer: str) -> Endpoints:
    if said.get("issuer") != issuer:
        raise IssuerUnavailable(f"the issuer calls itself {str(said.get('issuer'))[:200]!r}, not {issuer!r}")
    found = [said.get(f"{it}_endpoint") for it in ("authorization", "token")] + [said.get("jwks_uri")]
    if not all(isinstance(it, str) and is_safe_url(it) for it in found):
        raise IssuerUnavailable("the issuer names no https urls for people, codes and keys")
    methods = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    takes_basic = not isinstance(methods, list) or "client_secret_basic" in methods
    return Endpoints(str(found[0]), str(found[1]), str(found[2]), takes_basic)
