"""ID tokens: whose is good, and each way in which one is not."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from coordinator.access.oidc_tokens import Client, UnknownKey, person_of
from coordinator.errors import Forbidden, Unauthenticated
from tests.support.oidc_issuer import new_key, public_jwk, public_pem, signed

ISSUER, NONCE = "https://login.example", "the nonce"
ROLES = {"dtm-ops": "operator", "dtm-admins": "admin", "dtm-readers": "viewer"}
CLIENT = Client(ISSUER, "dtm", "", "https://dtm.example/login/back", "groups", ROLES)
KEY, OTHER = new_key(), new_key()
KEYS = [public_jwk(KEY, "one")]


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": ISSUER,
        "aud": "dtm",
        "sub": "1234",
        "nonce": NONCE,
        "iat": now,
        "exp": now + 300,
        "groups": ["dtm-ops", "staff"],
        "preferred_username": "anna",
        **changed,
    }


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in claims().items() if key != name}


def by_hand(header: dict[str, Any], body: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    text = f"{part(json.dumps(header).encode())}.{part(json.dumps(body).encode())}"
    return f"{text}.{part(sign(text.encode()))}"


def with_hmac(secret: bytes, algorithm: str = "HS256") -> str:
    header = {"alg": algorithm, "typ": "JWT", "kid": "one"}
    return by_hand(header, claims(), lambda text: hmac.digest(secret, text, hashlib.sha256))


def test_whose_token_it_is():
    who = person_of(signed(claims(), KEY), KEYS, CLIENT, NONCE)
    assert who == ("1234", "anna (1234)", "operator")
    assert person_of(signed(claims(aud=["dtm"]), KEY), KEYS, CLIENT, NONCE) == who
    assert person_of(signed(claims(aud=["dtm", "x"], azp="dtm"), KEY), KEYS, CLIENT, NONCE) == who
    assert person_of(signed(claims(), KEY, algorithm="PS256"), KEYS, CLIENT, NONCE) == who
    curve = ec.generate_private_key(ec.SECP256R1())
    jwk = {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(curve.public_key())), "kid": "two"}
    token = jwt.encode(claims(), curve, algorithm="ES256", headers={"kid": "two"})
    assert person_of(token, [*KEYS, jwk], CLIENT, NONCE) == who


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["dtm-readers"], "viewer"),
        (["dtm-readers", "dtm-admins", "dtm-ops"], "admin"),
        ("dtm-ops", "operator"),
        *(
            (it, "")
            for it in ([], None, ["DTM-OPS"], ["dtm-ops "], ["dtm"], "dtm-ops dtm-admins", {"dtm-ops": 1})
        ),
        *((it, "") for it in ([["dtm-ops"]], 7, [{"name": "dtm-ops"}])),
    ],
)
def test_groups_give_roles_by_exact_match_and_no_match_is_no_access(groups: Any, role: str):
    token = signed(claims(groups=groups), KEY)
    if role:
        assert person_of(token, KEYS, CLIENT, NONCE).role == role
    else:
        with pytest.raises(Forbidden, match="in no group"):
            person_of(token, KEYS, CLIENT, NONCE)


@pytest.mark.parametrize(
    "body",
    [
        claims(iss="https://evil.example"),
        claims(iss=ISSUER + "/"),
        claims(aud="other"),
        claims(aud=[]),
        claims(aud=["dtm", "other"]),
        claims(azp="other"),
        claims(nonce="another"),
        claims(nonce=None),
        claims(exp=int(time.time()) - 3600),
        claims(iat=int(time.time()) + 3600),
        claims(nbf=int(time.time()) + 3600),
        claims(sub=""),
        claims(sub="x" * 256),
        claims(sub="a\nb"),
        *(without(name) for name in ("iss", "aud", "sub", "exp", "iat", "nonce")),
    ],
)
def test_what_is_not_for_us_or_not_of_this_log_in_is_refused(body: dict[str, Any]):
    with pytest.raises(Unauthenticated, match="not good"):
        person_of(signed(body, KEY), KEYS, CLIENT, NONCE)


@pytest.mark.parametrize(
    "token",
    [
        by_hand({"alg": "none", "typ": "JWT"}, claims(), lambda _: b""),
        by_hand({"alg": "None", "kid": "one"}, claims(), lambda _: b""),
        by_hand({"typ": "JWT"}, claims(), lambda _: b""),
        with_hmac(public_pem(KEY)),
        with_hmac(json.dumps(KEYS[0]).encode()),
        with_hmac(b""),
        by_hand({"alg": "RS256", "kid": "one"}, claims(), lambda _: b""),
        by_hand({"alg": "RS256", "kid": "one"}, claims(), lambda _: b"x" * 256),
        by_hand({"alg": "ES256", "kid": "one"}, claims(), lambda _: b"x" * 64),
        signed(claims(), OTHER),
        signed(claims(), OTHER, kid="two"),
        by_hand(
            {"alg": "RS256", "kid": "one", "jwk": public_jwk(OTHER, "one")}, claims(), lambda _: b"x" * 256
        ),
        signed(claims(), KEY)[:-4],
        signed(claims(), KEY).replace(".", "", 1),
        "",
        "a.b.c",
        "x" * 70_000,
        "\udcff",
    ],
)
def test_what_the_issuer_has_not_signed_is_refused(token: str):
    with pytest.raises(Unauthenticated, match="not good"):
        person_of(token, KEYS, CLIENT, NONCE)


def test_a_shared_secret_among_the_keys_signs_nothing():
    secret = {"kty": "oct", "k": base64.urlsafe_b64encode(b"s" * 32).decode(), "kid": "one"}
    with pytest.raises(Unauthenticated):
        person_of(with_hmac(b"s" * 32), [secret], CLIENT, NONCE)


def test_a_key_that_is_for_something_else_signs_nothing():
    for other in ({"use": "enc"}, {"alg": "PS512"}):
        with pytest.raises(UnknownKey):
            person_of(signed(claims(), KEY), [{**KEYS[0], **other}], CLIENT, NONCE)


def test_without_a_name_of_the_key_there_must_be_one_alone():
    token = jwt.encode(claims(), KEY, algorithm="RS256")
    assert person_of(token, KEYS, CLIENT, NONCE).subject == "1234"
    with pytest.raises(UnknownKey):
        person_of(token, [*KEYS, public_jwk(OTHER, "two")], CLIENT, NONCE)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"preferred_username": "anna"}, "anna (1234)"),
        ({"preferred_username": "", "email": "a@b"}, "a@b (1234)"),
        ({"preferred_username": None, "email": None, "name": 7}, "1234"),
        ({"preferred_username": "x" * 500}, f"{'x' * 60} (1234)"),
        ({"preferred_username": "a\x1b[31mb\n"}, "a[31mb (1234)"),
    ],
)
def test_the_name_is_for_people_and_the_subject_stands_beside_it(given: dict[str, Any], name: str):
    assert person_of(signed(claims(**given), KEY), KEYS, CLIENT, NONCE).name == name
