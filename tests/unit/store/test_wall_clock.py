"""Times in columns: whole seconds of one zone's wall clock (PROTOCOL §9)."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.store.wall_clock import WallClock, has_summer_time, offsets_of, rounded_up

EAST = timezone(timedelta(hours=8))
NOON = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


def test_a_time_is_written_as_the_wall_clock_shows_it() -> None:
    assert WallClock(UTC).text(NOON) == "2026-03-04 12:00:00"
    assert WallClock(EAST).text(NOON) == "2026-03-04 20:00:00"


def test_a_time_may_be_written_with_its_offset() -> None:
    assert WallClock(EAST, offsets=True).text(NOON) == "2026-03-04 20:00:00+08:00"
    west = timezone(timedelta(hours=-3, minutes=-30))
    assert WallClock(west, offsets=True).text(NOON) == "2026-03-04 08:30:00-03:30"


def test_a_column_that_holds_instants_is_read_whatever_the_zone() -> None:
    assert WallClock(EAST).time("2026-03-04 12:00:00+00") == NOON
    assert WallClock(EAST).time(NOON) == NOON


def test_fractions_are_cut_for_what_happened_and_rounded_up_for_what_is_due() -> None:
    clock = WallClock(UTC)
    late = NOON + timedelta(microseconds=1)
    assert clock.text(late) == "2026-03-04 12:00:00"
    assert clock.text_rounded_up(late) == "2026-03-04 12:00:01"
    assert clock.text_rounded_up(NOON) == "2026-03-04 12:00:00"


@pytest.mark.parametrize("stored", ["2026-03-04 20:00:00", datetime(2026, 3, 4, 20, 0, 0)])  # noqa: DTZ001
def test_columns_are_read_in_the_same_zone(stored: str | datetime) -> None:
    assert WallClock(EAST).time(stored) == NOON


@pytest.mark.parametrize("stored", [None, "", "0000-00-00 00:00:00", "soon"])
def test_what_is_no_time_is_none(stored: str | None) -> None:
    assert WallClock(UTC).time(stored) is None


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.sampled_from([UTC, EAST, timezone(timedelta(hours=-3, minutes=-30)), None]),
)
def test_a_whole_second_comes_back(time: datetime, zone: tzinfo | None) -> None:
    clock = WallClock(zone)
    if zone is None:  # the process's own may have hours that happen twice
        assert clock.time(clock.text(time)) is not None
        return
    assert clock.time(clock.text(time)) == time.replace(microsecond=0)
    assert clock.time(clock.text_rounded_up(time)) == rounded_up(time)
    assert timedelta(0) <= rounded_up(time) - time < timedelta(seconds=1)


def test_zones_that_put_their_clocks_back_are_known() -> None:
    assert has_summer_time(ZoneInfo("Europe/Berlin"), 2026)
    assert not has_summer_time(ZoneInfo("Asia/Shanghai"), 2026)
    assert not has_summer_time(EAST, 2026)


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        (timezone(timedelta(hours=8)), "+08:00"),
        (ZoneInfo("Asia/Shanghai"), "+08:00"),  # an offset and a zone that has it all year are the same
        (UTC, "+00:00"),
        (ZoneInfo("Asia/Kolkata"), "+05:30"),
        (ZoneInfo("Europe/Berlin"), "+01:00, from April +02:00, from November +01:00"),
        (ZoneInfo("America/New_York"), "-05:00, from March -04:00, from November -05:00"),
        (ZoneInfo("Australia/Sydney"), "+11:00, from April +10:00, from October +11:00"),
    ],
    ids=str,
)
@pytest.mark.parametrize("year", [2024, 2026, 2027, 2028])
def test_a_zone_is_compared_by_its_offsets_whatever_the_year(zone: tzinfo, shown: str, year: int) -> None:
    assert offsets_of(zone, year) == shown
    assert WallClock(zone).zone_shown(year) == shown
