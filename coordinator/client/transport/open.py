"""Which transport a coordinator's url means (PROTOCOL §3, §4, §11)."""

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from ssl import SSLContext, create_default_context
from typing import Final, Protocol
from urllib.parse import SplitResult, urlsplit

from coordinator.client.errors import InvalidUse
from coordinator.client.transport.base import (
    DEFAULT_GRPC_PORT,
    DEFAULT_HTTP_PORT,
    Transport,
    bearer,
    without_secrets,
)
from coordinator.client.transport.branch_calls import BranchCaller, Branches
from coordinator.client.transport.several import SeveralTransports
from coordinator.discovery.logins import split_login
from coordinator.model import PROTOCOL_GRPC, PROTOCOL_HTTP

_READ_BYTES: Final = 256 * 1024  # of asyncio's selector loop
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]*", flags=re.ASCII)
_BETWEEN_URLS: Final = re.compile(r"\s*,\s*(?=[a-z]+://)")  # and not between the hosts of one


class Opener(Protocol):
    """Makes connections to one coordinator, and what calls branches from here."""

    @property
    def address(self) -> str:
        """The coordinator, for people; no secrets."""
        ...

    @property
    def block(self) -> str:
        """What opens the connection, as a program says it."""
        ...

    def transport(self) -> Transport:
        """Return a connection; inside a running event loop."""
        ...

    def branches(self) -> Branches:
        """Return what calls branches."""
        ...


@dataclass(frozen=True, slots=True)
class Urls:
    """The Opener of coordinators that urls name, as `checked_urls` returned them.

    token: by which the coordinator knows the caller; empty for none. tls: what encrypted connections are made
    with; None: what the system trusts.
    """

    urls: Sequence[str]
    token: str = field(default="", repr=False)
    tls: SSLContext | None = None

    @property
    def address(self) -> str:
        """See Opener."""
        return ", ".join(map(without_secrets, self.urls))

    @property
    def block(self) -> str:
        """See Opener."""
        return f"async with Dtm({','.join(map(without_secrets, self.urls))!r}) as dtm:"

    def transport(self) -> Transport:
        """See Opener."""
        return open_transport(self.urls, self.token, self.tls)

    def branches(self) -> Branches:
        """See Opener."""
        return BranchCaller()


def opener_of(url: str | Sequence[str] | Opener, token: str, tls: SSLContext | None) -> Opener:
    """Return what opens connections to what the url names; an Opener itself as it is. Raises InvalidUse."""
    if isinstance(url, (str, Sequence)):
        return Urls(checked_urls(url, token, is_for_tls=tls is not None), token, tls)
    return url


def open_transport(urls: Sequence[str], token: str = "", tls: SSLContext | None = None) -> Transport:
    """Return the transport of what `checked_urls` returned, without connecting yet.

    Call inside a running event loop. token: by which the coordinator knows the caller; empty for none.
    tls: what encrypted connections are made with; None: what the system trusts.
    """
    _let_the_heap_hold_what_asyncio_reads()
    if len(urls) == 1:
        return _open_one(urls[0], token, tls)

    async def find() -> Sequence[str]:
        return urls

    is_grpc = urls[0].startswith(("grpc://", "grpcs://"))
    protocol, address = (
        (PROTOCOL_GRPC, without_secrets(urls[0])) if is_grpc else (PROTOCOL_HTTP, _base(urls[0]))
    )
    address = address.partition("://")[2] if is_grpc else f"{address}/api/dtmsvr"
    return SeveralTransports(find, lambda url: _open_one(url, token, tls), protocol=protocol, address=address)


def _let_the_heap_hold_what_asyncio_reads() -> None:
    """Free a block that is larger than the one that asyncio makes for each read and then shortens.

    glibc asks the system for every block larger than the largest that was ever freed: three system calls and
    a page fault for each answer, a tenth of the processor time of a submit. Other C libraries do not mind.
    """
    bytes(2 * _READ_BYTES)


