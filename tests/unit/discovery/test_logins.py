"""Users and passwords in addresses: any password arrives in the bytes that were meant, and none is shown."""

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from coordinator.discovery.logins import (
    ServerUrl,
    apart_from_login,
    mysql_password,
    parse_server_url,
    shown_origin,
    shown_url,
    split_login,
)

# Whatever a person may set as a password; control characters aside, which no console takes.
PASSWORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


def is_doubtful(password: str) -> bool:
    """`a@b?c=` has two readings, of which the standard's is taken."""
    before, mark, _ = password.partition("?")
    return bool(mark) and "@" in before


@given(user=PASSWORDS, password=PASSWORDS)
def test_a_login_that_is_percent_encoded_arrives_whole(user: str, password: str) -> None:
    url = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@db:5432/shop"
    assert parse_server_url(url) == ServerUrl("postgresql", user, password, "db", 5432, "shop")


@given(st.text("abc@/:#?密 é+", min_size=1, max_size=8))
def test_a_password_with_signs_of_a_url_in_it_arrives_as_it_was_written(password: str) -> None:
    found = parse_server_url(f"mysql://ann:{password}@db:3306/")
    if is_doubtful(password):
        return
    assert (found.user, found.password, found.host, found.port) == ("ann", password, "db", 3306)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("mysql://db", ServerUrl("mysql", "", "", "db", 0, "")),
        ("mysql://ann@db/", ServerUrl("mysql", "ann", "", "db", 0, "")),
        ("mysql://ann:@[::1]:3306/x", ServerUrl("mysql", "ann", "", "::1", 3306, "x")),
        ("mysql://ann:p@db/x?mail=a@b", ServerUrl("mysql", "ann", "p", "db", 0, "x")),
        ("mysql://ann:100%@db/x", ServerUrl("mysql", "ann", "100%", "db", 0, "x")),
        ("mysql://ann:a+b@db/x", ServerUrl("mysql", "ann", "a+b", "db", 0, "x")),
        ("mysql+aiomysql://ann:p/w@db:1/x", ServerUrl("mysql+aiomysql", "ann", "p/w", "db", 1, "x")),
        ("sqlite:////var/shop.db", ServerUrl("sqlite", "", "", "", 0, "/var/shop.db")),
    ],
)
def test_forms(url: str, read: ServerUrl) -> None:
    assert parse_server_url(url) == read


@pytest.mark.parametrize("url", ["db", "mysql://ann:secret@db:x/", "mysql://ann:secret@db:99999/"])
def test_what_is_no_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="has no") as caught:
        parse_server_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "split"),
    [
        ("http://h/p?x=1", ("http://h/p?x=1", "", "")),
        ("http://ann:a%40b@h/p", ("http://h/p", "ann", "a@b")),
        ("http://ann:p/w@h:1/p", ("http://h:1/p", "ann", "p/w")),
        ("ann:secret@h:1", ("h:1", "ann", "secret")),
        ("h:1/pkg.Service/Method", ("h:1/pkg.Service/Method", "", "")),
        ("", ("", "", "")),
    ],
)
def test_a_login_is_taken_off(url: str, split: tuple[str, str, str]) -> None:
    assert split_login(url) == split


@given(PASSWORDS)
def test_mysql_gets_utf8(password: str) -> None:
    assert mysql_password(password).encode("latin-1") == password.encode()


@given(user=st.text("abc密é@/ ", min_size=1, max_size=5), password=PASSWORDS)
def test_http_gets_utf8(user: str, password: str) -> None:
    url, login = apart_from_login(
        URL(f"http://{quote(user, safe='')}:{quote(password, safe='')}@h/p", encoded=True)
    )
    assert str(url) == "http://h/p"
    assert base64.b64decode(login.removeprefix("Basic ")) == f"{user}:{password}".encode()


def test_a_url_without_a_login_stays() -> None:
    assert apart_from_login(URL("http://h/p")) == (URL("http://h/p"), "")


@given(st.text("xyz@/:#?&=密%", min_size=1, max_size=8).map(lambda it: f"QQ{it}QQ"))
def test_no_password_is_shown(password: str) -> None:
    urls = [f"http://ann:{quote(password, safe='')}@h:80/pay"]
    if not is_doubtful(password):
        urls.append(f"http://ann:{password}@h:80/pay")
    for url in urls:
        assert "QQ" not in shown_url(url)
        assert "QQ" not in shown_origin(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h/p?x=1", "http://h/p?x=1"),
        ("http://ann:secret@h/p?x=1", "http://ann:…@h/p?x=1"),
        ("http://ann@h/p", "http://ann@h/p"),
        ("http://h/p?token=secret&x=1", "http://h/p?token=…&x=1"),
        ("etcd://h:2379/user.rpc?user=ann&password=secret", "etcd://h:2379/user.rpc?user=ann&password=…"),
        ("host:8080/pkg.Service/Method", "host:8080/pkg.Service/Method"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example/services/T0/B0/secret", "https://hooks.example/…"),
        ("https://ann:secret@hooks.example:8443?key=secret", "https://hooks.example:8443/…"),
        ("https://hooks.example/", "https://hooks.example"),
        ("secret", "…"),
        ("", ""),
    ],
)
def test_of_a_hook_the_host_alone_is_shown(url: str, shown: str) -> None:
    assert shown_origin(url) == shown
