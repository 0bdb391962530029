"""HTTP branches (PROTOCOL §10): one pooled client, a deadline over everything, answers of bounded size."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, istr
from yarl import URL

from coordinator.calls.answers import http_answer, unknown
from coordinator.calls.base import Answer
from coordinator.calls.deadlines import Deadlines
from coordinator.calls.http_errors import describe
from coordinator.calls.url import HttpUrl, parse_http_url
from coordinator.model import Branch, Result, Transaction, TransType

_JSON: Final = "application/json"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SAME_AGAIN: Final = frozenset({307, 308})  # the other redirects turn into a GET without a body
_FRAMING: Final = frozenset(
    {"content-length", "transfer-encoding", "trailer"}
)  # ours, whatever a client asks for
_OTHER_ORIGIN: Final = (hdrs.AUTHORIZATION, hdrs.COOKIE, hdrs.PROXY_AUTHORIZATION, hdrs.HOST)
_DNS_SECONDS: Final = 10  # how long a looked-up address is believed

ReadAnswer = Callable[[int, bytes], Answer]


class _Request(aiohttp.ClientRequest):
    """A request without `Accept-Encoding`: answers are small, and unpacking one costs more than it saves."""

    DEFAULT_HEADERS: ClassVar[dict[istr, str]] = {hdrs.ACCEPT: "*/*"}  # type: ignore[misc]


class HttpCaller:
    """Calls HTTP branches. To be made and used on one running event loop.

    answer_bytes_max: of a longer body only the beginning counts; the rest is never read.
    redirects_max: how many are followed; after that the last answer counts.
    """

    def __init__(
        self, *, answer_bytes_max: int, redirects_max: int, user_agent: str, deadlines: Deadlines
    ) -> None:
        self._answer_bytes_max = answer_bytes_max
        self._redirects_max = redirects_max
        self._deadlines = deadlines
        self._headers = CIMultiDict({hdrs.CONTENT_TYPE: _JSON, hdrs.USER_AGENT: user_agent})
        self._session = aiohttp.ClientSession(
            # Unlimited, because the places per endpoint are what bounds the calls.
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=_DNS_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),  # branches share no session
            timeout=aiohttp.ClientTimeout(),  # none: every call has its own deadline
            request_class=_Request,
        )

    async def call(self, transaction: Transaction, branch: Branch, url: HttpUrl, timeout: float) -> Answer:
        """Call the branch: POST if there is a payload, or always for xa, else GET. timeout: seconds."""
        payload = branch.payload
        return await self.fetch(
            hdrs.METH_POST if payload or transaction.trans_type == TransType.XA else hdrs.METH_GET,
            url.with_branch(branch.gid, transaction.trans_type, branch.branch_id, branch.op),
            payload or None,
            transaction.options.branch_headers,
            timeout,
            http_answer,
        )

    async def fetch(
        self,
        method: str,
        url: URL,
        body: bytes | None,
        branch_headers: Mapping[str, str],
        timeout: float,
        read_answer: ReadAnswer,
    ) -> Answer:
        """Send one request and read its answer; whatever goes wrong is UNKNOWN with a sentence.

        timeout: seconds for everything, redirects and the answer's body included.
        read_answer: what status and body mean.
        """
        headers = self._headers_with(branch_headers) if branch_headers else self._headers
        deadline = self._deadlines.within(timeout)
        try:
            with deadline:
                response = await self._session.request(
                    method, url, data=body, headers=headers, allow_redirects=False
                )
                if response.status in _REDIRECTS:
                    return await self._redirected(response, method, body, headers, read_answer)
                return read_answer(response.status, await self._body(response))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if deadline.expired:
                return unknown(f"{_shown(url)} gave no answer within {timeout:g} s")
            return unknown(describe(error, _shown(url)))
        except RuntimeError:
            if not self._session.closed:
                raise
            return unknown("the coordinator is stopping")

    async def close(self) -> None:
        """Close the pooled connections. Calls that still run end with UNKNOWN."""
        await self._session.close()

    def _headers_with(self, branch_headers: Mapping[str, str]) -> "CIMultiDict[str]":
        headers = self._headers.copy()
        for name, value in branch_headers.items():
            if name.lower() not in _FRAMING:
                headers[name] = value
        return headers

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        length = response.content_length
        if (
            length is not None
            and length <= self._answer_bytes_max
            and hdrs.CONTENT_ENCODING not in response.headers
        ):
            return await response.read()
        kept = bytearray()
        try:
            async for chunk in response.content.iter_any():
                kept += chunk
                if len(kept) > self._answer_bytes_max:
                    break
        finally:
            response.close()  # with a body read to its end this leaves the connection in the pool
        return bytes(kept[: self._answer_bytes_max])

    async def _redirected(
        self,
        response: aiohttp.ClientResponse,
        method: str,
        body: bytes | None,
        headers: "CIMultiDict[str]",
        read_answer: ReadAnswer,
    ) -> Answer:
        """Follow redirects, at most so many, and read the last answer."""
        for _ in range(self._redirects_max):
            location = _location(response)
            if location is None:
                break
            response.release()
            if response.status not in _SAME_AGAIN:
                method, body = hdrs.METH_GET, None
            if location.origin() != response.url.origin():
                headers = headers.copy()
                for name in _OTHER_ORIGIN:
                    headers.popall(name, None)
            response = await self._session.request(
                method, location, data=body, headers=headers, allow_redirects=False
            )
        further = _location(response)
        answer = read_answer(response.status, await self._body(response))
        if further is None or answer.result is not Result.UNKNOWN:
            return answer
        return unknown(f"{answer.text} after {self._redirects_max} redirects, the next to {_shown(further)}")


def _location(response: aiohttp.ClientResponse) -> URL | None:
    """Where the answer redirects to, None when it does not. Raises ValueError."""
    if response.status not in _REDIRECTS:
        return None
    written = response.headers.get(hdrs.LOCATION)
    if not written:
        return None
    url = response.url.join(URL(written, encoded=True))
    try:
        return parse_http_url(str(url)).url
    except ValueError as error:
        raise ValueError(f"{_shown(response.url)} redirects to {url}, which {error}") from error


def _shown(url: URL) -> str:
    """The url for people: without login, query and fragment."""
    return str(url.with_user(None).with_query(None).with_fragment(None))
