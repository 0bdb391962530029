"""What an operator may write for hosts and networks, and what is meant by it."""

from ipaddress import ip_address

import pytest

from coordinator.discovery.place_rules import forms_of, parse_place_rules, rule_of


@pytest.mark.parametrize(
    ("text", "host", "port", "is_meant"),
    [
        ("api.example", "api.example", 80, True),
        ("API.Example.", "api.example", 80, True),
        ("api.example", "other.api.example", 80, False),
        ("api.example", "api.example.evil", 80, False),
        ("*.example", "a.b.example", 80, True),
        ("*.example", "example", 80, False),
        ("*.example", "example.evil", 80, False),
        ("api.example", "apiXexample", 80, False),
        ("api-*:8080", "api-7", 8080, True),
        ("api-*:8080", "api-7", 80, False),
        ("*", "anything", 1, True),
        ("a.example, b.example", "b.example", 80, True),
        ("a.example b.example", "b.example", 80, True),
    ],
)
def test_hosts_by_name(text: str, host: str, port: int, is_meant: bool) -> None:
    assert any(rule.names(host, port) for rule in parse_place_rules(text)) is is_meant


@pytest.mark.parametrize(
    ("text", "address", "port", "is_meant"),
    [
        ("10.1.2.3", "10.1.2.3", 80, True),
        ("10.1.2.3", "10.1.2.4", 80, False),
        ("10.0.0.0/8", "10.255.0.1", 80, True),
        ("10.0.0.0/8:8080", "10.255.0.1", 8080, True),
        ("10.0.0.0/8:8080", "10.255.0.1", 80, False),
        ("fd00::/8", "fd12::1", 80, True),
        ("[fd00::/8]:443", "fd12::1", 443, True),
        ("[fd00::/8]:443", "fd12::1", 80, False),
        ("[::1]", "::1", 80, True),
        ("::1", "::1", 80, True),
        ("0.0.0.0/0", "::1", 80, False),
        ("*", "10.1.2.3", 80, False),  # by its name alone
    ],
)
def test_networks(text: str, address: str, port: int, is_meant: bool) -> None:
    assert any(rule.holds(ip_address(address), port) for rule in parse_place_rules(text)) is is_meant


def test_nothing_is_written() -> None:
    assert parse_place_rules("") == parse_place_rules(" , ") == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("10.1.2.3/8", "'10.1.2.3/8' begins within the network 10.0.0.0/8: write that, or the address alone"),
        ("10.0.0.0/33", "'10.0.0.0/33' is no address and no network"),
        ("300.1.1.1", "'300.1.1.1' is no address and no network"),
        ("10.*", "'10.*' is no host name; write a network, such as 10.0.0.0/8"),
        ("http://shop", "'http://shop' has '//shop' for a port"),
        ("shop:http", "'shop:http' has 'http' for a port"),
        ("shop:0", "'shop:0' has '0' for a port"),
        ("shop:65536", "'shop:65536' has '65536' for a port"),
        ("[::1]x", "'[::1]x' has something behind its bracket that is no port"),
        ("fe80::1::2", "'fe80::1::2' is no address and no network"),
        ("shöp", "'shöp' is no host name, address or network"),
        ("a, b/8", "'b/8' is no address and no network"),
    ],
)
def test_what_cannot_be_meant_is_named(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse_place_rules(text)
    assert str(raised.value) == problem


@pytest.mark.parametrize(
    ("address", "forms"),
    [
        ("10.1.2.3", ["10.1.2.3"]),
        ("fd00::1", ["fd00::1"]),
        ("::ffff:10.1.2.3", ["::ffff:a01:203", "10.1.2.3"]),
        ("64:ff9b::a01:203", ["64:ff9b::a01:203", "10.1.2.3"]),
        ("64:ff9b:1::a01:203", ["64:ff9b:1::a01:203", "10.1.2.3"]),
        ("2002:a01:203::1", ["2002:a01:203::1", "10.1.2.3"]),
        ("2001:0:a01:203:0:0:f5fe:fdfc", ["2001:0:a01:203::f5fe:fdfc", "10.1.2.3", "10.1.2.3"]),
    ],
)
def test_an_address_may_be_another_way_to_write_one(address: str, forms: list[str]) -> None:
    assert [str(form) for form in forms_of(ip_address(address))] == forms


def test_the_rule_of_one_host_is_of_no_other() -> None:
    named, numbered = rule_of("Hooks.example.", 443), rule_of("::1", 443)
    assert named.names("hooks.example", 443) and not named.names("hooksXexample", 443)
    assert numbered.holds(ip_address("::1"), 443) and not numbered.holds(ip_address("::1"), 80)
