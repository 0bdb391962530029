"""A page in somebody's browser is no client: it may change nothing, unless it is one of ours. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from coordinator.discovery.target import is_loopback

_FINE: Final = frozenset({"same-origin", "none"})  # what a browser says of its own address bar and our pages
_PORTS: Final = {"http": 80, "https": 443}


def why_cross_site(headers: Mapping[str, str], origins: Collection[str]) -> str:
    """Why a changing request with these headers is refused; empty for a client, which sends none of them.

    headers: their names in any case. origins: `scheme://host[:port]` that may do so, as normal_origin has
    them.
    """
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site in _FINE or (site is None and origin is None):
        return ""
    if origin is None:
        return f"a page of another site asked for it (Sec-Fetch-Site: {site})"
    normal = normal_origin(origin)
    if normal in origins or normal in {f"{scheme}://{_host(headers, scheme)}" for scheme in _PORTS}:
        return ""
    return f"a page of {origin[:200]} asked for it, which is not in Access.Origins"


def _host(headers: Mapping[str, str], scheme: str) -> str:
    return normal_origin(f"{scheme}://{headers.get('Host', '')}").partition("://")[2]


def normal_origin(text: str) -> str:
    """The origin in lower case and without its scheme's own port; empty for what is none.

    Origin: `https://dtm.example:443` → `https://dtm.example`.
    """
    try:
        parts = urlsplit(text.strip().lower())
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in _PORTS or not parts.hostname or parts.path not in {"", "/"}:
        return ""
    if parts.username is not None or parts.query or parts.fragment:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in {None, _PORTS[parts.scheme]} else "")


class OurHosts:
    """Names by which a server on loopback may be asked; others lead there by a name server's trick.

    names: beside the loopback's own, without ports.
    """

    _REMEMBERED_MAX = 100

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(name.lower() for name in names)
        self._fine: set[str] = set()  # headers as they came

    def has(self, header: str | None) -> bool:
        """Whether the header `Host` names us; one without it comes from no browser."""
        if header is None or header in self._fine:
            return True
        origin = normal_origin(f"http://{header}")
        host = urlsplit(origin).hostname or ""
        if not (host in self._names or is_loopback(host)):
            return False
        if len(self._fine) < self._REMEMBERED_MAX:
            self._fine.add(header)
        return True
