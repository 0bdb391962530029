"""What is asked of aiohttp's connections beyond what they do by themselves.

A connection keeps the beginning of each answer, so that a status line that arrived whole counts whatever
happened to the rest (PROTOCOL §2), and knows how often it was used, so that a call over one that its server
had closed can be repeated.
"""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Final, cast

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from multidict import istr

from coordinator.calls.connect import HttpNames
from coordinator.discovery.names import Names

HEAD_BYTES_MAX: Final = 2 << 20  # of an answer's status line and headers, interim answers included
FIELDS_MAX: Final = 1 << 15

_STATUS_LINE: Final = re.compile(rb"HTTP/\d\.\d ([1-9]\d\d)(?: [^\n]*)?\r?\n")
_BLOCK_END: Final = re.compile(rb"\n\r?\n")


class AnswerProtocol(ResponseHandler):
    """A connection to a branch."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.uses = 0  # requests sent over it so far
        self.head: bytes | bytearray = b""  # of the present answer, what came before its headers were whole
        self._is_in_head = False

    def begin(self) -> None:
        """A request is about to be sent."""
        self.uses += 1
        self.head = b""
        self._is_in_head = True

    def data_received(self, data: bytes) -> None:
        """Take what came, and keep the head of the answer."""
        if not self._is_in_head:
            if data and self._is_idle():
                self.close()  # nobody asked: said to an idle connection, it must not answer the next call
                return
            super().data_received(data)
            return
        if not self.head:
            self.head = data
        else:
            if type(self.head) is bytes:
                self.head = bytearray(self.head)
            self.head += data
        super().data_received(data)
        self._bound_head()

    def _bound_head(self) -> None:
        if self._is_in_head and len(self.head) > HEAD_BYTES_MAX:
            self._is_in_head = False
            self.set_exception(
                HttpProcessingError(message=f"its headers have more than {HEAD_BYTES_MAX} bytes")
            )
            if self.transport is not None:
                self.transport.close()

    def _is_idle(self) -> bool:
        payload: StreamReader | None = self._payload
        return self.uses > 0 and (payload is None or payload.is_eof())

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """The parser has a whole head."""
        code = data[0].code
        if not 100 <= code < 200 or code == 101:
            self._is_in_head = False
        super().feed_data(data, size)


class Request(aiohttp.ClientRequest):
    """A request without `Accept-Encoding`: answers are small, and unpacking one costs more than it saves."""

    DEFAULT_HEADERS: ClassVar[dict[istr, str]] = {hdrs.ACCEPT: "*/*"}  # type: ignore[misc]

    connection: AnswerProtocol | None = None  # that it was sent over

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """Send it; see aiohttp."""
        self.connection = cast(AnswerProtocol, conn.protocol)
        self.connection.begin()
        return await super().send(conn)


def open_session(names: Names, *, keep: bool = True) -> aiohttp.ClientSession:
    """Open a client for `Request`. keep: whether its connections are used again."""
    # Unlimited, because the places per endpoint are what bounds the calls; the names remember themselves.
    options: dict[str, object] = {"limit": 0, "use_dns_cache": False, "resolver": HttpNames(names)}
    connector = aiohttp.TCPConnector(force_close=not keep, **options)  # type: ignore[arg-type]
    make: Callable[[], ResponseHandler] = partial(AnswerProtocol, asyncio.get_running_loop())
    connector._factory = make  # type: ignore[assignment]
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),  # branches share no session
        timeout=aiohttp.ClientTimeout(),  # none: every call has its own deadline
        request_class=Request,
        auto_decompress=False,
        max_line_size=HEAD_BYTES_MAX,
        max_field_size=HEAD_BYTES_MAX,
        max_headers=FIELDS_MAX,
    )
    session._retry_connection = False  # ours, which knows whether the connection had been used
    return session


def status_in(head: bytes | bytearray) -> int | None:
    """The status of an answer whose status line arrived whole; interim answers (1xx) before it are none."""
    position = 0
    while line := _STATUS_LINE.match(head, position):
        status = int(line[1])
        if status >= 200:
            return status
        end = _BLOCK_END.search(head, line.end() - 1)
        if end is None:
            return None
        position = end.end()
    return None
