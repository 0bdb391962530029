"""`Access.Certificates`: whose the certificates of clients are, by a name in them."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

ROLES: Final = ("service", "viewer", "operator", "admin")
GID_PREFIX_MAX: Final = 64  # characters, of the 128 that a gid has
_NAME_MAX: Final = 100
_SAN: Final = re.compile(r"(dns|uri|email|ip):([^\s,]+)", flags=re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CertificateEntry:
    """Whose certificates with that alternative name are. san: `DNS:orders.svc`, `URI:spiffe://shop/orders`."""

    san: str
    role: str
    name: str
    gid_prefix: str


def parse_certificates(text: str) -> Sequence[CertificateEntry]:
    """The entries of `SAN role [name=NAME] [gids=PREFIX]`, separated by commas, in their order.

    Raises ValueError with a sentence.
    """
    entries = [_entry(words) for words in map(str.split, text.split(",")) if words]
    seen: set[str] = set()
    for entry in entries:
        if entry.san in seen:
            raise ValueError(f"{entry.san[:80]} stands there twice")
        seen.add(entry.san)
    return entries


def _entry(words: Sequence[str]) -> CertificateEntry:
    san, role, *rest = words if len(words) > 1 else (*words, "")
    found = _SAN.fullmatch(san)
    if found is None:
        raise ValueError(f"{san[:80]!r} is none of DNS:name, URI:uri, email:address, IP:address")
    if role not in ROLES:
        raise ValueError(f"{san[:80]} needs a role behind it: {', '.join(ROLES)}")
    given = dict(word.partition("=")[::2] for word in rest)
    if unknown := [word for word in given if word not in {"name", "gids"}]:
        raise ValueError(f"{unknown[0][:40]!r} is neither name=… nor gids=…")
    name, prefix = given.get("name") or found[2], given.get("gids", "")
    if len(name) > _NAME_MAX or not name.isprintable():
        raise ValueError(f"a name has at most {_NAME_MAX} printable characters: name=… gives {san[:40]} one")
    if prefix and role != "service":
        raise ValueError(f"gids= is for the role service; a {role} has to do with every gid")
    if len(prefix) > GID_PREFIX_MAX or not prefix.isprintable() or ";" in prefix:
        raise ValueError(f"gids= has at most {GID_PREFIX_MAX} printable characters, without ;")
    return CertificateEntry(_normal(found[1].lower(), found[2]), role, name, prefix)


def _normal(kind: str, text: str) -> str:
    match kind:
        case "dns":
            return f"DNS:{text.lower()}"
        case "ip":
            try:
                return f"IP:{ipaddress.ip_address(text)}"
            except ValueError as error:
                raise ValueError(f"{text[:80]!r} is no address") from error
        case "uri":
            return f"URI:{text}"
        case _:
            return f"email:{text}"
