"""Urls of branches, as clients write them (PROTOCOL §10). Pure."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from yarl import URL

from coordinator.discovery.target import parse_target
from coordinator.model import PROTOCOL_GRPC

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_LEGAL: Final = "!#$%&'()*+,-./:;=?@[]_~"  # in a path or query; `[` and `]` are not quite, and everywhere
_NOT_IN_HOST: Final = re.compile(r"[\s\"<>\\^`{|}]")
_PLAIN_QUERY: Final = re.compile(r"(?:[a-z_]+=[A-Za-z0-9_.~-]*&?)+")


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """An HTTP url that can be called. endpoint: `scheme://host:port`, what its calls share places by."""

    endpoint: str
    url: URL  # as written, but for characters that a request line must not have; no fragment

    def with_branch(self, gid: str, trans_type: str, branch_id: str, op: str) -> URL:
        """Return the url with the four query parameters of a branch call after its own."""
        query = f"gid={gid}&trans_type={trans_type}&branch_id={branch_id}&op={op}"
        if _PLAIN_QUERY.fullmatch(query):
            return self.url.extend_query(query)
        return self.url.extend_query(
            [("gid", gid), ("trans_type", trans_type), ("branch_id", branch_id), ("op", op)]
        )


@dataclass(frozen=True, slots=True)
class GrpcUrl:
    """A gRPC url, in its two parts."""

    target: str  # what a resolver turns into endpoints: `host:port`, `etcd://…/user.rpc`, `direct:///…`
    path: str  # `/package.Service/Method`


def is_http(url: str) -> bool:
    """True when the url itself says HTTP, whatever the transaction's protocol is."""
    return url[:8].lower().startswith(("http://", "https://"))


def check_branch_url(url: str, protocol: str) -> str | None:
    """Say what keeps the url from ever being called, as the end of a sentence: `has no host`.

    protocol: the transaction's; `grpc` transactions may mix in `http://` branches. None when the url is
    fine, and when it is empty, which counts as success without a call.
    """
    if not url:
        return None
    try:
        if protocol == PROTOCOL_GRPC and not is_http(url):
            parse_grpc_url(url)
        else:
            parse_http_url(url)
    except ValueError as error:
        return str(error)
    return None


def parse_http_url(url: str) -> HttpUrl:
    """Read an http:// or https:// url. Raises ValueError, the end of a sentence: `has no host`."""
    if _CONTROL.search(url):
        raise ValueError("has a control character")
    if not is_http(url):
        raise ValueError("does not begin with http:// or https://")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is not a url: {error}") from error
    if not parts.hostname:
        raise ValueError("has no host")
    if port == 0:
        raise ValueError("has 0 for a port")
    if _NOT_IN_HOST.search(parts.netloc):
        raise ValueError(f"has {parts.hostname!r} for a host")
    # Whatever the client has encoded stays as it is; yarl would decode and encode it again.
    path = quote(parts.path, safe=_LEGAL) or "/"
    query = quote(parts.query, safe=_LEGAL)
    authority = parts.netloc
    if not authority.isascii():
        authority = _encoded_authority(url)
    parsed = URL.build(scheme=parts.scheme, authority=authority, path=path, query_string=query, encoded=True)
    return HttpUrl(f"{parts.scheme}://{parsed.host_subcomponent}:{parsed.port}".lower(), parsed)


def parse_grpc_url(url: str) -> GrpcUrl:
    """Split `target/package.Service/Method`. Raises ValueError, the end of a sentence: `has no port`."""
    if _CONTROL.search(url):
        raise ValueError("has a control character")
    if "://" not in url:
        address, slash, method = url.partition("/")
        if not slash or not method:
            raise ValueError("has no /package.Service/Method after the host")
        return GrpcUrl(str(parse_target(address)), f"/{method}")
    # The method is always the last two segments: a service's name in etcd may have slashes of its own.
    parts = url.rsplit("/", 2)
    if len(parts) < 3 or not all(parts) or parts[0].endswith((":", ":/")):
        raise ValueError("has no /package.Service/Method after the service")
    target, service, method = parts
    return GrpcUrl(str(parse_target(target)), f"/{service}/{method}")


def _encoded_authority(url: str) -> str:
    try:
        encoded = URL(url)
    except ValueError as error:
        raise ValueError(f"has a host that no name server knows: {error}") from error
    return encoded.raw_authority
