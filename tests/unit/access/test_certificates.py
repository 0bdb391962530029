"""Whose a client's certificate is: by its alternative names alone, exactly; and a token beside it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coordinator.access.certificates import METHOD, KnownCertificates, names_in
from coordinator.access.gate import Gate
from coordinator.access.permissions import ROLES, Mode, Permission, Principal, Role, changes, looks
from coordinator.config import client_certificates
from coordinator.config.client_certificates import CertificateEntry, parse_certificates
from coordinator.errors import Forbidden, Unauthenticated
from tests.unit.access.calls import KnownTokens

ORDERS = Principal("orders", ROLES[Role.SERVICE], METHOD, "orders-")
ANNA = Principal("anna", ROLES[Role.OPERATOR], METHOD)
KNOWN = {"DNS:orders.svc": ORDERS, "email:anna@shop.example": ANNA}
SUBMIT, LOOK, STOP = changes(Permission.SUBMIT), looks(Permission.READ), changes(Permission.OPERATE_FORCE)


NOW, ENDS = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, 9, 30, tzinfo=UTC)


def certificate_of(*names: str) -> dict[str, Any]:
    """As Python says it."""
    pairs = tuple(name.partition(":")[::2] for name in names)
    return {"notAfter": "Apr  1 09:30:00 2026 GMT", "subjectAltName": pairs}


def owner_of(*names: str) -> Principal | None:
    return KnownCertificates(KNOWN, lambda: NOW).look(certificate_of(*names)).owner


# ---- names ---------------------------------------------------------------------------------------


def test_alternative_names_are_read_and_nothing_else_is_a_name():
    certificate = {
        "subject": ((("commonName", "orders.svc"),),),
        "subjectAltName": (
            *(("DNS", "Orders.SVC"), ("DNS", "*.svc"), ("email", "Anna@shop.example")),
            *(("URI", "spiffe://shop/Orders"), ("IP Address", "FD00:0:0:0:0:0:0:1\n")),
            *(("IP Address", "10.0.0.1"), ("Registered ID", "1.2.3"), ("othername", "<unsupported>")),
        ),
    }
    assert names_in(certificate) == {
        *("DNS:orders.svc", "DNS:*.svc", "email:Anna@shop.example", "URI:spiffe://shop/Orders"),
        *("IP:fd00::1", "IP:10.0.0.1"),
    }
    assert names_in({"subject": certificate["subject"]}) == frozenset()
    assert owner_of() is None
    assert all(KnownCertificates(KNOWN, lambda: NOW).look(it) == (None, "") for it in (None, {}))


@pytest.mark.parametrize(
    "name",
    [
        *("DNS:orders.svc.evil.example", "DNS:evil.orders.svc", "DNS:*.svc", "DNS:orders.svc.", "DNS:orders"),
        *(
            "URI:orders.svc",
            "email:orders.svc",
            "DNS:orders.svc\x00.evil",
            "DNS:оrders.svc",
            "orders.svc",
            "",
        ),
        *("email:Anna@shop.example", "email:anna@shop.example.evil", "DNS:anna@shop.example"),
    ],
)
def test_a_name_is_somebodys_exactly_or_not_at_all(name: str):
    assert owner_of(name) is None


def test_of_several_names_the_first_of_the_configuration_counts():
    assert owner_of("email:anna@shop.example", "DNS:other", "DNS:orders.svc") is ORDERS
    assert owner_of("DNS:other", "email:anna@shop.example") is ANNA


@pytest.mark.parametrize(("seconds", "is_known"), [(-1, True), (0, False), (1, False)])
def test_a_connection_may_outlast_its_certificate_which_is_none_then(seconds: int, is_known: bool):
    known = KnownCertificates(KNOWN, lambda: ENDS + timedelta(seconds=seconds))
    shown = known.look(certificate_of("DNS:orders.svc"))
    assert (shown.owner is ORDERS, "has expired" in shown.why) == (is_known, not is_known)


# ---- the configuration ---------------------------------------------------------------------------


def test_entries_of_every_kind():
    text = """DNS:Orders.svc service name=orders gids=orders-, URI:spiffe://shop/Stock service,
        email:anna@shop.example operator name=anna,IP:FD00::0001 viewer, """
    assert parse_certificates(text) == [
        CertificateEntry("DNS:orders.svc", "service", "orders", "orders-"),
        CertificateEntry("URI:spiffe://shop/Stock", "service", "spiffe://shop/Stock", ""),
        CertificateEntry("email:anna@shop.example", "operator", "anna", ""),
        CertificateEntry("IP:fd00::1", "viewer", "FD00::0001", ""),
    ]
    assert parse_certificates(" ") == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("orders.svc service", "'orders.svc' is none of DNS:name"),
        ("CN:orders service", "'CN:orders' is none of DNS:name"),
        ("DNS:orders.svc", "needs a role behind it: service, viewer, operator, admin"),
        ("DNS:orders.svc root", "needs a role behind it"),
        ("DNS:a viewer, dns:A admin", "DNS:a stands there twice"),
        ("DNS:a viewer prefix=x", "'prefix' is neither name=… nor gids=…"),
        ("DNS:a viewer gids=x", "gids= is for the role service"),
        ("DNS:a service gids=a;b", "gids= has at most 64"),
        ("DNS:a service gids=" + "x" * 65, "gids= has at most 64"),
        ("DNS:a service name=" + "x" * 101, "a name has at most 100"),
        ("IP:10.0.0 viewer", "'10.0.0' is no address"),
    ],
)
def test_what_is_no_entry_is_named(text: str, problem: str):
    with pytest.raises(ValueError, match=problem):
        parse_certificates(text)


def test_the_configuration_knows_the_roles():
    assert tuple(Role) == client_certificates.ROLES


# ---- who that is ---------------------------------------------------------------------------------


async def entered(mode: Mode, needs: Any, names: Sequence[str], credentials: Sequence[str] = ()) -> Principal:
    gate = Gate(mode, tokens=KnownTokens(), certificates=KnownCertificates(KNOWN, lambda: NOW))
    return await gate.door("call", needs).enter(credentials, "", certificate_of(*names))


@pytest.mark.parametrize("mode", [Mode.OPERATORS, Mode.ALL])
async def test_a_certificate_is_a_credential(mode: Mode):
    assert await entered(mode, SUBMIT, ["DNS:orders.svc"]) is ORDERS
    assert await entered(mode, STOP, ["email:anna@shop.example"]) is ANNA
    with pytest.raises(Forbidden, match=r"orders lacks the permission operate\.force"):
        await entered(mode, STOP, ["DNS:orders.svc"])
    with pytest.raises(Unauthenticated, match=r"none of the certificate's names is in Access\.Cert"):
        await entered(mode, STOP, ["DNS:stranger.svc"])


async def test_who_sends_a_token_is_whose_that_is_whatever_the_certificate():
    anna, orders = ["email:anna@shop.example"], ["DNS:orders.svc"]
    assert (await entered(Mode.ALL, LOOK, anna, ["Bearer dtm_viewer"])).name == "the viewer"
    assert (await entered(Mode.ALL, LOOK, orders, ["Bearer dtm_viewer"])).name == "the viewer"
    assert (await entered(Mode.OPERATORS, SUBMIT, orders, ["Bearer dtm_service"])).name == "the service"
    with pytest.raises(Forbidden, match="the viewer lacks"):
        await entered(Mode.ALL, STOP, anna, ["Bearer dtm_viewer"])
    for bad in (["Bearer dtm_nobodys"], ["Bearer dtm_admin", "Bearer dtm_admin"]):
        with pytest.raises(Unauthenticated):
            await entered(Mode.ALL, STOP, anna, bad)


async def test_what_is_no_token_of_ours_leaves_the_certificate_alone():
    """A proxy on the way may have a login of its own."""
    assert await entered(Mode.ALL, STOP, ["email:anna@shop.example"], ["Basic eDp5"]) is ANNA
    with pytest.raises(Unauthenticated):
        await entered(Mode.ALL, STOP, ["DNS:orders.svc"], ["Basic eDp5"])


def test_certificates_are_read_only_where_they_count():
    certificates = KnownCertificates(KNOWN, lambda: NOW)
    for mode, known, needs, expected in [
        (Mode.ALL, certificates, SUBMIT, True),
        (Mode.OPERATORS, certificates, SUBMIT, True),
        (Mode.OFF, certificates, SUBMIT, False),
        (Mode.ALL, None, SUBMIT, False),
    ]:
        assert Gate(mode, certificates=known).door("call", needs).reads_certificates is expected