def checked_urls(url: str | Sequence[str], token: str = "", *, is_for_tls: bool = False) -> tuple[str, ...]:
    """Return the urls of one coordinator, or of several over one database, in a sequence or between commas.

    `http://[user:password@]host[:36789]`, `https://…` (with or without `/api/dtmsvr`),
    `grpc://host[:36790]`, `grpcs://…`, `etcd://host:2379,host:2379/dtmservice` or `direct:///host:36790,host:36790`.
    Raises InvalidUse for anything else, for several that are not all HTTP or all `grpc://`, and for a token
    that nothing can send, and, where is_for_tls, for a url that means a plain connection.
    """
    if not _TOKEN.fullmatch(token):
        raise InvalidUse("token: has a sign that no header takes; give it as `dtm token create` printed it")
    given = _BETWEEN_URLS.split(url.strip()) if isinstance(url, str) else list(url)
    if not given:
        raise InvalidUse("url=[]: give the url of a coordinator, or of several")
    for one in given:
        if not isinstance(one, str):
            raise InvalidUse(f"url={one!r}: a coordinator's url is a str, such as http://localhost:36789")
        _check_one(one, token)
        if is_for_tls and one.startswith(("http://", "grpc://")):
            raise InvalidUse(f"tls: {without_secrets(one)} is a plain connection; write https:// or grpcs://")
    schemes = {one.partition("://")[0].replace("https", "http").replace("grpcs", "grpc") for one in given}
    if len(given) > 1 and schemes not in ({"http"}, {"grpc"}):
        shown = ", ".join(map(without_secrets, given))
        raise InvalidUse(f"coordinator urls {shown}: of several, all are http:// or https://, or all grpc://")
    return tuple(given)


def _open_one(url: str, token: str, tls: SSLContext | None) -> Transport:
    if _is_discovered(url):
        from coordinator.client.transport.discovered import checked_target, discovered_transport

        return discovered_transport(checked_target(url), token, tls)
    parts = _split(url)
    # Only what this url needs is loaded: aiohttp and grpclib take longer than all the rest of the client.
    if parts.scheme in {"grpc", "grpcs"}:
        from coordinator.client.transport.over_grpc import GrpcTransport

        if parts.scheme == "grpcs":
            tls = tls or create_default_context()
        return GrpcTransport(parts.hostname or "", parts.port or DEFAULT_GRPC_PORT, token, tls)
    from coordinator.client.transport.over_http import HttpTransport

    return HttpTransport(_base(url), bearer(token) or _login(url), tls)


def _check_one(url: str, token: str) -> None:
    if _is_discovered(url):
        from coordinator.client.transport.discovered import checked_target

        checked_target(url)
        return
    if _split(url).scheme not in {"grpc", "grpcs"}:
        _login(url)
    if token and split_login(url)[1]:
        raise InvalidUse(
            f"coordinator url {without_secrets(url)!r} brings a login: with a token there is no place for it"
        )


def _base(url: str) -> str:
    """Scheme, host and port of an HTTP url, and the path before the API's own."""
    parts = _split(url)
    host = parts.hostname or ""
    bracketed = f"[{host}]" if ":" in host else host
    port = parts.port or (DEFAULT_HTTP_PORT if parts.scheme == "http" else 443)
    return f"{parts.scheme}://{bracketed}:{port}{parts.path.rstrip('/').removesuffix('/api/dtmsvr')}"


def _login(url: str) -> str:
    _, user, password = split_login(url)
    if ":" in user:
        raise InvalidUse(f"the login of coordinator url {without_secrets(url)!r}: a user's name has no colon")
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}" if user else ""


def _is_discovered(url: str) -> bool:
    return url.startswith(("etcd://", "discov://", "direct://"))


def _split(url: str) -> SplitResult:
    try:
        bare, user, _ = split_login(url)
        parts = urlsplit(bare)
        _ = parts.port  # which raises where it is no number
    except ValueError as error:
        raise InvalidUse(f"coordinator url {without_secrets(url)!r}: {error}") from error
    if parts.scheme not in ("http", "https", "grpc", "grpcs"):
        raise InvalidUse(
            f"coordinator url {without_secrets(url)!r}: write http://host:{DEFAULT_HTTP_PORT} or "
            f"grpc://host:{DEFAULT_GRPC_PORT}, or etcd://host:2379/dtmservice where it is registered"
        )
    if not parts.hostname:
        raise InvalidUse(f"coordinator url {without_secrets(url)!r} names no host")
    if parts.scheme == "grpc" and user:
        raise InvalidUse(f"coordinator url {without_secrets(url)!r} brings a login: only http:// takes one")
    return parts
