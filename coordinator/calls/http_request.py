"""The bytes of an HTTP request to a branch (PROTOCOL §10). Pure."""

import re
from typing import Final

from multidict import CIMultiDict

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NOT_IN_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ACCEPT: Final = "Accept"
_HOST: Final = "Host"


class HeaderLines:
    """Headers as they are sent, but for the framing and `Host`. Raises ValueError: one of them cannot be.

    There is no `Accept-Encoding`: answers are small, and unpacking one costs more than it saves.
    """

    __slots__ = ("lines",)

    def __init__(self, headers: "CIMultiDict[str]") -> None:
        for name, value in headers.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no header name")
            if _NOT_IN_VALUE.search(value):
                raise ValueError(f"the header {name} has a control character in its value")
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.lines = lines + ("" if _ACCEPT in headers else f"{_ACCEPT}: */*\r\n")


def encoded(method: str, target: str, host: str, headers: HeaderLines, body: bytes | None) -> bytes:
    """Return the whole request. target: path and query, as in the request line. host: of the url.

    Raises ValueError: a character that has no UTF-8.
    """
    if body is None:
        length = "" if method == "GET" else "Content-Length: 0\r\n"
        return f"{method} {target} HTTP/1.1\r\n{_HOST}: {host}\r\n{headers.lines}{length}\r\n".encode()
    head = (
        f"{method} {target} HTTP/1.1\r\n{_HOST}: {host}\r\n{headers.lines}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
