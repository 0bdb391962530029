"""The section `Oidc` of the configuration: an issuer of OpenID Connect at which people log in."""

from collections.abc import Mapping
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from coordinator.config.frozen import Frozen
from coordinator.discovery.target import is_loopback

CALLBACK: Final = "/login/back"  # where the issuer sends people back to
_ROLES: Final = ("admin", "operator", "viewer")


def parse_group_roles(text: str) -> Mapping[str, str]:
    """The role of each group of `GROUP=ROLE`, with commas between several. Raises ValueError."""
    found: dict[str, str] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        group, sign, role = entry.rpartition("=")
        group, role = group.strip(), role.strip()
        if not sign or not group:
            raise ValueError(f"{entry[:80]!r} is not GROUP=ROLE")
        if role not in _ROLES:
            raise ValueError(f"{group[:80]} needs one of {', '.join(_ROLES)}, not {role[:40]!r}")
        if group in found:
            raise ValueError(f"{group[:80]} stands there twice")
        found[group] = role
    return found


def is_safe_url(text: str) -> bool:
    """Whether it is a whole https url without a fragment; http will do on loopback."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or parts.fragment or parts.username is not None or not text.isprintable() or " " in text:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def _safe_url(text: str) -> str:
    if text and not is_safe_url(text):
        raise ValueError("is no whole URL that begins with https:// (or http:// and a loopback name)")
    return text


def _group_roles(text: str) -> str:
    parse_group_roles(text)
    return text


class Oidc(Frozen):
    """An issuer of OpenID Connect, and who of those whom it knows has which role."""

    issuer: Annotated[str, AfterValidator(_safe_url)] = ""  # as it calls itself; empty: none
    client_id: str = ""
    client_secret: SecretStr = SecretStr("")  # empty: a public client
    client_secret_file: str = ""  # file that holds it
    redirect_url: Annotated[str, AfterValidator(_safe_url)] = ""  # ours, as browsers see it: …/login/back
    groups_claim: str = "groups"  # of the ID token
    roles: Annotated[str, AfterValidator(_group_roles)] = ""  # `GROUP=ROLE`, commas between; no other gets in
    ca_file: str = ""  # who signs the issuer's certificate; empty: whom the system trusts

    @property
    def group_roles(self) -> Mapping[str, str]:
        """What `roles` says."""
        return parse_group_roles(self.roles)
