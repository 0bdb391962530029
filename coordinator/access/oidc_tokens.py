"""ID tokens of OpenID Connect: whether one is the issuer's, for us, and of this log-in; whose it is."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import jwt

from coordinator.access.permissions import HUMAN_ROLES
from coordinator.errors import Forbidden, Unauthenticated
from coordinator.store.limits import SUBJECT_MAX

TOKEN_BYTES_MAX: Final = 64 * 1024
_LEEWAY_SECONDS: Final = 60
# By the kind of key: asymmetric ones alone, so that a public key is never taken for a shared secret.
_ALGORITHMS: Final[Mapping[str, tuple[str, ...]]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
_NAMES: Final = ("preferred_username", "email", "name")
_SHOWN_MAX: Final = 60

Keys = Sequence[Mapping[str, Any]]  # as the issuer's key set has them


class UnknownKey(Unauthenticated):
    """The token names a key that the issuer's set does not have, or not yet here."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who we are to the issuer, and which of its groups have which role."""

    issuer: str
    client_id: str
    secret: str = field(repr=False)
    redirect_url: str
    groups_claim: str
    group_roles: Mapping[str, str]


class Person(NamedTuple):
    """Whom the issuer says it is. name: for people, with the subject, which alone tells who it is."""

    subject: str
    name: str
    role: str


def person_of(token: str, keys: Keys, client: Client, nonce: str) -> Person:
    """Whose ID token this is.

    Raises Unauthenticated for one that is not good, UnknownKey for one of another key; Forbidden for somebody
    without a group that has a role.
    """
    claims = _claims_of(token, keys, client)
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(errors="replace"), nonce.encode()):
        raise _bad("it belongs to another log-in")
    audience, party = claims["aud"], claims.get("azp")
    if party not in {None, client.client_id} or (
        isinstance(audience, list) and len(audience) > 1 and party is None
    ):
        raise _bad("it was made for another client")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MAX or not subject.isprintable():
        raise _bad("its subject is none")
    name = _name_of(claims, subject)
    role = _role_of(claims.get(client.groups_claim), client.group_roles)
    if not role:
        raise Forbidden(f"{name} is in no group that may log in here")
    return Person(subject, name, role)


def _claims_of(token: str, keys: Keys, client: Client) -> Mapping[str, Any]:
    if len(token) > TOKEN_BYTES_MAX:
        raise _bad("it is too long")
    try:
        header = jwt.get_unverified_header(token)
        key = _key_of(header, keys)
        algorithm = header["alg"]
        claims: Mapping[str, Any] = jwt.decode(
            token,
            jwt.PyJWK(dict(key), algorithm=algorithm).key,
            algorithms=[algorithm],
            audience=client.client_id,
            issuer=client.issuer,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise _bad(str(error)) from error
    return claims


def _key_of(header: Mapping[str, Any], keys: Keys) -> Mapping[str, Any]:
    """The issuer's key that fits; what else the header says of keys is somebody's wish."""
    algorithm, wanted = header.get("alg"), header.get("kid")
    if not any(algorithm in algorithms for algorithms in _ALGORITHMS.values()):
        raise _bad(f"its algorithm {str(algorithm)[:20]!r} is not taken")
    fitting = [
        key
        for key in keys
        if algorithm in _ALGORITHMS.get(str(key.get("kty")), ())
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (wanted is None or key.get("kid") == wanted)
    ]
    if len(fitting) != 1:
        raise UnknownKey("the issuer's ID token is not good: it is signed by none of the issuer's keys")
    return fitting[0]


def _name_of(claims: Mapping[str, Any], subject: str) -> str:
    name = next((claims[it] for it in _NAMES if isinstance(claims.get(it), str) and claims[it]), "")
    clean = "".join(it for it in name if it.isprintable())[:_SHOWN_MAX]
    short = subject if len(subject) <= _SHOWN_MAX else f"{subject[:_SHOWN_MAX]}…"
    return f"{clean} ({short})" if clean and clean != subject else short


def _role_of(groups: object, roles: Mapping[str, str]) -> str:
    """The highest role of these groups, by their exact names; empty for none."""
    names = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    found = {roles[it] for it in names if isinstance(it, str) and it in roles}
    return next((role for role in reversed(HUMAN_ROLES) if role in found), "")


def _bad(why: str) -> Unauthenticated:
    return Unauthenticated(f"the issuer's ID token is not good: {why}")
