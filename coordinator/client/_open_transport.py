"""Which transport a coordinator's url means (PROTOCOL §3, §4, §11)."""

from urllib.parse import urlsplit

from coordinator.client._errors import InvalidUse
from coordinator.client._grpc import GrpcTransport
from coordinator.client._http import HttpTransport
from coordinator.client._transport import DEFAULT_GRPC_PORT, DEFAULT_HTTP_PORT, Transport, without_secrets


def open_transport(url: str) -> Transport:
    """Return the transport of a url, without connecting yet. Call inside a running event loop.

    `http://host[:36789]`, `https://…` (with or without `/api/dtmsvr` behind it), `grpc://host[:36790]`,
    `etcd://host:2379,host:2379/dtmservice` or `direct:///host:36790,host:36790`.
    Raises InvalidUse for anything else.
    """
    if _is_discovered(url):
        # Only now: whoever names an address needs no etcd client.
        from coordinator.client._discovered import DiscoveredTransport, checked_target

        return DiscoveredTransport(checked_target(url))
    scheme, host, port, path = _split(url)
    if scheme == "grpc":
        return GrpcTransport(host, port or DEFAULT_GRPC_PORT)
    bracketed = f"[{host}]" if ":" in host else host
    default_port = DEFAULT_HTTP_PORT if scheme == "http" else 443
    return HttpTransport(
        f"{scheme}://{bracketed}:{port or default_port}{path.rstrip('/').removesuffix('/api/dtmsvr')}"
    )


def check_url(url: str) -> None:
    """Raise InvalidUse for a url that no transport takes."""
    if _is_discovered(url):
        from coordinator.client._discovered import checked_target

        checked_target(url)
    else:
        _split(url)


def _is_discovered(url: str) -> bool:
    return url.startswith(("etcd://", "discov://", "direct://"))


def _split(url: str) -> tuple[str, str, int | None, str]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidUse(f"coordinator url {without_secrets(url)!r}: {error}") from error
    if parts.scheme not in ("http", "https", "grpc"):
        raise InvalidUse(
            f"coordinator url {without_secrets(url)!r}: write http://host:{DEFAULT_HTTP_PORT} or "
            f"grpc://host:{DEFAULT_GRPC_PORT}, or etcd://host:2379/dtmservice where it is registered"
        )
    if not parts.hostname:
        raise InvalidUse(f"coordinator url {without_secrets(url)!r} names no host")
    return parts.scheme, parts.hostname, port, parts.path
