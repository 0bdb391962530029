"""Mistakes of the caller, found before anything is sent: InvalidUse, naming the argument and its value. Pure.

The rules are the coordinator's own (PROTOCOL §1, §10, §14); what depends on its configuration is left to it.
"""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

from coordinator.client.errors import InvalidUse
from coordinator.discovery.local import function_of, is_local
from coordinator.discovery.target import apart_from_tls, certificate_of, parse_target
from coordinator.model import GRPC_REFUSALS, HTTP_REFUSALS, PROTOCOL_GRPC

GID_CHARACTERS_MAX: Final = 128
URL_CHARACTERS_MAX: Final = 1024
TEXT_CHARACTERS_MAX: Final = 1024  # custom_data and reasons
PAYLOAD_BYTES_MAX: Final = 65_535
STEPS_MAX: Final = 1000
NUMBER_MAX: Final = 2**31 - 1
_SHOWN: Final = 100  # characters of a value, in a sentence
_URLS_REMEMBERED_MAX: Final = 1024
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_METADATA_NAME: Final = re.compile(r"[0-9a-z_.-]+")


def wrong(name: str, value: object, problem: str, *, gid: str = "") -> InvalidUse:
    """Return the error for an argument. problem: what it must be, as a sentence's end."""
    shown = repr(value)
    return InvalidUse(f"{name}={shown[:_SHOWN]}{'…' if len(shown) > _SHOWN else ''}: {problem}", gid=gid)


def check_gid(gid: object, protocol: str) -> None:
    """Raise InvalidUse for a gid that no coordinator takes, or that it would change."""
    if not isinstance(gid, str):
        raise wrong("gid", gid, "a gid is a str, or None for a fresh one")
    if not gid:
        raise wrong("gid", gid, "an empty gid is none; leave it out for a fresh one")
    if len(gid) > GID_CHARACTERS_MAX:
        raise wrong("gid", gid, f"has {len(gid)} characters, at most {GID_CHARACTERS_MAX} fit")
    if _CONTROL.search(gid):
        raise wrong("gid", gid, "has a control character")
    if protocol == PROTOCOL_GRPC and not _PRINTABLE.fullmatch(gid):
        raise wrong("gid", gid, "travels as gRPC metadata, so it must be printable ASCII")
    if protocol != PROTOCOL_GRPC and ";" in gid:
        raise wrong("gid", gid, "the coordinator drops ';' from it, so that it would be another one")


def checked_gid(gid: str | None, protocol: str) -> str:
    """Return the gid, a fresh one for None. Raises InvalidUse for one that no coordinator takes."""
    if gid is None:
        return make_gid()
    check_gid(gid, protocol)
    return gid


def make_gid() -> str:
    """Return a fresh gid, in lower case because MySQL compares gids whatever their case."""
    return uuid4().hex


def check_url(name: str, url: object, protocol: str, *, may_be_empty: bool = False) -> None:
    """Raise InvalidUse for a url that the coordinator could never call."""
    if not isinstance(url, str):
        raise wrong(name, url, "a url is a str")
    if not url and not may_be_empty:
        raise wrong(name, url, f"give the url of the branch: {_form(protocol)}")
    if len(url) > URL_CHARACTERS_MAX:
        raise wrong(name, url, f"has {len(url)} characters, at most {URL_CHARACTERS_MAX} fit")
    if url and (problem := _problem(url, protocol)):
        raise wrong(name, url, f"{problem}: write {_form(protocol)}")


def check_url_called_from_here(name: str, url: object) -> None:
    """Raise InvalidUse for a url that this client cannot call itself."""
    written = str(url)
    address, _, path = written.partition("/")
    is_address = "://" not in written and ":" in address and "/" in path
    is_ours = is_http(written) or is_local(written) or is_address
    if not isinstance(url, str) or not is_ours or _problem(url, PROTOCOL_GRPC):
        form = "http://host:port/path, or host:port/package.Service/Method"
        raise wrong(name, url, f"cannot be called from here: write {form}")
    check_url(name, url, PROTOCOL_GRPC)


def check_either_url(name: str, url: object) -> None:
    """Raise InvalidUse for a url, "" aside, that the coordinator can call neither over HTTP nor gRPC."""
    check_url(name, url, PROTOCOL_GRPC, may_be_empty=True)


@lru_cache(_URLS_REMEMBERED_MAX)
def _problem(url: str, protocol: str) -> str:
    """What keeps it from being called, "" for nothing."""
    if _CONTROL.search(url):
        return "has a control character"
    if is_local(url):  # whether there is such a function, the coordinator knows
        return _problem_of_local(url)
    if is_http(url):
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            return f"is not a url ({error})"
        return "" if parts.hostname and port != 0 else "names no host, or 0 for a port"
    if protocol != PROTOCOL_GRPC:
        return "is relative, or of another scheme"
    if not url.isascii():
        return "has a character that is not ASCII"
    target, slash, method = url.partition("/") if "://" not in url else url.rpartition("/")
    if "://" in url:
        target, slash, service = target.rpartition("/")
        method = f"{service}/{method}" if service and method else ""
    if not slash or not method or target.endswith((":", ":/")):
        return "has no /package.Service/Method after the host"
    try:
        plain, is_encrypted = apart_from_tls(target)
        parsed = parse_target(plain)
        if is_encrypted:
            certificate_of(parsed)
    except ValueError as error:
        return str(error)
    return ""


