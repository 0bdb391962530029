"""HTTP answers as cheap as they can be.

aiohttp's Response builds a header dictionary for every answer and turns it into bytes: 50 µs a request where
this takes 30. What it needs of a response is `prepare`, `write_eof`, `keep_alive`; QuickAnswer has them and
writes one piece of bytes. Whatever is not plain HTTP/1.1 with keep-alive goes through aiohttp's own.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import Final

import orjson
from aiohttp import HttpVersion11
from aiohttp.web import BaseRequest, Response

from coordinator.api.branch_header import NAME as BRANCH_HEADER
from coordinator.api.pressing import headers_of
from coordinator.errors import FAILURE_WORD, ONGOING_WORD, DtmError

JSON_TYPE: Final = "application/json; charset=utf-8"
TEXT_TYPE: Final = "text/plain"  # as the reference writes it
SERVER: Final = "dtm-coordinator"  # and no version: who asks for one has `version`
RETRY_AFTER_SECONDS: Final = 1  # what a 503 tells the client to wait
# What is answered is of its moment, and what its type says, whatever a browser believes to see in it.
FOR_BROWSERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_NO_HEADERS: Final[Mapping[str, str]] = {}
_RETRY_AFTER: Final = "Retry-After"
# In a line of ASCII after those of `_headers`; others may replace what is there.
_ADDED: Final = frozenset({BRANCH_HEADER, _RETRY_AFTER})
_BY_STATUS: Final = {
    401: {"WWW-Authenticate": 'Bearer realm="dtm"'},
    503: {_RETRY_AFTER: str(RETRY_AFTER_SECONDS)},
}
_RESULTS: Final = {409: FAILURE_WORD, 425: ONGOING_WORD}
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    425: "Too Early",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


def content_of(error: DtmError) -> dict[str, str]:
    """What the answer to an error says (PROTOCOL §2)."""
    result = _RESULTS.get(error.http_status)
    return {"dtm_result": result, "message": error.message} if result else {"message": error.message}


class QuickAnswer:
    """An answer that aiohttp's server can send: status, and all its bytes."""

    __slots__ = ("_data", "_request", "keep_alive", "status")

    def __init__(self, request: BaseRequest, status: int, data: bytes) -> None:
        self.status = status
        self.keep_alive = True
        self._request = request
        self._data = data

    async def prepare(self, _request: BaseRequest) -> None:
        """Called by aiohttp before `write_eof`; there is nothing to prepare."""

    async def write_eof(self) -> None:
        """Send it."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        transport.write(self._data)  # the writer's own would cost as much again
        # Else answers pile up for a client that sends requests and reads nothing.
        await self._request.writer.drain()


class StreamedAnswer:
    """An answer that lasts: `run` is handed what writes a piece of it, and the answer ends when it returns.

    headers: all of them. The connection is closed afterwards.
    """

    def __init__(
        self,
        request: BaseRequest,
        headers: Mapping[str, str],
        run: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]],
    ) -> None:
        self.status = 200
        self.keep_alive = False
        self._request = request
        self._headers = headers
        self._run = run

    async def prepare(self, _request: BaseRequest) -> None:
        """Called by aiohttp before `write_eof`; there is nothing to prepare."""

    async def write_eof(self) -> None:
        """Send it, piece by piece."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        await self._write(f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode())
        if self._request.method != "HEAD":
            await self._run(self._write)

    async def _write(self, data: bytes) -> None:
        await self._request.writer.write(data)
        await self._request.writer.drain()


Answer = QuickAnswer | StreamedAnswer | Response


class Answers:
    """Makes answers; holds the heads of those made before, and the Date line of the running second."""

    def __init__(self) -> None:
        self._heads: dict[tuple[int, str, bool], bytes] = {}
        self._second = -1
        self._date = b""

    def make(
        self,
        request: BaseRequest,
        body: bytes,
        status: int = 200,
        kind: str = JSON_TYPE,
        more: Mapping[str, str] = _NO_HEADERS,
    ) -> Answer:
        """The answer to this request; `kind` is its Content-Type, `more` are further headers."""
        is_plain = request.keep_alive and request.version == HttpVersion11 and request.method != "HEAD"
        if not is_plain or not more.keys() <= _ADDED:
            headers = {**_headers(status, kind), **more}
            return Response(body=body, status=status, headers=headers)
        return QuickAnswer(request, status, self._plain(body, status, kind, more))

    def error(self, request: BaseRequest, error: DtmError) -> Answer:
        """The answer to a request that went wrong (PROTOCOL §2)."""
        body = orjson.dumps(content_of(error))
        return self.make(request, body, error.http_status, more=headers_of(error))

    def refusal(self, error: DtmError) -> bytes:
        """All bytes of the answer to a plain request that went wrong."""
        return self._plain(orjson.dumps(content_of(error)), error.http_status, JSON_TYPE, headers_of(error))

    def _plain(self, body: bytes, status: int, kind: str, more: Mapping[str, str]) -> bytes:
        says_when = _RETRY_AFTER in more
        head = self._heads.get((status, kind, says_when))
        if head is None:
            head = self._make_head(status, kind, says_when=says_when)
        lines = _lines(more) if more else b""
        return b"%b%d\r\nDate: %b\r\n%b\r\n%b" % (head, len(body), self._now(), lines, body)

    def _make_head(self, status: int, kind: str, *, says_when: bool) -> bytes:
        line = f"HTTP/1.1 {status} {_REASONS.get(status, '')}"
        headers = _headers(status, kind)
        if says_when:
            headers.pop(_RETRY_AFTER, None)
        fields = [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join((line, *fields, "Content-Length: ")).encode()
        self._heads[status, kind, says_when] = head
        return head

    def _now(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date


def _lines(headers: Mapping[str, str]) -> bytes:
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()]).encode("ascii")


def _headers(status: int, kind: str) -> dict[str, str]:
    return {"Content-Type": kind, "Server": SERVER, **FOR_BROWSERS, **_BY_STATUS.get(status, {})}
