"""HTTP to an issuer of OpenID Connect: JSON alone, bounded in time and bytes, never sent elsewhere."""

import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
import orjson

from coordinator.errors import IssuerUnavailable

_SECONDS: Final = 10.0
_BYTES_MAX: Final = 1 << 20
_CONNECTIONS_MAX: Final = 8


class IssuerHttp:
    """Its owner closes it. context: what https is spoken with; asked anew for each call."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context
        self._session: aiohttp.ClientSession | None = None

    async def fetch(
        self, url: str, *, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, Any]]:
        """See Fetch of coordinator.access.oidc_issuer."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX),
                timeout=aiohttp.ClientTimeout(total=_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        method = "GET" if form is None else "POST"
        asked = {"Accept": "application/json", **(headers or {})}
        try:
            async with self._session.request(
                method, url, data=form, headers=asked, allow_redirects=False, ssl=self._context()
            ) as answer:
                return answer.status, _object(await _read(answer))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = str(error) or type(error).__name__
            raise IssuerUnavailable(f"the issuer cannot be asked: {why[:300]}") from error

    async def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in answer.content.iter_chunked(1 << 16):
        body += piece
        if len(body) > _BYTES_MAX:
            raise ValueError(f"the answer has more than {_BYTES_MAX} bytes")
    return bytes(body)


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}
