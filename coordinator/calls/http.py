"""HTTP branches (PROTOCOL §10): one pooled client, a deadline over everything, answers of bounded size."""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from coordinator.calls.answers import http_answer, unknown
from coordinator.calls.base import Answer
from coordinator.calls.content import UTF_8, CannotUnpack, charset_of, unpacked
from coordinator.calls.deadlines import Deadlines
from coordinator.calls.http_connection import Request, open_session, status_in
from coordinator.calls.http_errors import describe
from coordinator.calls.url import HttpUrl, parse_http_url
from coordinator.discovery.names import Names
from coordinator.model import Branch, Result, Transaction, TransType

_JSON: Final = "application/json"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SAME_AGAIN: Final = frozenset({307, 308})  # the other redirects turn into a GET without a body
_FRAMING: Final = frozenset(
    {"content-length", "transfer-encoding", "trailer", "expect"}
)  # ours, whatever a client asks for
_OTHER_ORIGIN: Final = (hdrs.AUTHORIZATION, hdrs.COOKIE, hdrs.PROXY_AUTHORIZATION, hdrs.HOST)
_NOT_UTF_8: Final = re.compile("[\udc80-\udcff]")
_SALVAGED_BYTES_MAX: Final = 1 << 16
_BROKEN: Final = (
    aiohttp.ClientOSError,
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientConnectionResetError,
)

ReadAnswer = Callable[[int, bytes, str], Answer]  # of status, body, charset


class _Exchange:
    """One call: the request sent last, and what has come of its answer so far."""

    __slots__ = ("body", "request", "response")

    def __init__(self) -> None:
        self.request: Request | None = None
        self.response: aiohttp.ClientResponse | None = None
        self.body: bytes | bytearray = b""

    async def __call__(
        self,
        request: aiohttp.ClientRequest,
        send: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    ) -> aiohttp.ClientResponse:
        """Take note of a request, as aiohttp's middleware."""
        assert isinstance(request, Request)
        self.request, self.response, self.body = request, None, b""
        self.response = await send(request)
        return self.response

    def met_a_closed_connection(self) -> bool:
        """True when nothing came, over a connection that had served other calls: its server had left it."""
        connection = self.request.connection if self.request is not None else None
        return connection is not None and connection.uses > 1 and not connection.head

    def status(self) -> int | None:
        """The status, once its line has come whole."""
        if self.response is not None:
            return self.response.status
        connection = self.request.connection if self.request is not None else None
        return status_in(connection.head) if connection is not None else None