def _problem_of_local(url: str) -> str:
    try:
        function_of(url)
    except ValueError as error:
        return str(error)
    return ""


def is_http(url: str) -> bool:
    """True when the url itself says HTTP."""
    return url[:8].lower().startswith(("http://", "https://"))


def _form(protocol: str) -> str:
    whole = "http://host:port/path"
    return f"host:port/package.Service/Method, or {whole}" if protocol == PROTOCOL_GRPC else whole


def check_number(name: str, value: object) -> None:
    """Raise InvalidUse unless it is an int that a coordinator takes as seconds or as a count."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(name, value, "give an int")
    if not 0 <= value <= NUMBER_MAX:
        raise wrong(name, value, f"give a number that is not negative, {NUMBER_MAX} at most")


def check_flag(name: str, value: object) -> None:
    """Raise InvalidUse unless it is True or False."""
    if not isinstance(value, bool):
        raise wrong(name, value, "give True or False")


def check_seconds(name: str, value: object) -> None:
    """Raise InvalidUse unless it is a number of seconds above 0."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
        raise wrong(name, value, "give a number of seconds above 0")


def check_text(name: str, value: object, *, characters_max: int = TEXT_CHARACTERS_MAX) -> None:
    """Raise InvalidUse unless it is a str that fits its column."""
    if not isinstance(value, str):
        raise wrong(name, value, "give a str")
    if len(value) > characters_max:
        raise wrong(name, value, f"has {len(value)} characters, at most {characters_max} fit")


def check_topic(topic: object) -> None:
    """Raise InvalidUse for what no topic can be called."""
    check_text("topic", topic, characters_max=GID_CHARACTERS_MAX)
    if not topic or _CONTROL.search(str(topic)):
        raise wrong("topic", topic, "give a name without control characters")


def check_headers(name: str, headers: Any, protocol: str) -> None:
    """Raise InvalidUse for what cannot be sent as headers, over gRPC as metadata."""
    if not isinstance(headers, Mapping):
        raise wrong(name, headers, "give a dict of names and texts")
    for key, value in headers.items():
        if not isinstance(key, str) or not _HEADER_NAME.fullmatch(key):
            raise wrong(name, headers, f"{key!r} is no header name")
        if key.lower() == "host":
            raise wrong(name, headers, "the url of a branch says which host is called")
        if protocol == PROTOCOL_GRPC and not _METADATA_NAME.fullmatch(key.lower()):
            raise wrong(name, headers, f"{key!r} is no name of gRPC metadata")
        if not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
            raise wrong(f"{name}[{key!r}]", value, "give a str of printable ASCII")


def checked_statuses(statuses: Any) -> tuple[int, ...]:
    """Return the statuses that are to count as FAILURE; raise InvalidUse for others."""
    name = "failure_statuses"
    if isinstance(statuses, (str, bytes)) or not isinstance(statuses, Collection):
        raise wrong(name, statuses, "give a set of statuses, such as {422}")
    for status in statuses:
        if not isinstance(status, int) or isinstance(status, bool):
            raise wrong(name, statuses, f"{status!r} is no status, which is an int")
        if status not in HTTP_REFUSALS and status not in GRPC_REFUSALS:
            raise wrong(
                name,
                statuses,
                f"{status} is no refusal: HTTP's are 400 to 499 without 408, 425 and 429, gRPC's "
                f"{', '.join(map(str, sorted(GRPC_REFUSALS)))}",
            )
    return tuple(sorted(set(statuses)))


def check_not_sent(is_sent: bool, pattern: str, part: str, gid: str) -> None:
    """Raise InvalidUse where what is added now would be done by nobody."""
    if is_sent:
        raise InvalidUse(
            f"{pattern} {gid} is handed in already, and stays as it was: a {part} that is added now would be "
            "done by nobody; begin another",
            gid=gid,
        )


def check_room_for_step(number: int, gid: str) -> None:
    """Raise InvalidUse for one step too many. number: how many there are."""
    if number >= STEPS_MAX:
        raise InvalidUse(f"a transaction has at most {STEPS_MAX} steps", gid=gid)


def check_open(is_open: bool, pattern: str, gid: str) -> None:
    """Raise InvalidUse for the use of a block outside of it."""
    if not is_open:
        raise InvalidUse(
            f"this {pattern} is not open: write `async with dtm.{pattern}() as {pattern}:`, and keep every "
            "call_branch inside",
            gid=gid,
        )
