"""What is read from an HTTP request before anything is decoded: the body up to a bound, the parameters."""

import asyncio
import re
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import HttpVersion10, HttpVersion11, hdrs
from aiohttp.web import BaseRequest, RequestPayloadError

from coordinator.api.room import Room
from coordinator.errors import Invalid

VERSIONS: Final = (HttpVersion11, HttpVersion10)
OTHER_VERSION: Final = b'{"message":"the request line must name HTTP/1.1 or HTTP/1.0"}'
BODY_SECONDS_MAX: Final = 30.0  # a body that trickles in for longer is given up
_QUERY_FIELDS_MAX: Final = 100
_BAD_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")


def is_encrypted(request: BaseRequest) -> bool:
    """Whether it came by TLS to this coordinator itself."""
    return bool(request.transport and request.transport.get_extra_info("ssl_object"))


async def read_body(request: BaseRequest, bytes_max: int, room: Room) -> bytes:
    """Read the body, never holding much more than `bytes_max` bytes of it; they count in the room.

    Raises Invalid when it is longer, is sent too slowly or breaks off; Busy when there is no room.
    """
    announced = request.content_length
    if announced is not None and announced > bytes_max:
        raise _too_long(bytes_max, f"has {announced}")
    content = request.content
    if not content.is_eof():
        room.take(request, 0, arriving=True)
        if hdrs.EXPECT in request.headers:
            await _invite(request)
    if content.is_eof():  # the rule: all has arrived with the headers
        body = await content.readany()
        if len(body) == announced:
            room.take(request, announced)
            return body
        while rest := await content.readany():
            body += rest
        if len(body) > bytes_max:  # chunked, so nothing was announced
            raise _too_long(bytes_max, "is longer")
        room.take(request, len(body))
        return body
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            return await _read_arriving(request, bytes_max, room)
    except TimeoutError as error:
        raise Invalid(f"the body did not arrive within {BODY_SECONDS_MAX:.0f} seconds") from error
    except (ConnectionError, RequestPayloadError) as error:
        raise Invalid(f"the body could not be read to its end: {error}") from error


async def _read_arriving(request: BaseRequest, bytes_max: int, room: Room) -> bytes:
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > bytes_max:
            raise _too_long(bytes_max, "is longer")
        room.take(request, len(chunk), arriving=True)
    return bytes(body)


async def _invite(request: BaseRequest) -> None:
    """Answer `Expect: 100-continue`, which curl sends before a long body and then waits for."""
    if request.version >= HttpVersion11 and request.headers[hdrs.EXPECT].lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


def _too_long(bytes_max: int, problem: str) -> Invalid:
    return Invalid(f"the body must have at most {bytes_max} bytes, but {problem}")


def query_parameters(request: BaseRequest) -> dict[str, str]:
    """The parameters of the query string; of one given twice the first counts.

    Raises Invalid when the percent-encoding is broken, the text is not UTF-8, or it has a NUL character,
    which is in no stored value and which PostgreSQL cannot even compare with.
    """
    raw = request.rel_url.raw_query_string
    if not raw:
        return {}
    if bad := _BAD_ESCAPE.search(raw):
        raise Invalid(f"the query string has a % without two hexadecimal digits at position {bad.start()}")
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=_QUERY_FIELDS_MAX)
    except UnicodeError as error:
        raise Invalid("the query string is not UTF-8") from error
    except ValueError as error:
        raise Invalid(f"the query string has more than {_QUERY_FIELDS_MAX} parameters") from error
    for name, value in pairs:
        if "\x00" in value:
            raise Invalid(f"the query string has a NUL character, in {name}")
        found.setdefault(name, value)
    return found
