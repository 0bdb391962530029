"""`DataSource`: a Go DSN or a SQLite file."""

from pathlib import Path

import pytest

from branches.data_source import MySqlSource, SqliteSource, parse_data_source, split_address


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (
            "root:secret@tcp(localhost:3306)/user?charset=utf8mb4&parseTime=true&loc=Asia%2FShanghai",
            MySqlSource("localhost", 3306, "root", "secret", "user"),
        ),
        ("root:@tcp(db:4000)/user", MySqlSource("db", 4000, "root", "", "user")),
        ("root@tcp(db)/user", MySqlSource("db", 3306, "root", "", "user")),
        ("u:p@ss:w/ord@tcp([::1]:3306)/user", MySqlSource("::1", 3306, "u", "p@ss:w/ord", "user")),
        ("u:p@unix(/run/mysqld.sock)/user", MySqlSource("", 3306, "u", "p", "user", "/run/mysqld.sock")),
        ("sqlite:///user.db", SqliteSource(Path("user.db"))),
        ("sqlite:////var/lib/user.db", SqliteSource(Path("/var/lib/user.db"))),
    ],
)
def test_forms(text: str, source: MySqlSource | SqliteSource) -> None:
    assert parse_data_source(text) == source


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sqlite:///", "names no file"),
        ("mysql://root@localhost:3306/user", "is not understood: write user:password@tcp"),
        ("root:secret@tcp(localhost:3306)", "has no /database"),
        ("root:secret@tcp(localhost:3306)/", "is not understood"),
        ("root:secret@tcp(localhost:port)/user", "write host:port"),
        ("root:secret@localhost/user", "is not understood"),
        ("root:secret", "'root:…' has no /database"),
        ("root:secret/", "'root:…' is not understood"),
        ("", "'' has no /database"),
    ],
)
def test_what_is_neither_is_explained_without_showing_the_password(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        parse_data_source(text)
    assert "secret" not in str(caught.value)


def test_a_source_is_shown_without_its_password() -> None:
    assert str(parse_data_source("root:secret@tcp(db:3306)/user")) == "mysql://root@db:3306/user"


@pytest.mark.parametrize(
    ("text", "address"),
    [("h:1", ("h", 1)), ("0.0.0.0:0", ("0.0.0.0", 0)), (":8080", ("", 8080)), ("[::1]:80", ("::1", 80))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["h", "h:", "h:x", "h:-1", "h:65536", "h:١"])
def test_addresses_without_a_port(text: str) -> None:
    with pytest.raises(ValueError, match="write host:port"):
        split_address(text)
