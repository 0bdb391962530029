"""aiohttp's low-level server with bounds, and without a task for each plain request.

What its parser refuses has an answer of ours (PROTOCOL §2).
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import orjson
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, InvalidHeader, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web import BaseRequest, RequestHandler, Response, Server, StreamResponse
from aiohttp.web_protocol import _ErrInfo

from coordinator.api.early import Early, path_of
from coordinator.api.http_answer import FOR_BROWSERS, JSON_TYPE, RETRY_AFTER_SECONDS, SERVER
from coordinator.api.peer import Peer
from coordinator.errors import INTERNAL_ERROR

# The request's line: a topic, a url and a remark with every character escaped.
LINE_BYTES_MAX: Final = 64 * 1024
HEADERS_BYTES_MAX: Final = 1024 * 1024  # all of a request's, and its line

_TOO_LONG: Final = (
    f"the request line may have {LINE_BYTES_MAX} bytes, and all headers together {HEADERS_BYTES_MAX}:"
    " what was sent is longer"
)
_FULL: Final = orjson.dumps({"message": "the coordinator has all the connections that it takes"})
_FULL_ANSWER: Final = (
    f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {JSON_TYPE}\r\nServer: {SERVER}\r\n"
    f"Retry-After: {RETRY_AFTER_SECONDS}\r\nConnection: close\r\nContent-Length: {len(_FULL)}\r\n\r\n"
).encode() + _FULL
_SHOWN_MAX: Final = 200  # characters of what the parser says


class HttpServer(Server):
    """Makes a protocol for each connection; given to the loop's `create_server`. Needs a running loop."""

    def __init__(
        self,
        handler: Any,
        *,
        handler_cancellation: bool,
        connections_max: int,
        early: Early | None = None,
        **options: Any,
    ) -> None:
        """early: what is refused unparsed; None: nothing. options: of aiohttp's RequestHandler."""
        super().__init__(handler, handler_cancellation=handler_cancellation)
        self._connections_max = connections_max
        self._early = early
        self._options = options | {"max_line_size": LINE_BYTES_MAX, "max_field_size": HEADERS_BYTES_MAX}

    def __call__(self) -> RequestHandler:
        """One connection."""
        return _Connection(self, self._early, loop=asyncio.get_running_loop(), **self._options)

    def transports(self) -> Iterable[tuple[asyncio.Transport, bool]]:
        """Every open transport, and whether writing to it is paused."""
        return ((transport, handler.writing_paused) for handler, transport in self._connections.items())

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Called by aiohttp. With too many open, the one that waits longest for a request makes room."""
        super().connection_made(handler, transport)
        if len(self._connections) <= self._connections_max:
            return
        idle = [other for other in self._connections if _is_idle(other)]
        if idle:
            min(idle, key=_idle_since).force_close()
        else:
            transport.write(_FULL_ANSWER)
            asyncio.get_running_loop().call_soon(transport.close)  # aiohttp is about to start on it


def _is_idle(connection: RequestHandler) -> bool:
    return connection._waiter is not None and not connection._waiter.done()


def _idle_since(connection: RequestHandler) -> float:
    return connection._next_keepalive_close_time


class _Connection(RequestHandler):
    __slots__ = ("_between", "_body", "_early", "_head_bytes")

    def __init__(self, manager: Server, early: Early | None, **options: Any) -> None:
        super().__init__(manager, **options)
        self._early = early
        self._between = -1  # after so many requests it is known that the parser holds nothing of a next one
        self._head_bytes = 0  # read since the last request, of a next one that has not all its headers yet
        self._body: StreamReader | None = None  # which is arriving

    def data_received(self, data: bytes) -> None:
        """Parse what came; aiohttp bounds a header, and how many there are, but not all of them together."""
        if self._head_bytes > HEADERS_BYTES_MAX:
            return  # refused: what still comes is dropped until the answer is sent
        early = self._early if self._early is not None and self._early.is_on else None
        if early is not None and self._between == self._request_count and self._refused(early, data):
            return
        requests, self._between = self._request_count, -1
        super().data_received(data)
        if early is not None and self._request_count == requests + 1:
            self._between = self._request_count if self._is_all(data) else -1
        if self._request_count != requests:
            self._head_bytes = 0
            body = self._messages[-1][1] if self._messages else None
            self._body = None if body is None or body.is_eof() else body
        elif self._body is not None:
            if self._body.is_eof():
                self._body = None
        elif data:
            self._head_bytes += len(data)
            if self._head_bytes > HEADERS_BYTES_MAX:
                self._refuse(LineTooLong(b"", HEADERS_BYTES_MAX))

    async def start(self) -> None:
        """Called by aiohttp, whose own loop makes a task for each request: a fifth of what a short one costs.

        What is plain is answered here; the first that is not, and all that follow it, there.
        """
        while not self._force_close:
            if not self._messages:
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            if not self._is_plain(*self._messages[0]):
                await super().start()
                return
            if not await self._answered():
                break
            self._keep_open()
            if self._messages:
                await asyncio.sleep(0)  # others have their turn
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    def _is_plain(self, message: RawRequestMessage | _ErrInfo, body: StreamReader) -> bool:
        """Whether all of it is there, nothing is paused, and the connection remains as it is."""
        if not isinstance(message, RawRequestMessage):
            return False
        is_special = message.should_close or message.upgrade or message.method == "HEAD"
        return not is_special and body.is_eof() and not self._buffer_paused

    async def _answered(self) -> bool:
        """Answer the first request; False where no other may follow it."""
        parser, task = self._parser, self._task_handler
        make, answer = self._request_factory, self._request_handler
        if parser is None or make is None or answer is None or task is None:
            return False  # the client has gone
        message, body = self._messages.popleft()
        parser.message_consumed()
        try:
            request = make(message, body, self, StreamWriter(self, self._loop), task)  # type: ignore[arg-type]
            response, is_gone = await self._handle_request(request, None, answer)
        except ConnectionError:
            return False
        except asyncio.CancelledError:
            self.force_close()
            raise
        except Exception as error:  # noqa: BLE001 - an answer that broke off half-way: others go on
            self.log_exception("an answer broke off", exc_info=error)
            self.force_close()
            return False
        return bool(response.keep_alive) and not (is_gone or self._close)

    def _keep_open(self) -> None:
        """For the next request."""
        if self._force_close:
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            close_time = self._next_keepalive_close_time
            self._keepalive_handle = self._loop.call_at(close_time, self._process_keepalive)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Called by aiohttp for each body; where nothing is paused, nothing is left to parse."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _is_all(self, data: bytes) -> bool:
        """Whether the one request that was just parsed is these bytes, so that the parser holds no others."""
        path = path_of(data)
        if not path or not self._messages:
            return False
        message, body = self._messages[-1]
        return body.is_eof() and isinstance(message, RawRequestMessage) and message.path.encode() == path

    def _refused(self, early: Early, data: bytes) -> bool:
        """Answer at once what is refused as things are, where nothing else is under way here."""
        transport = self.transport
        if transport is None or self._close or self._force_close or self.writing_paused:
            return False
        if not _is_idle(self) or self._messages:
            return False
        answer = early.refusal(data, lambda: Peer(transport).address)
        if answer is None:
            return False
        transport.write(answer)
        self._keep_open()
        return True

    def _refuse(self, error: HttpProcessingError) -> None:
        """As aiohttp does what its parser refuses."""
        self._request_count += 1
        self._messages.append((_ErrInfo(status=400, exc=error, message=error.message), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """What the parser refuses comes here. aiohttp's own answer is plain text and tells its version."""
        if isinstance(exc, HttpProcessingError):
            status, sentence = _sentence(exc)
        else:
            super().handle_error(request, status, exc, message)  # which writes the log
            sentence = INTERNAL_ERROR
        headers = {"Content-Type": JSON_TYPE, "Server": SERVER, **FOR_BROWSERS}
        answer = Response(body=orjson.dumps({"message": sentence}), status=status, headers=headers)
        answer.force_close()
        return answer


def _sentence(error: HttpProcessingError) -> tuple[int, str]:
    """The status and sentence for what is no HTTP; a request that is only too long is bad input."""
    if isinstance(error, LineTooLong):
        return 500, _TOO_LONG
    said = " ".join(error.message.split())[:_SHOWN_MAX]
    if isinstance(error, BadHttpMethod):
        return 400, f"the request line has no method of HTTP: {said}"
    if isinstance(error, InvalidHeader):
        return 400, f"a header is malformed: {said}"
    return 400, f"this is no HTTP/1.1 request: {said}"
