"""HTTP branches (PROTOCOL §10): kept connections, a deadline over everything, answers of bounded size."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from multidict import CIMultiDict
from yarl import URL

from coordinator.attempt import Kind
from coordinator.calls.answers import http_answer, kept_http_answer, unknown
from coordinator.calls.base import Answer
from coordinator.calls.connect import Reach
from coordinator.calls.content import UTF_8, CannotUnpack, charset_of, unpacked
from coordinator.calls.http_connection import REDIRECTS, Reply
from coordinator.calls.http_errors import Broken, Stopping, describe
from coordinator.calls.http_pool import HttpPool
from coordinator.calls.http_request import HeaderLines, encoded
from coordinator.calls.kinds import kind_of
from coordinator.calls.url import HttpUrl, parse_http_url
from coordinator.deadlines import Deadlines
from coordinator.model import Branch, Result, Transaction, TransType
from coordinator.results import keeps

USER_AGENT: Final = "dtm-coordinator"

_GET: Final = "GET"
_POST: Final = "POST"
_JSON: Final = "application/json"
_SAME_AGAIN: Final = frozenset({307, 308})  # the other redirects turn into a GET without a body
# Ours, whatever a client asks for: the url says whom to call.
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "trailer", "expect", "host"})
_AUTHORIZATION: Final = "Authorization"
_NOT_TO_OTHERS: Final = (_AUTHORIZATION, "Cookie", "Proxy-Authorization")
_NOT_UTF_8: Final = re.compile("[\udc80-\udcff]")
_SALVAGED_BYTES_MAX: Final = 1 << 16

ReadAnswer = Callable[[int, bytes, str], Answer]  # of status, body, charset


def shown_url(url: URL) -> str:
    """The url for people: without login, query and fragment."""
    return str(url.with_user(None).with_query(None).with_fragment(None))


class HttpCaller:
    """Calls HTTP branches. To be made and used on one running event loop.

    answer_bytes_max: of a longer body only the beginning counts; the rest is never read.
    redirects_max: how many are followed; after that the last answer counts.
    shown: how a url stands in an answer's text.
    """

    def __init__(
        self,
        *,
        answer_bytes_max: int,
        redirects_max: int,
        deadlines: Deadlines,
        reach: Reach,
        user_agent: str = USER_AGENT,
        shown: Callable[[URL], str] = shown_url,
    ) -> None:
        self._answer_bytes_max = answer_bytes_max
        self._redirects_max = redirects_max
        self._deadlines = deadlines
        self._shown = shown
        self._headers = CIMultiDict({"Content-Type": _JSON, "User-Agent": user_agent})
        self._lines = HeaderLines(self._headers)
        self._pool = HttpPool(reach, body_bytes_max=answer_bytes_max)

    async def call(self, transaction: Transaction, branch: Branch, url: HttpUrl, timeout: float) -> Answer:
        """Call the branch: POST if there is a payload, or always for xa, else GET. timeout: seconds."""
        payload = branch.payload
        return await self.fetch(
            _POST if payload or transaction.trans_type == TransType.XA else _GET,
            url,
            url.target_with_branch(branch.gid, transaction.trans_type, branch.branch_id, branch.op),
            payload or None,
            transaction.options.headers_for(branch.branch_id),
            timeout,
            kept_http_answer if keeps(branch.url) else http_answer,
        )

    async def fetch(
        self,
        method: str,
        url: HttpUrl,
        target: str,
        body: bytes | None,
        branch_headers: Mapping[str, str],
        timeout: float,
        read_answer: ReadAnswer,
    ) -> Answer:
        """Send one request and read its answer; whatever goes wrong is UNKNOWN with a sentence.

        But a status of FAILURE or ONGOING counts as soon as its line has come, and so do their words in what
        came of a body; a 200 counts when its body has come to its end (PROTOCOL §2).
        url: of the server; its login is sent unless the branch_headers have one. target: path and query.
        timeout: seconds for everything, redirects and the answer's body included.
        read_answer: what status, body and charset mean.
        """
        deadline = self._deadlines.within(timeout)
        reply = Reply(is_followed=self._redirects_max > 0)
        try:
            with deadline:
                headers, lines = self._headers, self._lines
                if branch_headers or url.authorization:
                    headers = self._headers_with(branch_headers, url.authorization)
                    lines = HeaderLines(headers)
                await self._pool.exchange(url, encoded(method, target, url.host, lines, body), reply)
                if reply.status in REDIRECTS:
                    at = URL(f"{url.url.scheme}://{url.host}{target}", encoded=True)
                    return await self._redirected(reply, url, at, method, body, headers, read_answer)
                return self._read(reply, read_answer)
        except Stopping:
            return unknown("the coordinator is stopping", Kind.STOPPING)
        except (Broken, OSError, ValueError) as error:
            if deadline.expired:
                late = unknown(f"{self._shown(url.url)} gave no answer within {timeout:g} s", Kind.TIMEOUT)
                return _salvaged(reply, late, read_answer)
            broken = unknown(describe(error, self._shown(url.url)), kind_of(error))
            return _salvaged(reply, replace(broken, http_status=reply.known_status()), read_answer)

    async def close(self) -> None:
        """Close the pooled connections. Calls that still run end with UNKNOWN."""
        await self._pool.close()

    def _headers_with(self, branch_headers: Mapping[str, str], authorization: str) -> "CIMultiDict[str]":
        headers = self._headers.copy()
        for name, value in branch_headers.items():
            if name.lower() not in _FRAMING:
                headers[name] = value
        if authorization:
            headers.setdefault(_AUTHORIZATION, authorization)
        return headers

    def _read(self, reply: Reply, read_answer: ReadAnswer) -> Answer:
        """The answer of a reply that has come, at most so much of its body."""
        status, body, bytes_max = reply.status, bytes(reply.body), self._answer_bytes_max
        assert status is not None
        is_cut = len(body) > bytes_max
        if is_cut:
            body = body[:bytes_max]
        encoding = reply.header(b"content-encoding")
        if encoding is not None:
            body, has_end = unpacked(body, encoding, bytes_max)
            if not (has_end or is_cut):
                raise CannotUnpack(f"the {encoding} has no end")
        content_type = reply.header(b"content-type")
        return read_answer(status, body, charset_of(content_type) if content_type else UTF_8)

    async def _redirected(
        self,
        reply: Reply,
        url: HttpUrl,
        at: URL,
        method: str,
        body: bytes | None,
        headers: "CIMultiDict[str]",
        read_answer: ReadAnswer,
    ) -> Answer:
        """Follow redirects, at most so many, and read the last answer. at: the url that was called."""
        headers = headers.copy()
        for left in reversed(range(self._redirects_max)):
            location = self._location(reply, at)
            if location is None:
                break
            if reply.status not in _SAME_AGAIN:
                method, body = _GET, None
            if location.endpoint != url.endpoint:
                for name in _NOT_TO_OTHERS:
                    headers.popall(name, None)
            if location.authorization:
                headers.setdefault(_AUTHORIZATION, location.authorization)
            url, at = location, location.url
            reply.begin(is_followed=left > 0)
            request = encoded(method, url.target, url.host, HeaderLines(headers), body)
            await self._pool.exchange(url, request, reply)
        further = self._location(reply, at)
        answer = self._read(reply, read_answer)
        if further is None or answer.result is not Result.UNKNOWN:
            return answer
        next_url = self._shown(further.url)
        text = f"{answer.text} after {self._redirects_max} redirects, the next to {next_url}"
        return unknown(text, Kind.STATUS)

    def _location(self, reply: Reply, at: URL) -> HttpUrl | None:
        """Where the answer redirects to, None when it does not. at: that gave it. Raises ValueError."""
        if reply.status not in REDIRECTS:
            return None
        written = reply.header(b"location")
        if not written:
            return None
        # What is not ASCII should have been encoded; most mean UTF-8, any other byte goes back as it came.
        written = _NOT_UTF_8.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", written)
        url = at.join(URL(written, encoded=True))
        try:
            return parse_http_url(str(url))
        except ValueError as error:
            raise ValueError(f"{self._shown(at)} redirects to {self._shown(url)}, which {error}") from error


def _salvaged(reply: Reply, otherwise: Answer, read_answer: ReadAnswer) -> Answer:
    """What counts of an answer that did not come whole: a success never does.

    otherwise: what the call ends with when nothing counts, and why.
    """
    status = reply.known_status()
    if status is None:
        return otherwise
    body = bytes(reply.body)
    with suppress(CannotUnpack):
        body, _ = unpacked(body, reply.header(b"content-encoding") or "", _SALVAGED_BYTES_MAX)
    answer = read_answer(status, body, charset_of(reply.header(b"content-type") or ""))
    if answer.result in {Result.SUCCESS, Result.UNKNOWN}:
        return otherwise
    return replace(answer, text=f"{answer.text} ({otherwise.text})".lstrip())
