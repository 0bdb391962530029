"""Which results payloads need, and what they make of them (PROTOCOL §6, *here*)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.model import Place
from coordinator.results import (
    RESULT_BYTES_MAX,
    NoResult,
    filled,
    keeps,
    marked,
    path_of,
    places_of,
    plain_url,
    problem_of,
    template,
    text_of,
    uses,
    value_at,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("$", ()),
        ("$.id", ("id",)),
        ("$.order.lines[0].sku-code", ("order", "lines", 0, "sku-code")),
        ('$["any name"]["a\\"b"][12]', ("any name", 'a"b', 12)),
    ],
)
def test_a_path_says_what_of_a_result_is_meant(text: str, path: tuple[str | int, ...]) -> None:
    assert path_of(text) == path
    assert path_of(text_of(path)) == path


@pytest.mark.parametrize(
    "text", ["", "id", "$id", "$.", "$..id", "$.a[*]", "$[-1]", "$[01]", '$["a]', "$.a ", "$" + ".a" * 200]
)
def test_what_is_no_path_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no path"):
        path_of(text)


def test_a_payload_is_filled_with_what_steps_answered() -> None:
    places = [Place("$.reservation", 0, "$.id"), Place("$.lines[1]", 2, "$.first[0]")]
    stored = template(b'{"amount": 30, "reservation": null, "lines": ["a", null]}', places)
    assert places_of(stored) == tuple(places)
    sent = filled(stored, {0: b'{"id": "r-7"}', 2: b'{"first": [{"sku": 1}]}'})
    assert json.loads(sent) == {"amount": 30, "reservation": "r-7", "lines": ["a", {"sku": 1}]}


def test_a_whole_result_is_sent_as_it_came() -> None:
    stored = template(b"", [Place("$", 0, "$")])
    assert filled(stored, {0: b"\x0a\x01\xff, no JSON"}) == b"\x0a\x01\xff, no JSON"
    assert filled(stored, {}, missing_is_null=True) == b"null"


def test_numbers_keep_their_digits() -> None:
    stored = template(b'{"a": 12345678901234567890123, "b": null}', [Place("$.b", 0, "$")])
    assert filled(stored, {0: b"98765432109876543210987"}) == (
        b'{"a":12345678901234567890123,"b":98765432109876543210987}'
    )


def test_what_is_not_there_is_told_or_null() -> None:
    stored = template(b'{"a": null, "b": null}', [Place("$.a", 0, "$.id"), Place("$.b", 1, "$.x[2]")])
    with pytest.raises(NoResult, match=r"no result of step 0 is kept, which a payload needs \(\$\.id\)"):
        filled(stored, {})
    with pytest.raises(NoResult, match=r"the result of step 1 has no \$\.x\[2\], which a payload needs"):
        filled(stored, {0: b'{"id":1}', 1: b'{"x":[0,1]}'})
    assert filled(stored, {0: b'{"id":1}'}, missing_is_null=True) == b'{"a":1,"b":null}'


@pytest.mark.parametrize("payload", [b"{", b"NaN", b'{"a": Infinity}', b"[" * 100_000, b"\xff"])
def test_a_payload_that_is_to_be_filled_must_be_json(payload: bytes) -> None:
    with pytest.raises(ValueError, match="the payload is no JSON"):
        template(payload, [Place("$", 0, "$")])


def test_a_place_that_the_payload_lacks_is_told() -> None:
    with pytest.raises(ValueError, match=r"\[1\].at: the payload has no \$\.b"):
        template(b'{"a": null}', [Place("$.a", 0, "$"), Place("$.b[0]", 0, "$")])


@pytest.mark.parametrize("others", [["$.a"], ["$.a", "$.a.b"], ["$.a.b", "$"], ["$", "$.c"]])
def test_two_places_are_apart(others: list[str]) -> None:
    places = [Place("$.a", 0, "$"), *[Place(at, 0, "$") for at in others]]
    with pytest.raises(ValueError, match=r"\].at: \$[.a-c]* lies within another's place, or is it"):
        template(b'{"a": {"b": 0}, "c": 0}', places)


def test_what_is_nested_too_deeply_is_told() -> None:
    deep = b"[" * 900 + b"0" + b"]" * 900
    stored = template(deep, [Place("$" + "[0]" * 80, 0, "$")])
    with pytest.raises(ValueError, match="nested too deeply"):
        for _ in range(3):
            stored = template(filled(stored, {0: deep}), [Place("$" + "[0]" * 80, 0, "$")])


def test_why_a_result_cannot_be_kept() -> None:
    needed = [Place("$.x", 1, "$.id"), Place("$", 1, "$")]
    assert problem_of(b'{"id": 1}', 1, needed) == ""
    assert problem_of(b"whatever", 0, needed) == ""
    assert problem_of(b'{"ID": 1}', 1, needed) == "the result of step 1 has no $.id, which a payload needs"
    assert (
        problem_of(b"SUCCESS", 1, needed) == "the result of step 1 is no JSON, and a payload needs its $.id"
    )
    assert problem_of(b"x" * RESULT_BYTES_MAX, 0, needed) == ""
    assert problem_of(b"x" * (RESULT_BYTES_MAX + 1), 0, needed) == (
        "the result has 16385 bytes; at most 16384 are kept"
    )


@pytest.mark.parametrize("url", ["http://b/a?x=1", "localhost:50051/pkg.Service/Do", "etcd://h/k/p.S/M"])
def test_a_url_says_what_only_this_server_does(url: str) -> None:
    for is_kept in (False, True):
        for is_filled in (False, True):
            stored = marked(url, keeps=is_kept, uses=is_filled)
            assert (keeps(stored), uses(stored), plain_url(stored)) == (is_kept, is_filled, url)
    assert marked("", keeps=True, uses=True) == ""


@given(JSON, JSON, st.data())
def test_every_value_of_a_payload_can_come_from_every_value_of_a_result(
    payload: Any, result: Any, data: st.DataObject
) -> None:
    at, path = data.draw(st.sampled_from(_paths(payload))), data.draw(st.sampled_from(_paths(result)))
    if max(len(text_of(at)), len(text_of(path))) > 256:
        return
    stored = template(json.dumps(payload).encode(), [Place(text_of(at), 0, text_of(path))])
    sent = json.loads(filled(stored, {0: json.dumps(result).encode()}).decode())
    assert json.dumps(value_at(sent, at)) == json.dumps(value_at(result, path))


def _paths(value: Any) -> list[tuple[str | int, ...]]:
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [(), *[(key, *path) for key, one in inner for path in _paths(one)]]