class HttpCaller:
    """Calls HTTP branches. To be made and used on one running event loop.

    answer_bytes_max: of a longer body only the beginning counts; the rest is never read.
    redirects_max: how many are followed; after that the last answer counts.
    names: looks hosts up; its owner closes it.
    """

    def __init__(
        self,
        *,
        answer_bytes_max: int,
        redirects_max: int,
        user_agent: str,
        deadlines: Deadlines,
        names: Names,
    ) -> None:
        self._answer_bytes_max = answer_bytes_max
        self._redirects_max = redirects_max
        self._deadlines = deadlines
        self._headers = CIMultiDict({hdrs.CONTENT_TYPE: _JSON, hdrs.USER_AGENT: user_agent})
        self._session = open_session(names)
        self._unkept = open_session(names, keep=False)  # for what must not meet a connection of before

    async def call(self, transaction: Transaction, branch: Branch, url: HttpUrl, timeout: float) -> Answer:
        """Call the branch: POST if there is a payload, or always for xa, else GET. timeout: seconds."""
        payload = branch.payload
        return await self.fetch(
            hdrs.METH_POST if payload or transaction.trans_type == TransType.XA else hdrs.METH_GET,
            url.with_branch(branch.gid, transaction.trans_type, branch.branch_id, branch.op),
            url.authorization,
            payload or None,
            transaction.options.branch_headers,
            timeout,
            http_answer,
        )

    async def fetch(
        self,
        method: str,
        url: URL,
        authorization: str,
        body: bytes | None,
        branch_headers: Mapping[str, str],
        timeout: float,
        read_answer: ReadAnswer,
    ) -> Answer:
        """Send one request and read its answer; whatever goes wrong is UNKNOWN with a sentence.

        But a status of FAILURE or ONGOING counts as soon as its line has come, and so do their words in what
        came of a body; a 200 counts when its body has come to its end (PROTOCOL §2).
        authorization: the header that the url's login means; one among the branch_headers wins.
        timeout: seconds for everything, redirects and the answer's body included.
        read_answer: what status, body and charset mean.
        """
        headers = self._headers
        if branch_headers or authorization:
            headers = self._headers_with(branch_headers, authorization)
        deadline = self._deadlines.within(timeout)
        exchange = _Exchange()
        try:
            with deadline:
                response = await self._send(exchange, method, url, body, headers)
                if response.status in _REDIRECTS:
                    return await self._redirected(exchange, response, method, body, headers, read_answer)
                return await self._read(exchange, response, read_answer)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if deadline.expired:
                late = unknown(f"{_shown(url)} gave no answer within {timeout:g} s")
                return _salvaged(exchange, late, read_answer)
            broken = unknown(describe(error, _shown(url)))
            return _salvaged(exchange, replace(broken, http_status=exchange.status()), read_answer)
        except RuntimeError:
            if not self._session.closed:
                raise
            return unknown("the coordinator is stopping")

    async def close(self) -> None:
        """Close the pooled connections. Calls that still run end with UNKNOWN."""
        await self._session.close()
        await self._unkept.close()

    def _headers_with(self, branch_headers: Mapping[str, str], authorization: str) -> "CIMultiDict[str]":
        headers = self._headers.copy()
        for name, value in branch_headers.items():
            if name.lower() not in _FRAMING:
                headers[name] = value
        if authorization:
            headers.setdefault(hdrs.AUTHORIZATION, authorization)
        return headers

    async def _send(
        self,
        exchange: _Exchange,
        method: str,
        url: URL,
        body: bytes | None,
        headers: "CIMultiDict[str]",
    ) -> aiohttp.ClientResponse:
        """Send a request; once more if it met a connection that its server had closed meanwhile.

        Whatever the method: a call without a result is repeated in any case (PROTOCOL §2), only later.
        """
        observers = (exchange,)
        try:
            return await self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False, middlewares=observers
            )
        except _BROKEN:
            if not exchange.met_a_closed_connection():
                raise
        return await self._unkept.request(
            method, url, data=body, headers=headers, allow_redirects=False, middlewares=observers
        )

    async def _read(
        self, exchange: _Exchange, response: aiohttp.ClientResponse, read_answer: ReadAnswer
    ) -> Answer:
        """Read the body, at most so much of it, and the answer from that."""
        content, bytes_max = response.content, self._answer_bytes_max
        if content.is_eof():  # came together with the head, as most do
            exchange.body = content.read_nowait(-1)
            if not response.closed:
                response.close()
        else:
            kept = exchange.body = bytearray()
            try:
                while len(kept) <= bytes_max and (chunk := await content.readany()):
                    kept += chunk
            finally:
                response.close()  # with a body read to its end this leaves the connection in the pool
        body = bytes(exchange.body)
        is_cut = len(body) > bytes_max
        if is_cut:
            body = body[:bytes_max]
        headers = response.headers
        encoding = headers.get(hdrs.CONTENT_ENCODING)
        if encoding is not None:
            body, has_end = unpacked(body, encoding, bytes_max)
            if not (has_end or is_cut):
                raise CannotUnpack(f"the {encoding} has no end")
        content_type = headers.get(hdrs.CONTENT_TYPE)
        return read_answer(response.status, body, charset_of(content_type) if content_type else UTF_8)

    async def _redirected(
        self,
        exchange: _Exchange,
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
            if location.url.origin() != response.url.origin():
                headers = headers.copy()
                for name in _OTHER_ORIGIN:
                    headers.popall(name, None)
            if location.authorization and hdrs.AUTHORIZATION not in headers:
                headers = headers.copy()
                headers[hdrs.AUTHORIZATION] = location.authorization
            response = await self._send(exchange, method, location.url, body, headers)
        further = _location(response)
        answer = await self._read(exchange, response, read_answer)
        if further is None or answer.result is not Result.UNKNOWN:
            return answer
        next_url = _shown(further.url)
        return unknown(f"{answer.text} after {self._redirects_max} redirects, the next to {next_url}")


def _salvaged(exchange: _Exchange, otherwise: Answer, read_answer: ReadAnswer) -> Answer:
    """What counts of an answer that did not come whole: a success never does.

    otherwise: what the call ends with when nothing counts, and why.
    """
    status = exchange.status()
    if status is None:
        return otherwise
    headers: Mapping[str, str] = exchange.response.headers if exchange.response is not None else {}
    body = bytes(exchange.body)
    with suppress(CannotUnpack):
        body, _ = unpacked(body, headers.get(hdrs.CONTENT_ENCODING, ""), _SALVAGED_BYTES_MAX)
    answer = read_answer(status, body, charset_of(headers.get(hdrs.CONTENT_TYPE, "")))
    if answer.result in {Result.SUCCESS, Result.UNKNOWN}:
        return otherwise
    return replace(answer, text=f"{answer.text} ({otherwise.text})".lstrip())


def _location(response: aiohttp.ClientResponse) -> HttpUrl | None:
    """Where the answer redirects to, None when it does not. Raises ValueError."""
    if response.status not in _REDIRECTS:
        return None
    written = response.headers.get(hdrs.LOCATION)
    if not written:
        return None
    # What is not ASCII should have been encoded; most mean UTF-8, and any other byte goes back as it came.
    written = _NOT_UTF_8.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", written)
    url = response.url.join(URL(written, encoded=True))
    try:
        return parse_http_url(str(url))
    except ValueError as error:
        raise ValueError(f"{_shown(response.url)} redirects to {_shown(url)}, which {error}") from error


def _shown(url: URL) -> str:
    """The url for people: without login, query and fragment."""
    return str(url.with_user(None).with_query(None).with_fragment(None))
