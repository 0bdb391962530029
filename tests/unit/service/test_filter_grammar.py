"""The filter grammar: what each term means, and what is said of mistakes."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import Invalid
from coordinator.service.filter_grammar import parse_filter
from coordinator.store.search import Search, Terms


@pytest.mark.parametrize(
    ("text", "search"),
    [
        ("", Search()),
        ("   ", Search()),
        ("status:aborting", Search(status=Terms(("aborting",)))),
        ("status:aborting status:submitted", Search(status=Terms(("aborting", "submitted")))),
        ("-status:succeed -status:failed", Search(status=Terms(("prepared", "submitted", "aborting")))),
        ("status:failed status:aborting -status:failed", Search(status=Terms(("aborting",)))),
        ("status:failed -status:failed", Search(status=Terms(("failed",), ("failed",)))),
        ("-status:succeed type:saga", Search(status=Terms((), ("succeed",)), trans_type=Terms(("saga",)))),
        ("Type:saga", Search(trans_type=Terms(("saga",)))),
        ('endpoint:ledger error:"no stock"', Search(endpoint=Terms(("ledger",)), error=Terms(("no stock",)))),
        ('error:"a \\" b \\\\"', Search(error=Terms(('a " b \\',)))),
        ("gid:a:b/c op:action", Search(gid=Terms(("a:b/c",)), op=Terms(("action",)))),
        ("kind:timeout -kind:tls", Search(kind=Terms(("timeout",), ("tls",)))),
        ("age:>5m", Search(older_than=timedelta(minutes=5))),
        ("age:<2h age:>90s", Search(older_than=timedelta(seconds=90), younger_than=timedelta(hours=2))),
        ("-age:>1d", Search(younger_than=timedelta(days=1))),
    ],
)
def test_what_a_filter_looks_for(text: str, search: Search) -> None:
    assert parse_filter(text) == search


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("aborting", "at character 1, 'aborting' is no key:value; keys are gid, status, type"),
        ("status:aborting oh", "at character 17, 'oh' is no key:value"),
        ("status:", "at character 1, 'status:' is no key:value"),
        ("state:aborting", "there is no key 'state'; there are gid, status"),
        (
            "status:aborted",
            "status must be one of prepared, submitted, aborting, succeed, failed, not",
        ),
        ("type:sage", "type must be one of saga, msg, tcc, xa, workflow, not 'sage'"),
        ("kind:slow", "kind must be one of failure, ongoing"),
        ("age:5m", "age must be such as >5m or <2h"),
        ("age:>5w", "with s, m, h or d, not '>5w'"),
        ("age:>5m age:>6m", "age has two bounds of the same kind: >"),
        ('error:"refused', "a quote does not end"),
        ('error:""', "error has no value"),
        ("gid:a " * 21, "has more than 20 terms"),
        ("x" * 1001, "is too long: 1001 characters, at most 1000"),
    ],
)
def test_what_is_said_of_a_mistake(text: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_filter(text)
    assert said in refused.value.message


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_says_what_is_wrong(text: str) -> None:
    try:
        parse_filter(text)
    except Invalid as error:
        assert error.message.startswith("filter: ")
