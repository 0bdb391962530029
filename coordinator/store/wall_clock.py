"""Times in columns: wall clock of one zone in whole seconds, as all coordinators over the tables write them.

Inside the program all times are aware and UTC (PROTOCOL §9).
"""

import math
import re
from calendar import month_name
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final

from coordinator.model import EARLIEST, LATEST

SQL_FORMAT = "%Y-%m-%d %H:%M:%S"

# What every kind of database holds in a datetime column, in every zone.
_SECOND_MIN = int(datetime(1000, 1, 2, tzinfo=UTC).timestamp())
_SECOND_MAX = int(datetime(9999, 12, 30, tzinfo=UTC).timestamp())
_SECONDS_REMEMBERED: Final = 64  # rows written together share a few: now, and the ends of their leases
_YEARS = re.compile(r"([0-9]{4,})-")


class WallClock:
    """Translates between aware times and what a datetime column holds.

    zone: TimeZoneOffset of the configuration; None is the process's own zone. offsets: texts end in the
    offset from UTC. PostgreSQL takes it into account for a column with time zone, which holds the instant,
    and passes over it for one without.
    """

    def __init__(self, zone: tzinfo | None = None, *, offsets: bool = False) -> None:
        self._zone = zone
        self.offsets = offsets
        self._of_second = lru_cache(_SECONDS_REMEMBERED)(self._text_of)

    def text(self, time: datetime) -> str:
        """The second that the aware time lies in, as `YYYY-MM-DD HH:MM:SS`, perhaps with `+HH:MM`."""
        return self._of_second(math.floor(time.timestamp()))

    def text_rounded_up(self, time: datetime) -> str:
        """The first whole second not before the aware time: nothing becomes due too early."""
        return self._of_second(math.ceil(time.timestamp()))

    def zone_shown(self, year: int) -> str:
        """The zone, as that of another program is compared with it; see offsets_of."""
        return offsets_of(self._zone, year)

    def _text_of(self, second: int) -> str:
        kept = min(max(second, _SECOND_MIN), _SECOND_MAX)
        local = datetime.fromtimestamp(kept, UTC).astimezone(self._zone)
        return local.isoformat(" ") if self.offsets else local.strftime(SQL_FORMAT)

    def time(self, stored: object) -> datetime | None:
        """The aware UTC time of a column's value; None for NULL and for what is no time.

        Of times that are no dates in UTC, or to PostgreSQL alone, EARLIEST or LATEST.
        """
        moment = stored
        if isinstance(stored, str):
            try:
                moment = datetime.fromisoformat(stored)
            except ValueError:
                return _beyond_dates(stored)
        if not isinstance(moment, datetime):
            return None
        try:
            if self._zone is None or moment.tzinfo is not None:
                return moment.astimezone(UTC)
            return moment.replace(tzinfo=self._zone).astimezone(UTC)
        except (OverflowError, ValueError, OSError):
            return EARLIEST if moment.year < LATEST.year else LATEST


def _beyond_dates(stored: str) -> datetime | None:
    # What PostgreSQL says of years before Christ or after 9999, and of its infinities.
    if stored == "-infinity" or stored.endswith(" BC"):
        return EARLIEST
    years = _YEARS.match(stored)
    later_than_dates = years is not None and int(years[1][:9]) > LATEST.year
    return LATEST if later_than_dates or stored == "infinity" else None


def has_summer_time(zone: tzinfo | None, year: int) -> bool:
    """True when clocks of the zone are put forward and back: an hour's times are then there twice.

    zone: None is the process's own.
    """
    offsets = {datetime(year, month, 1, tzinfo=UTC).astimezone(zone).utcoffset() for month in range(1, 13)}
    return len(offsets) > 1


def offsets_of(zone: tzinfo | None, year: int) -> str:
    """The zone's offset from UTC, as two zones are compared: `+08:00`, or `+01:00, from April +02:00, …`.

    zone: None is the process's own. In the middle of a month no clock of the world is being changed.
    """
    texts: list[str] = []
    last = ""
    for month in range(1, 13):
        offset = datetime(year, month, 15, tzinfo=UTC).astimezone(zone).isoformat()[19:]
        if offset != last:
            texts.append(f"from {month_name[month]} {offset}" if texts else offset)
        last = offset
    return ", ".join(texts)


def rounded_up(time: datetime) -> datetime:
    """The first whole second not before the aware time."""
    return time if time.microsecond == 0 else time.replace(microsecond=0) + timedelta(seconds=1)
