"""No password, token or configured secret stands in a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.telemetry.secrets import _PATTERNS, Secrets

SECRET = "hun:ter/2@x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql://root:hunter2@db:3306/dtm is away", "mysql://root:…@db:3306/dtm is away"),
        (f"root:{SECRET}@tcp(db:3306)/user?a=b", "root:…@tcp(db:3306)/user?a=b"),
        ("password=hunter2, user=root", "password=…, user=root"),
        ('{"token": "hunter2", "gid": "g1"}', '{"token": "…", "gid": "g1"}'),
        ("Authorization: Bearer hunter2.abc", "Authorization: Bearer …"),
        ("api-key: hunter2", "api-key: …"),
        ("cannot reach http://me:hunter@2@branch/do", "cannot reach http://me:…@branch/do"),
        ('{"password" : "hunter two", "gid": "g1"}', '{"password" : "…", "gid": "g1"}'),
        (r'{"error":"{\"token\": \"hunter2\"}"}', r'{"error":"{\"token\": \"…\"}"}'),
        ("no: Authorization: ApiKey hunter2== is unknown", "no: Authorization: … is unknown"),
        ('{"Authorization":"Bearer hunter2"}', '{"Authorization":"Bearer …"}'),
        ("https://hook/send?access_token=hunter2&x=1", "https://hook/send?access_token=…&x=1"),
    ],
)
def test_a_secret_is_recognised_by_what_stands_around_it(text: str, shown: str) -> None:
    assert Secrets().hidden(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Access denied for user 'root'@'localhost' (using password: YES)",
        "url:http://127.0.0.1:8080/a return failed: no money FAILURE",
        "url:http://127.0.0.1:8080/a answered; ask me@example.org",
        "etcd://h1:2379,h2:2379/user.rpc/user.User/saveUser answered nothing",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Secrets().hidden(text) == text


_PIECES = (
    "password",
    "PassWd",
    "pa\u017f\u017fword",
    "pwd",
    "TOKEN",
    "to\u212aen",
    "api_key",
    "api-key",
    "Secret",
)
_OTHERS = (
    "authorization",
    "Cookie",
    "bearer ",
    "Basic ",
    "://",
    ":",
    "@",
    "@tcp(",
    "=",
    '"',
    " ",
    "hunter2",
    "é",
)


@given(st.lists(st.sampled_from(_PIECES + _OTHERS), max_size=8).map("".join))
def test_a_text_is_never_taken_for_one_without_secrets_where_a_pattern_would_find_one(text: str) -> None:
    shown = text
    for pattern, replacement in _PATTERNS:
        shown = pattern.sub(replacement, shown)
    assert Secrets().hidden(text) == shown


def test_what_the_configuration_says_is_secret_is_hidden_wherever_it_stands() -> None:
    secrets = Secrets(["hunter2", "hunter2-longer", "", "abc"])
    assert secrets.hidden("x hunter2-longer y hunter2 abc") == "x … y … abc"
    assert secrets.hidden_field("url", "http://h/hunter2") == "http://h/…"


@pytest.mark.parametrize(
    "key", ["password", "Authorization", "db_password", "access_token", "branch_headers"]
)
def test_a_field_with_the_name_of_a_secret_shows_nothing(key: str) -> None:
    assert Secrets().hidden_field(key, {"any": "thing"}) == "…"


@pytest.mark.parametrize("value", [1, 1.5, True, None])
def test_numbers_stay_numbers(value: object) -> None:
    assert Secrets().hidden_field("count", value) is value


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    ["x", ":", "token", "a:b@", "://", "password ", "@tcp", "://u:", '"token":"', "authorization: a "],
)
def test_a_huge_line_is_no_trouble(piece: str) -> None:
    assert Secrets().hidden(piece * (400_000 // len(piece)))
