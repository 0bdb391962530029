"""Names of services (PROTOCOL §10, §11). Pure.

`etcd://h1:2379,h2:2379/user.rpc`, `direct:///h1:8080,h2:8080`, `dns:///host:8080` or plainly `host:port`.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, quote, unquote

SCHEME_ETCD: Final = "etcd"
SCHEME_DIRECT: Final = "direct"
SCHEME_DNS: Final = "dns"

_OVER_TLS: Final = "grpcs"
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_ETCD_PORT: Final = 2379
_SCHEMES: Final = {
    "etcd": SCHEME_ETCD,
    "discov": SCHEME_ETCD,  # go-zero's older name of the same
    "direct": SCHEME_DIRECT,
    "dns": SCHEME_DNS,  # as gRPC clients write it: every address behind the name is an instance
    "passthrough": SCHEME_DIRECT,
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a service is found. The text of two targets is the same when they mean the same.

    scheme: `etcd`, `direct` or `dns`. hosts: `host:port`, of the etcd servers or of the service itself.
    key: the name that the service registers under, etcd only.
    """

    scheme: str
    hosts: tuple[str, ...]
    key: str = ""
    user: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        hosts = ",".join(self.hosts)
        if self.scheme == SCHEME_DIRECT:
            return hosts if len(self.hosts) == 1 else f"{SCHEME_DIRECT}:///{hosts}"
        if self.scheme == SCHEME_DNS:
            return f"{SCHEME_DNS}:///{hosts}"
        login = (
            f"?user={quote(self.user, safe='')}&password={quote(self.password, safe='')}" if self.user else ""
        )
        return f"{self.scheme}://{hosts}/{self.key}{login}"


def shown(target: str) -> str:
    """The text of a target for people: without user and password."""
    return target.partition("?")[0]


def apart_from_tls(text: str) -> tuple[str, bool]:
    """The target without what says that it is spoken to with TLS, and whether anything did.

    `grpcs://h:443` → `direct:///h:443`; `grpcs+etcd://h1:2379/user.rpc` → `etcd://h1:2379/user.rpc`.
    """
    scheme, separator, rest = text.partition("://")
    over_tls, plus, found_by = scheme.partition("+")
    if not separator or over_tls.lower() != _OVER_TLS:
        return text, False
    return (f"{found_by}://{rest}" if plus else f"{SCHEME_DIRECT}:///{rest}"), True


def certificate_of(target: Target) -> str:
    """Whose certificate a target shows over TLS, as gRPC clients have it; empty: each host its own.

    A service in etcd shows one of its name, as its addresses come and go. Raises ValueError as parse_target.
    """
    if target.key and not _HOST_NAME.fullmatch(target.key):
        raise ValueError(f"has {target.key!r} for a service, of which there can be no certificate")
    return target.key


def parse_target(text: str) -> Target:
    """Read a target in any of its forms, `etcd:///h1:2379?key=user.rpc` included.

    Raises ValueError; its text continues a sentence that begins with the target: `has no host`.
    """
    if "://" not in text:
        return Target(SCHEME_DIRECT, (endpoint(text),))
    name, rest = text.split("://", 1)
    scheme = _SCHEMES.get(name.lower())
    if scheme is None:
        raise ValueError(f"has the scheme {name}, which is not supported; etcd, discov, direct and dns are")
    place, _, query = rest.partition("?")
    if "@" in place:  # not repeated: a password stands there
        raise ValueError(
            "has a login before its hosts; write ?user=…&password=… behind the name of the service"
        )
    authority, _, path = place.partition("/")
    if scheme != SCHEME_ETCD:
        # `dns://resolver/host:port` names a name server before the slash: it is left to the system's own.
        hosts = path if path and (name != "direct" or not authority) else authority
        return Target(scheme, _hosts(hosts))
    options = {key: values[-1] for key, values in parse_qs(query).items()}
    key = options.get("key") or unquote(path.strip("/"))
    if authority == "" and "key" in options:
        authority = path
    if not key:
        raise ValueError("has no service name after the etcd hosts")
    return Target(
        scheme,
        _hosts(authority, default_port=_ETCD_PORT),
        key.strip("/"),
        options.get("user", ""),
        options.get("password", ""),
    )


def endpoint(text: str, default_port: int | None = None) -> str:
    """Return `host:port`, checked. Raises ValueError whose text continues `<the address> …`."""
    host, colon, port = text.rpartition(":")
    if default_port is not None and (not colon or port.endswith("]")):
        host, port = text, str(default_port)
    elif not colon or port.endswith("]"):
        raise ValueError("has no port" if text else "has no host")
    if not host:
        raise ValueError("has no host")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"has {port!r} for a port")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if (":" in bare) != (bare != host) or not bare or any(character in bare for character in "[]@/ \t"):
        raise ValueError(f"has {host!r} for a host")
    return f"{host}:{port}"


def host_and_port(address: str) -> tuple[str, int]:
    """Split a checked `host:port`; the brackets of an IPv6 address go."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _hosts(text: str, default_port: int | None = None) -> tuple[str, ...]:
    hosts = tuple(endpoint(part, default_port) for part in text.split(",") if part)
    if not hosts:
        raise ValueError("has no host")
    return hosts


def is_loopback(host: str) -> bool:
    """Whether a name or address, without a port, is this machine's own by definition."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
