"""Which transport a coordinator's url means (PROTOCOL §3, §4, §11)."""

from urllib.parse import SplitResult, urlsplit

import aiohttp

from coordinator.client.errors import InvalidUse
from coordinator.client.transport.base import DEFAULT_GRPC_PORT, DEFAULT_HTTP_PORT, Transport, without_secrets
from coordinator.client.transport.over_grpc import GrpcTransport
from coordinator.client.transport.over_http import HttpTransport
from coordinator.discovery.logins import split_login


def open_transport(url: str) -> Transport:
    """Return the transport of a url, without connecting yet. Call inside a running event loop.

    `http://[user:password@]host[:36789]`, `https://…` (with or without `/api/dtmsvr`), `grpc://host[:36790]`,
    `etcd://host:2379,host:2379/dtmservice` or `direct:///host:36790,host:36790`.
    Raises InvalidUse for anything else.
    """
    if _is_discovered(url):
        # Only now: whoever names an address needs no etcd client.
        from coordinator.client.transport.discovered import DiscoveredTransport, checked_target

        return DiscoveredTransport(checked_target(url))
    parts = _split(url)
    host = parts.hostname or ""
    if parts.scheme == "grpc":
        return GrpcTransport(host, parts.port or DEFAULT_GRPC_PORT)
    bracketed = f"[{host}]" if ":" in host else host
    port = parts.port or (DEFAULT_HTTP_PORT if parts.scheme == "http" else 443)
    path = parts.path.rstrip("/").removesuffix("/api/dtmsvr")
    return HttpTransport(f"{parts.scheme}://{bracketed}:{port}{path}", _login(url))


def check_url(url: str) -> None:
    """Raise InvalidUse for a url that no transport takes."""
    if _is_discovered(url):
        from coordinator.client.transport.discovered import checked_target

        checked_target(url)
    else:
        _split(url)


def _login(url: str) -> str:
    _, user, password = split_login(url)
    try:
        return aiohttp.encode_basic_auth(user, password) if user else ""
    except ValueError as error:  # a colon in the user's name
        raise InvalidUse(f"the login of coordinator url {without_secrets(url)!r}: {error}") from error


def _is_discovered(url: str) -> bool:
    return url.startswith(("etcd://", "discov://", "direct://"))


def _split(url: str) -> SplitResult:
    try:
        bare, user, _ = split_login(url)
        parts = urlsplit(bare)
        _ = parts.port  # which raises where it is no number
    except ValueError as error:
        raise InvalidUse(f"coordinator url {without_secrets(url)!r}: {error}") from error
    if parts.scheme not in ("http", "https", "grpc"):
        raise InvalidUse(
            f"coordinator url {without_secrets(url)!r}: write http://host:{DEFAULT_HTTP_PORT} or "
            f"grpc://host:{DEFAULT_GRPC_PORT}, or etcd://host:2379/dtmservice where it is registered"
        )
    if not parts.hostname:
        raise InvalidUse(f"coordinator url {without_secrets(url)!r} names no host")
    if parts.scheme == "grpc" and user:
        raise InvalidUse(f"coordinator url {without_secrets(url)!r} brings a login: only http:// takes one")
    return parts
