"""aiohttp's low-level server; a request line that is too long is answered as all bad input (PROTOCOL §2)."""

import asyncio
from typing import Any, Final

import orjson
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web import BaseRequest, RequestHandler, Response, Server, StreamResponse

from coordinator.api.http_answer import JSON_TYPE

# The request's line: a topic, a url and a remark with every character escaped.
LINE_BYTES_MAX: Final = 64 * 1024
HEADER_BYTES_MAX: Final = 8 * 1024  # one header

_TOO_LONG: Final = orjson.dumps(
    {
        "message": f"the request line may have {LINE_BYTES_MAX} bytes, and a header {HEADER_BYTES_MAX}:"
        " what was sent is longer"
    }
)


class HttpServer(Server):
    """Makes a protocol for each connection; given to the loop's `create_server`. Needs a running loop."""

    def __init__(self, handler: Any, *, handler_cancellation: bool, **options: Any) -> None:
        """options: of aiohttp's RequestHandler."""
        super().__init__(handler, handler_cancellation=handler_cancellation)
        self._options = options | {"max_line_size": LINE_BYTES_MAX, "max_field_size": HEADER_BYTES_MAX}

    def __call__(self) -> RequestHandler:
        """One connection."""
        return _Connection(self, loop=asyncio.get_running_loop(), **self._options)


class _Connection(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """What the parser refuses comes here. aiohttp's own answer is 400 with plain text."""
        answer = super().handle_error(request, status, exc, message)
        if isinstance(exc, LineTooLong):
            answer = Response(body=_TOO_LONG, status=500, headers={"Content-Type": JSON_TYPE})
            answer.force_close()
        return answer
