"""The parameters of `all` and `resetCronTime` (PROTOCOL §3)."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some

from coordinator.api.listing import PAGE_MAX, filter_from, next_position_of, page_of, page_size, reset_timeout
from coordinator.errors import Invalid
from coordinator.store.base import KeyValue
from coordinator.store.listed import Filter, Listed


def rows(*ids: int) -> list[KeyValue]:
    return [KeyValue("topics", f"t{number}", "[]", id=number) for number in ids]


def test_nothing_given_is_the_newest_hundred() -> None:
    assert filter_from({}) == Filter(limit=100)


def test_every_parameter() -> None:
    given_ = {
        "status": "succeed;\r\n",
        "transType": "saga",
        "createTimeStart": "1795427236500",
        "createTimeEnd": "0",
        "limit": "20",
        "position": "77",
    }
    assert filter_from(given_) == Filter(
        status="succeed",
        trans_type="saga",
        create_time_start=datetime(2026, 11, 23, 9, 47, 16, 500_000, tzinfo=UTC),
        create_time_end=datetime(1970, 1, 1, tzinfo=UTC),
        limit=20,
        before_id=77,
    )


def test_with_a_gid_the_others_are_ignored() -> None:
    assert filter_from({"gid": "g;1", "limit": "abc", "status": "failed"}) == Filter(gid="g1", limit=1)


@pytest.mark.parametrize(
    ("given_", "size"),
    [("", 100), ("1", 1), ("+7", 7), ("0", PAGE_MAX), ("-1", PAGE_MAX), ("1000", 1000), ("1001", PAGE_MAX)],
)
def test_the_size_of_a_page_is_bounded(given_: str, size: int) -> None:
    assert page_size({"limit": given_}) == size


BAD = [
    ({"limit": "abc"}, "convert to int error: abc, in limit"),
    ({"limit": "1.0"}, "convert to int error: 1.0, in limit"),
    ({"limit": "1_0"}, "convert to int error: 1_0, in limit"),
    ({"limit": " 1"}, "convert to int error:  1, in limit"),
    ({"limit": "١"}, "convert to int error: ١, in limit"),
    ({"position": "x"}, "convert to int error: x, in position"),
    ({"position": "-1"}, "position: must be the next_position of a previous answer, not -1"),
    ({"position": "9" * 20}, "position: must be the next_position of a previous answer"),
    ({"position": "9" * 5000}, "convert to int error: 999"),
    ({"createTimeStart": "yesterday"}, "convert to int error: yesterday, in createTimeStart"),
    ({"createTimeStart": "-1"}, "createTimeStart: must be milliseconds since 1970"),
    ({"createTimeEnd": "9" * 18}, "createTimeEnd: must be milliseconds since 1970"),
]


@pytest.mark.parametrize(("given_", "sentence"), BAD, ids=range(len(BAD)))
def test_bad_parameters_are_named(given_: dict[str, str], sentence: str) -> None:
    with pytest.raises(Invalid) as raised:
        filter_from(given_)
    assert raised.value.message.startswith(sentence)


def test_a_page_says_where_the_next_one_starts() -> None:
    assert next_position_of(Listed((), 7)) == "7"  # a page may be empty though there are more
    assert next_position_of(Listed(())) == ""


def test_what_is_scanned_says_so_too() -> None:
    assert page_of(rows(9, 8, 7), 2) == (rows(9, 8), "8")
    assert page_of(rows(9, 8), 2) == (rows(9, 8), "")
    assert page_of([], 2) == ([], "")
    assert page_of(rows(9), 1) == (rows(9), "")


@pytest.mark.parametrize(
    ("given_", "seconds"), [({}, None), ({"timeout": "0"}, 0.0), ({"timeout": "60"}, 60.0)]
)
def test_the_timeout_of_a_reset(given_: dict[str, str], seconds: float | None) -> None:
    assert reset_timeout(given_) == seconds


@pytest.mark.parametrize("bad", ["-1", "abc", "1e3", "9" * 30])
def test_a_bad_timeout_of_a_reset_is_refused(bad: str) -> None:
    with pytest.raises(Invalid):
        reset_timeout({"timeout": bad})


@given(
    some.dictionaries(
        some.sampled_from(["limit", "position", "createTimeStart", "createTimeEnd", "status", "gid"]),
        some.text() | some.integers().map(str),
    )
)
def test_any_parameters_are_a_filter_or_invalid(given_: dict[str, str]) -> None:
    try:
        wanted = filter_from(given_)
    except Invalid:
        return
    assert 1 <= wanted.limit <= PAGE_MAX
