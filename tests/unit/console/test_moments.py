from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.console.moments import Clockface, length

NOW = datetime(2026, 3, 1, 2, 14, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.1461, "146 ms"),
        (0.9999, "1 s"),
        (2.44, "2.4 s"),
        (3.0, "3 s"),
        (59, "59 s"),
        (192, "3 min 12 s"),
        (180, "3 min"),
        (9060, "2 h 31 min"),
        (90_000, "1 d 1 h"),
        (-1, "0 ms"),
    ],
)
def test_a_length_has_two_parts_at_most(seconds: float, text: str) -> None:
    assert length(seconds) == text


@given(st.floats(0, 1e9))
def test_no_length_is_empty_or_long(seconds: float) -> None:
    assert 3 <= len(length(seconds)) <= 14


def test_a_moment_is_shown_in_the_zone_with_how_long_ago_it_was() -> None:
    face = Clockface(NOW, timezone(timedelta(hours=8)))
    shown = face.at(NOW - timedelta(minutes=3))
    assert ">10:11:07<" in shown and 'title="− 3 min"' in shown
    assert ">2026-02-27 10:14:07<" in face.at(NOW - timedelta(days=2))
    assert ">3 min<" in face.ago(NOW - timedelta(minutes=3))
    assert face.at(None) == "–"
