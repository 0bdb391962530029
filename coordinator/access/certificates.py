"""Names in a client's certificate: how they are written, whose they are, and until when. Pure."""

import ipaddress
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from coordinator.access.permissions import Principal

METHOD: Final = "certificate"  # how somebody is known by one

_KINDS: Final = {"DNS": "DNS", "URI": "URI", "email": "email", "IP Address": "IP"}


class Shown(NamedTuple):
    """What a client showed. owner: None where it is nobody's, and then why."""

    owner: Principal | None
    why: str = ""


NOTHING: Final = Shown(None)


class KnownCertificates:
    """owners: by an alternative name, as Access.Certificates has it; of several the first here counts.

    now: aware. A connection may outlast the certificate that it was opened with, which is no credential then.
    """

    def __init__(self, owners: Mapping[str, Principal], now: Callable[[], datetime]) -> None:
        self._owners = owners
        self._now = now

    def look(self, certificate: Mapping[str, Any] | None) -> Shown:
        """Whose it is. certificate: as `ssl.SSLObject.getpeercert` says it; None and an empty one: none."""
        if not certificate:
            return NOTHING
        if _ends(certificate["notAfter"]) <= self._now().timestamp():
            return Shown(None, "the certificate that was shown has expired")
        names = names_in(certificate)
        owner = next((who for name, who in self._owners.items() if name in names), None)
        if owner is None:
            return Shown(None, "none of the certificate's names is in Access.Certificates")
        return Shown(owner)


def names_in(certificate: Mapping[str, Any]) -> frozenset[str]:
    """Its alternative names: `DNS:orders.svc`, `URI:spiffe://shop/orders`. The subject's own name is none."""
    names = certificate.get("subjectAltName", ())
    return frozenset(_written(_KINDS[kind], text) for kind, text in names if kind in _KINDS)


def _written(kind: str, text: str) -> str:
    if kind == "IP":
        return f"IP:{ipaddress.ip_address(text.strip())}"
    return f"{kind}:{text.lower() if kind == 'DNS' else text}"


@lru_cache(1024)
def _ends(not_after: str) -> int:
    return ssl.cert_time_to_seconds(not_after)
