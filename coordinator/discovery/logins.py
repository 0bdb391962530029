"""Users and passwords in addresses: read whole, sent in the bytes that were meant, never shown. Pure.

A password is bytes: what a person writes is their UTF-8. Libraries that would send latin-1 are given what
makes them send UTF-8.
"""

import base64
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, unquote_to_bytes, urlsplit

if TYPE_CHECKING:
    from yarl import URL

HIDDEN: Final = "…"

_URLS_REMEMBERED_MAX: Final = 1024
_PARAMETERS: Final = re.compile(r"[\w.\[\]-]+=[^&]*(&[\w.\[\]-]+=[^&]*)*")
_SECRET_PARAMETER: Final = re.compile(
    r"([?&;](?:pass(?:word|wd)?|pwd|secret|(?:access_?)?token|api_?key)=)[^&;#\s]+", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """A url of a server, taken apart; user, password and path decoded. port: 0 when not given."""

    scheme: str
    user: str
    password: str = field(repr=False)
    host: str
    port: int
    path: str  # without the slash in front

    def __str__(self) -> str:
        """The url for people: without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        where = f"{self.user}@{host}" if self.user else host
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{where}{port}/{self.path}"


def parse_server_url(text: str) -> ServerUrl:
    """Read `scheme://user:password@host:port/path`.

    User and password are percent-decoded; characters that should have been written so (`@ / : # ?`) are taken
    as they are wherever that leaves no doubt: the login ends at the last `@`. Raises ValueError; it shows no
    password.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise ValueError("has no scheme such as mysql://")
    login, at, place = _split_login(rest)
    try:
        parts = urlsplit(f"{scheme}://{place}")
        host, port = parts.hostname or "", parts.port or 0
    except ValueError as error:
        raise ValueError("has no host, or no port number from 1 to 65535") from error
    user, _, password = login.partition(":") if at else ("", "", "")
    return ServerUrl(
        scheme.lower(), unquote(user), unquote(password), host, port, unquote(parts.path.removeprefix("/"))
    )


def split_login(url: str) -> tuple[str, str, str]:
    """The url without its login, the user and the password, both decoded; empty where there is none."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    login, _, place = _split_login(rest)
    user, _, password = login.partition(":")
    return f"{scheme}{separator}{place}", unquote(user), unquote(password)


def _split_login(rest: str) -> tuple[str, str, str]:
    """What stands behind `://`, cut at the `@` that ends the login."""
    parts = urlsplit(f"//{rest}") if _is_plain(rest) else None
    if parts is not None:
        login, at, place = parts.netloc.rpartition("@")
        return login, at, place + rest[len(parts.netloc) :]
    return rest.rpartition("@")


def _is_plain(rest: str) -> bool:
    """Whether it reads as the standard has it: no `@` behind the host but in the value of a parameter."""
    try:
        parts: SplitResult = urlsplit(f"//{rest}")
        _ = parts.port  # raises where that is no number: it is a password then
    except ValueError:
        return False
    is_query = "@" not in parts.query or _PARAMETERS.fullmatch(parts.query) is not None
    return "@" not in parts.path and "@" not in parts.fragment and is_query


def mysql_password(password: str) -> str:
    """The text that PyMySQL and aiomysql, which write passwords in latin-1, send as the password's UTF-8."""
    return password.encode().decode("latin-1")


def apart_from_login(url: "URL") -> "tuple[URL, str]":
    """The url without user and password, and the header `Authorization` that says them; empty without."""
    if url.raw_user is None and url.raw_password is None:
        return url, ""
    return url.with_user(None), basic_login(url.raw_user or "", url.raw_password or "")


def basic_login(user: str, password: str) -> str:
    """The header `Authorization` that says both, which may be percent-encoded: RFC 7617, in UTF-8."""
    login = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return f"Basic {base64.b64encode(login).decode('ascii')}"


@lru_cache(_URLS_REMEMBERED_MAX)
def shown_url(url: str) -> str:
    """The url for people: `…` for the password, and for parameters that are called like a secret."""
    scheme, separator, rest = url.partition("://")
    if separator:
        login, at, place = _split_login(rest)
        if at and ":" in login:
            login = f"{login.partition(':')[0]}:{HIDDEN}"
        url = f"{scheme}{separator}{login}{at}{place}"
    return _SECRET_PARAMETER.sub(rf"\1{HIDDEN}", url)


def shown_origin(url: str) -> str:
    """Scheme, host and port alone, `…` for the rest: web hooks carry their token in path or query."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return HIDDEN if url else ""
    _, _, place = _split_login(rest)
    host = re.split(r"[/?#]", place, maxsplit=1)[0]
    return f"{scheme}{separator}{host}{'' if place in {host, f'{host}/'} else f'/{HIDDEN}'}"
