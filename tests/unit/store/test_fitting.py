"""Words for people fit their column whatever they are; what clients gave is told why it does not."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import Invalid
from coordinator.model import Status, Transaction
from coordinator.store.base import Assign, Change
from coordinator.store.fitting import (
    _CODECS,
    TextColumn,
    attempts,
    column_of,
    fitted,
    named,
    problem_of,
    without_unfit_trace,
)

REASON = "url:http://bank/余额 return failed: 余额不足 😀 FAILURE"


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (TextColumn(1024, 4096, "utf8mb4"), REASON),
        (TextColumn(1024, 3072, "utf8mb3"), REASON.replace("😀", "\N{REPLACEMENT CHARACTER}")),
        (TextColumn(1024, 1024, "latin1"), "url:http://bank/?? return failed: ???? ? FAILURE"),
        (TextColumn(1024, None, "LATIN1"), "url:http://bank/?? return failed: ???? ? FAILURE"),
        (TextColumn(30, None, "UTF8"), "url:http://bank…余额不足 😀 FAILURE"),
        (TextColumn(30, 30, "latin1"), "url:http://bank…???? ? FAILURE"),
        (TextColumn(30, None, "LATIN1"), "url:http://ban...??? ? FAILURE"),
        (TextColumn(3, None, "LATIN1"), "url"),
    ],
)
def test_words_are_replaced_and_cut_in_the_middle(column: TextColumn, text: str) -> None:
    assert fitted(REASON, column) == text
    assert problem_of(fitted(REASON, column), column) == ""


@given(
    st.text(max_size=60) | st.text(st.characters(), max_size=60),
    st.none() | st.integers(0, 50),
    st.none() | st.integers(0, 80),
    st.sampled_from([*_CODECS, "gbk", "EUC_JP", "of the future"]),
)
def test_whatever_is_fitted_fits(text: str, characters: int | None, size: int | None, kind: str) -> None:
    column = TextColumn(characters, size, kind)
    words = fitted(text, column)
    encoded = words.encode(column.codec)  # raises where a character has no place
    assert characters is None or len(words) <= characters
    assert size is None or len(encoded) <= size
    assert problem_of(words, column) == ""
    if not problem_of(text, column):
        assert words == text


@pytest.mark.parametrize("character_set", _CODECS)
def test_every_character_set_has_a_codec_that_is_there(character_set: str) -> None:
    codecs.lookup(TextColumn(character_set=character_set).codec)


def change(*, by_driver: bool, **values: str) -> Change:
    return Change("g", frozenset({Status.SUBMITTED}), "o", assign=Assign(**values), by_driver=by_driver)  # type: ignore[arg-type]


def test_a_driver_is_not_refused_for_its_words() -> None:
    """Narrower than the catalogue said, or of another character set: in the end it goes without words."""
    columns = {"rollback_reason": TextColumn(100, None, "UTF8")}
    tried = [
        it.assign.rollback_reason
        for it in attempts(change(by_driver=True, rollback_reason="漢" * 200), columns)
    ]
    assert [len(it) if it is not None else None for it in tried] == [100, 64, None]
    assert tried[1] is not None and tried[1].isascii()


def test_a_mark_that_does_not_fit_is_left_out() -> None:
    columns = {"ext_data": TextColumn(10)}
    [first, *_] = attempts(change(by_driver=True, ext_data='{"alerted":true}'), columns)
    assert first.assign.ext_data is None
    [first, *_] = attempts(change(by_driver=True, ext_data="{}"), columns)
    assert first.assign.ext_data == "{}"


def test_what_clients_gave_is_never_changed() -> None:
    columns = {"rollback_reason": TextColumn(10, None, "LATIN1"), "ext_data": TextColumn(3)}
    given = change(by_driver=False, rollback_reason="漢" * 200, custom_data="漢")
    assert list(attempts(given, columns)) == [given]


def test_a_refusal_names_the_value() -> None:
    columns = {"gid": TextColumn(128, None, "LATIN1"), "custom_data": TextColumn(5, None, "LATIN1")}
    error = Invalid("the store refused a value: no equivalent")
    assert named(error, Assign(custom_data="fine"), (), columns) is error
    assert "custom_data is too long for its column in the store: 6 characters, at most 5" in str(
        named(error, Assign(custom_data="longer"), (), columns)
    )
    assert "custom_data holds '\\u6f22'" in str(named(error, Assign(custom_data="漢"), (), columns))


def test_a_trace_that_cannot_be_kept_refuses_no_submit() -> None:
    traced = Transaction("g", "saga", Status.SUBMITTED, ext_data='{"traceparent":"00-…"}')
    assert without_unfit_trace(traced, {}) is traced
    assert without_unfit_trace(traced, {"ext_data": column_of(20, 20, "latin1")}).ext_data == ""
    assert without_unfit_trace(traced, {"ext_data": column_of(65_535, 65_535, "utf8mb4")}) is traced
