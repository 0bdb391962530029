"""One connection to a branch that speaks HTTP/1.1: a request is written, its answer read, and the next sent.

What came of an answer is kept as it comes, so that a status line that arrived whole counts whatever happened
to the rest (PROTOCOL §2).
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from coordinator.calls.http_errors import Broken, text_of

HEAD_BYTES_MAX: Final = 2 << 20  # of an answer's status line and headers, interim answers included
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_STATUS_LINE: Final = re.compile(rb"HTTP/\d\.\d ([1-9]\d\d)(?: [^\n]*)?\r?\n")
_BLOCK_END: Final = re.compile(rb"\n\r?\n")
# Bytes; of a smaller one nothing is left to be written when its answer is whole.
_LARGE_REQUEST: Final = 1 << 16
_SWITCHING: Final = 101  # the interim status that nothing follows
_NOT_HTTP: Final = "the answer is not HTTP"
_CLOSED_BEFORE: Final = "the connection was closed before one came"


class Reply:
    """What has come of an answer so far. is_followed: of a redirect, the head is enough."""

    __slots__ = ("body", "head", "headers", "is_followed", "status")

    def __init__(self, *, is_followed: bool) -> None:
        self.begin(is_followed=is_followed)

    def begin(self, *, is_followed: bool) -> None:
        """Nothing has come yet: another request is to be sent."""
        self.head: bytes | bytearray = b""  # what came before its headers were whole
        self.headers: dict[bytes, bytes] = {}  # by their names in lower case, the first of each
        self.status: int | None = None  # once the headers are whole
        self.body: bytes | bytearray = b""
        self.is_followed = is_followed

    def header(self, name: bytes) -> str | None:
        """A header's value; its bytes that are not UTF-8 as surrogates. name: in lower case."""
        value = self.headers.get(name)
        return None if value is None else value.decode("utf-8", "surrogateescape")

    def known_status(self) -> int | None:
        """The status, once its line has come whole."""
        return status_in(self.head) if self.status is None else self.status


