"""Payloads for people: whole numbers stay whole, nothing is obeyed, no page grows without bound."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.console.payloads import Kind, payload_of, whole_payload


def shown(content: bytes) -> str:
    return whole_payload(content).text


def test_json_stands_in_lines_with_its_numbers_as_they_were_written() -> None:
    sent = b'{"from":18446744073709551615,"amount":30.10,"tiny":1e-400,"lines":[],"to":{"a":[1,2]}}'
    assert shown(sent).splitlines() == [
        "{",
        '  "from": 18446744073709551615,',
        '  "amount": 30.10,',
        '  "tiny": 1e-400,',
        '  "lines": [],',
        '  "to": {',
        '    "a": [',
        "      1,",
        "      2",
        "    ]",
        "  }",
        "}",
    ]


def test_a_key_that_is_given_twice_is_shown_twice() -> None:
    assert shown(b'{"a":1,"a":2}').count('"a"') == 2


def test_other_text_is_shown_as_it_is_and_bytes_as_hexadecimal() -> None:
    assert whole_payload(b"hello\nworld").kind is Kind.TEXT
    assert shown(b"hello\nworld") == "hello\nworld"
    assert shown(b"\xff\x00A") == f"00000000  ff 00 41{' ' * 42}..A"
    assert whole_payload(b"").kind is Kind.EMPTY


def test_what_turns_text_round_is_escaped_and_stays_the_same_value() -> None:
    sent = json.dumps({"name": "\u202eevil", "half": "\ud800"}, ensure_ascii=True).encode()
    assert json.loads(shown(sent)) == json.loads(sent)
    assert "\u202e" not in shown('{"name": "\u202eevil"}'.encode())
    assert "\\u202e" in shown("\u202eevil".encode())


@pytest.mark.parametrize("sent", [b"[" * 60_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b"9" * 60_000])
def test_the_deepest_and_the_longest_are_bounded(sent: bytes) -> None:
    made = payload_of(sent, lines_max=12)
    assert len(made.text) < 30_000
    assert len(made.text.splitlines()) <= 12
    assert made.is_cut


def test_what_is_longer_than_its_place_says_so() -> None:
    assert not payload_of(b"[1,2]", lines_max=4).is_cut
    assert payload_of(b"[1,2,3]", lines_max=4).is_cut


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON, st.booleans())
def test_json_in_lines_is_the_same_json(value: object, is_ascii: bool) -> None:
    sent = json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    if whole_payload(sent).kind is Kind.JSON:
        assert json.loads(shown(sent)) == json.loads(sent)


@given(st.binary(max_size=200))
def test_anything_can_be_shown(content: bytes) -> None:
    for made in (payload_of(content, lines_max=5), whole_payload(content)):
        made.text.encode()
        assert made.text.replace("\n", "").isprintable() or made.kind is not Kind.BYTES
