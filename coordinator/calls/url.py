"""Urls of branches, as clients write them (PROTOCOL §10). Pure."""

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote, urlsplit

from yarl import URL

from coordinator.discovery.local import LOCAL, NOT_HERE, function_of, is_local
from coordinator.discovery.logins import basic_login
from coordinator.discovery.target import (
    SCHEME_ETCD,
    apart_from_tls,
    certificate_of,
    host_and_port,
    parse_target,
)

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_LEGAL: Final = "!#$%&'()*+,-./:;=?@[]_~"  # in a path or query; `[` and `]` are not quite, and everywhere
_NOT_IN_HOST: Final = re.compile(r"[\s\"<>\\^`{|}]")
_HOST_MAX: Final = 254  # of DNS, the dot at the end included
_LABEL_MAX: Final = 63
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.~-]*")  # in a query as it is


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """An HTTP url that can be called. endpoint: `scheme://host:port`, what its calls share places by."""

    endpoint: str
    url: URL  # as written, but for characters that a request line must not have; no login, no fragment
    authorization: str = field(default="", repr=False)  # the header that its login means (Basic)

    @property
    def target(self) -> str:
        """Path and query, as a request line has them."""
        return self.url.raw_path_qs

    @property
    def host(self) -> str:
        """What the header `Host` says: without the port where it is the scheme's own."""
        return self.url.host_port_subcomponent or ""

    def target_with_branch(self, gid: str, trans_type: str, branch_id: str, op: str) -> str:
        """Path and query, with the four query parameters of a branch call after its own."""
        if not _PLAIN.fullmatch(f"{gid}{trans_type}{branch_id}{op}"):
            return self.with_branch(gid, trans_type, branch_id, op).raw_path_qs
        target = self.url.raw_path_qs
        joint = "?" if "?" not in target else "" if target[-1] == "&" else "&"
        return f"{target}{joint}gid={gid}&trans_type={trans_type}&branch_id={branch_id}&op={op}"

    def with_branch(self, gid: str, trans_type: str, branch_id: str, op: str) -> URL:
        """Return the url with the four query parameters of a branch call after its own."""
        return self.url.extend_query(
            [("gid", gid), ("trans_type", trans_type), ("branch_id", branch_id), ("op", op)]
        )


@dataclass(frozen=True, slots=True)
class GrpcUrl:
    """A gRPC url, in its two parts."""

    target: str  # what a resolver turns into endpoints: `host:port`, `etcd://…/user.rpc`, `direct:///…`
    path: str  # `/package.Service/Method`
    authority: str = ""  # what the server is told that it is called by; empty: the endpoint itself
    is_encrypted: bool = False  # with TLS: `grpcs://host:port/…`, `grpcs+etcd://…`
    certificate_of: str = ""  # with it, whose certificate is asked for; empty: the host's


def is_http(url: str) -> bool:
    """True when the url itself says HTTP, whatever the transaction's protocol is."""
    return url[:8].lower().startswith(("http://", "https://"))


def parse_http_url(url: str) -> HttpUrl:
    """Read an http:// or https:// url. Raises ValueError, the end of a sentence: `has no host`."""
    if _CONTROL.search(url):
        raise ValueError("has a control character")
    if is_local(url):
        raise ValueError(NOT_HERE)
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
    login, _, place = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    if _NOT_IN_HOST.search(place) or not place.removesuffix(":"):
        raise ValueError(f"has {parts.hostname!r} for a host")
    # Whatever the client has encoded stays as it is; yarl would decode and encode it again.
    path = quote(parts.path, safe=_LEGAL) or "/"
    query = quote(parts.query, safe=_LEGAL)
    authority = place if place.isascii() else _encoded_authority(f"{parts.scheme}://{place}/")
    parsed = URL.build(scheme=parts.scheme, authority=authority, path=path, query_string=query, encoded=True)
    _require_host(parsed.raw_host or "")
    endpoint = f"{parts.scheme}://{parsed.host_subcomponent}:{parsed.port}".lower()
    return HttpUrl(endpoint, parsed, basic_login(user, password) if login else "")


def parse_grpc_url(url: str) -> GrpcUrl:
    """Split `target/package.Service/Method`. Raises ValueError, the end of a sentence: `has no port`."""
    if _CONTROL.search(url):
        raise ValueError("has a control character")
    if is_local(url):
        raise ValueError(NOT_HERE)
    if not url.isascii():
        raise ValueError("has a character that is not ASCII, which gRPC cannot send")
    if "://" not in url:
        address, slash, method = url.partition("/")
        if not slash or not method:
            raise ValueError("has no /package.Service/Method after the host")
        return _grpc_url(address, f"/{method}")
    # The method is always the last two segments: a service's name in etcd may have slashes of its own.
    parts = url.rsplit("/", 2)
    if len(parts) < 3 or not all(parts) or parts[0].endswith((":", ":/")):
        raise ValueError("has no /package.Service/Method after the service")
    target, service, method = parts
    return _grpc_url(target, f"/{service}/{method}")


def endpoint_named(text: str) -> str:
    """The endpoint that somebody means by it: a url of a branch, or as much of it as says where that lives.

    `http://shop/api/pay` → `http://shop:80`; `shop:8080`, a gRPC target; `local://pay`, a function. Raises
    ValueError as the parsers do.
    """
    text = text.strip()
    if is_local(text):
        return f"{LOCAL}{function_of(text)}"
    if is_http(text):
        return parse_http_url(text).endpoint
    try:
        return parse_grpc_url(text).target
    except ValueError:  # without a method
        return _grpc_url(text.rstrip("/"), "").target


def _grpc_url(written: str, path: str) -> GrpcUrl:
    plain, is_encrypted = apart_from_tls(written)
    target = parse_target(plain)
    if target.scheme != SCHEME_ETCD:
        for host in target.hosts:
            _require_host(host_and_port(host)[0])
    is_named = target.scheme != SCHEME_ETCD and len(target.hosts) == 1
    return GrpcUrl(
        str(target),
        path,
        target.hosts[0] if is_named else "",
        is_encrypted,
        certificate_of(target) if is_encrypted else "",
    )


def _require_host(host: str) -> None:
    """Raise ValueError for a host that can be no name and is no address: nothing could ever be sent to it."""
    if ":" in host or host.replace(".", "").isdigit():
        try:
            ip_address(host.partition("%")[0])
        except ValueError:
            raise ValueError(f"has {host!r} for a host, which is no whole IP address") from None
        return
    labels = host.removesuffix(".").split(".")
    if len(host) > _HOST_MAX or not all(0 < len(label) <= _LABEL_MAX for label in labels):
        raise ValueError(f"has {host!r} for a host, which no name server knows")


def _encoded_authority(url: str) -> str:
    try:
        encoded = URL(url)
    except ValueError as error:
        raise ValueError(f"has a host that no name server knows: {error}") from error
    return encoded.raw_authority