class Connection(asyncio.Protocol):
    """A connection, for one exchange at a time.

    endpoint: that it leads to. body_bytes_max: with more of a body the answer ends, and the connection.
    when_free: told when an answer has come whole and another request may be sent.
    when_lost: told when the connection is no more.
    """

    __slots__ = (
        *("_body_bytes_max", "_done", "_is_kept", "_is_large", "_is_whole", "_loop", "_parser", "_reply"),
        *("_silent_bytes", "_transport", "_when_free", "_when_lost", "_why_unusable"),
        *("endpoint", "free_since"),
    )

    _transport: asyncio.Transport
    _done: "asyncio.Future[None]"  # of the present exchange

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        endpoint: str,
        *,
        body_bytes_max: int,
        when_free: "Callable[[Connection], None]",
        when_lost: "Callable[[Connection], None]",
    ) -> None:
        self._loop = loop
        self.endpoint = endpoint
        self.free_since = 0  # in ticks of whoever keeps it
        self._body_bytes_max = body_bytes_max
        self._when_free = when_free
        self._when_lost = when_lost
        self._reply: Reply | None = None  # of the present exchange; None between them
        self._is_whole = False  # the answer has come to its end
        self._is_kept = True  # another request may follow
        self._is_large = False  # the request may still be under way
        self._silent_bytes = 0  # since the body last grew
        self._why_unusable: Broken | None = None
        self._parser = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(  # what other clients take, too
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    @property
    def is_usable(self) -> bool:
        """Whether a request may be sent."""
        return self._why_unusable is None and not self._transport.is_closing()

    def exchange(self, request: bytes, reply: Reply) -> "asyncio.Future[None]":
        """Send the request; the future is done when the answer has come, into `reply`.

        It raises Broken when none comes whole. Who stops waiting calls `give_up`.
        """
        if not self.is_usable:
            raise self._why_unusable or Broken("no answer", _CLOSED_BEFORE)
        self._reply = reply
        self._is_whole = False
        self._is_large = len(request) > _LARGE_REQUEST
        done = self._done = self._loop.create_future()
        self._transport.write(request)
        return done

    def give_up(self, reply: Reply) -> None:
        """Nobody waits for this answer any more; one that has come whole changes nothing."""
        if self._reply is reply:
            self._reply = None
            self.abort(Broken("no answer", "the call was given up"))

    def abort(self, why: Broken) -> None:
        """Close the connection now. The exchange that runs ends with `why`."""
        if self._why_unusable is None:
            self._why_unusable = why
        self._transport.abort()
        if self._reply is not None:
            self._reply = None
            if not self._done.done():
                self._done.set_exception(why)

    # ---- called by the event loop ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take what came of the answer."""
        reply = self._reply
        if reply is None:  # said to an idle connection, it must not answer the next call
            self.abort(Broken(_NOT_HTTP, "it speaks without being asked"))
            return
        if reply.status is None:
            reply.head = _joined(reply.head, data)
        body_bytes = len(reply.body)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._is_kept = False
        except HttpParserError as error:
            self._is_kept = False
            if not self._is_whole:
                self.abort(Broken(_NOT_HTTP, text_of(error.__context__ or error)))
                return
        if self._is_whole:
            self._finish()
        else:
            self._bound(reply, len(data), body_bytes)

    def eof_received(self) -> None:
        """The branch says no more: the connection closes."""
        self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Nothing more can come."""
        self._end(error)
        del self._parser  # which refers to the connection
        self._when_lost(self)

    # ---- called by the parser ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins; none must after the one that was asked for."""
        if self._is_whole:
            self._is_kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, is whole."""
        reply = self._reply
        if reply is None or reply.status is not None:
            return
        if b"\0" in value:
            raise ValueError(f"the header {name.decode(errors='replace')} has a NUL")
        name = name.lower()
        if name not in reply.headers:
            reply.headers[name] = value
        elif name == b"transfer-encoding":
            reply.headers[name] += b"," + value

    def on_headers_complete(self) -> None:
        """The headers are whole."""
        reply = self._reply
        if reply is None or self._is_whole:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != _SWITCHING:
            reply.headers.clear()
            return
        reply.status = status
        self._is_kept = self._parser.should_keep_alive() and status != _SWITCHING

    def on_body(self, data: bytes) -> None:
        """A piece of the body came."""
        reply = self._reply
        if reply is None or self._is_whole:
            return
        reply.body = _joined(reply.body, data)

    def on_message_complete(self) -> None:
        """An answer has come to its end."""
        reply = self._reply
        if reply is not None and reply.status is not None:  # else an interim one
            self._is_whole = True

    # ------------------------------------------------------------------------------------------------------

    def _bound(self, reply: Reply, came: int, body_bytes: int) -> None:
        """Break off what is longer than it may be. came: bytes. body_bytes: of the body before them."""
        if reply.status is None:
            if len(reply.head) > HEAD_BYTES_MAX:
                self.abort(Broken(_NOT_HTTP, f"its headers have more than {HEAD_BYTES_MAX} bytes"))
            return
        is_followed = reply.is_followed and reply.status in REDIRECTS and b"location" in reply.headers
        if is_followed or len(reply.body) > self._body_bytes_max:
            self._is_kept = False
            self._finish()
            return
        self._silent_bytes = self._silent_bytes + came if len(reply.body) == body_bytes else 0
        if self._silent_bytes > HEAD_BYTES_MAX:
            self.abort(Broken(_NOT_HTTP, f"more than {HEAD_BYTES_MAX} bytes of it are no body"))

    def _finish(self) -> None:
        """The answer is there: say so, and be there for the next, or close."""
        self._reply = None
        if self._is_kept and not (self._is_large and self._transport.get_write_buffer_size()):
            self._silent_bytes = 0
            self._when_free(self)
        else:
            self.abort(Broken("no answer", "the connection was closed"))
        if not self._done.done():  # else its deadline came at the same moment
            self._done.set_result(None)

    def _end(self, error: Exception | None) -> None:
        """Nothing more comes. error: why, None when the branch closed the connection."""
        reply = self._reply
        if reply is not None and error is None and reply.status is not None and _ends_with_it(reply.headers):
            self._is_kept = False
            self._finish()
            return
        if reply is not None and reply.head:
            what, closed = "the answer broke off", "the connection was closed before its end"
        else:
            what, closed = "no answer", _CLOSED_BEFORE
            if error is not None:
                what = "the connection broke"
        self.abort(Broken(what, closed if error is None else text_of(error)))


def _joined(before: bytes | bytearray, piece: bytes) -> bytes | bytearray:
    """What came before and the next piece; of the first piece no copy is made."""
    if not before:
        return piece
    if type(before) is bytes:
        return bytearray(before) + piece
    before += piece
    return before


def _ends_with_it(headers: dict[bytes, bytes]) -> bool:
    """Whether an answer with these headers lasts until its connection is closed."""
    coding = headers.get(b"transfer-encoding")
    if coding is not None:
        return coding.lower().rpartition(b",")[2].strip() != b"chunked"
    return b"content-length" not in headers


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
