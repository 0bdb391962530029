"""The parameters of `all`, `scanKV` and `resetCronTime`: text → numbers, times and a Filter (PROTOCOL §3)."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from coordinator.api.decode import clean
from coordinator.api.fields import INT64_MAX
from coordinator.errors import Invalid
from coordinator.model import EPOCH
from coordinator.store.base import KeyValue
from coordinator.store.listed import Filter, Listed

PAGE_DEFAULT: Final = 100  # rows
PAGE_MAX: Final = 1000  # rows; also what `limit=0` and a larger limit give
TIMEOUT_MAX: Final = 10 * 365 * 86_400  # seconds: ten years, so that now + timeout is a date
_MILLISECONDS_MAX: Final = 253_402_128_000_000  # the day before the last one of year 9999
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}", re.ASCII)


def filter_from(given: Mapping[str, str]) -> Filter:
    """The filter that `all` was asked for; with a gid all others are ignored.

    Raises Invalid for what is no number, or no time between 1970 and 9999.
    """
    if gid := clean(given.get("gid", "")):
        return Filter(gid=gid, limit=1)
    return Filter(
        status=clean(given.get("status", "")),
        trans_type=given.get("transType", ""),
        create_time_start=_moment(given, "createTimeStart"),
        create_time_end=_moment(given, "createTimeEnd"),
        limit=page_size(given),
        before_id=position(given),
    )


def position(given: Mapping[str, str]) -> int | None:
    """The parameter `position`: the id that the page begins before; None when absent. Raises Invalid."""
    value = integer(given, "position")
    if value is not None and not 0 <= value <= INT64_MAX:
        raise Invalid(f"position: must be the next_position of a previous answer, not {value}")
    return value


def page_size(given: Mapping[str, str]) -> int:
    """The parameter `limit`, from 1 to PAGE_MAX. Raises Invalid for what is no number."""
    limit = integer(given, "limit")
    if limit is None:
        return PAGE_DEFAULT
    return limit if 0 < limit <= PAGE_MAX else PAGE_MAX


def next_position_of(listed: Listed) -> str:
    """Where the next page of `all` begins, as its parameter `position`; "" after the last."""
    return "" if listed.before_id is None else str(listed.before_id)


def page_of(found: Sequence[KeyValue], limit: int) -> tuple[Sequence[KeyValue], str]:
    """Cut what was found, one row more than `limit`, to the page; say where the next one starts, or ""."""
    page = found[:limit]
    return page, str(page[-1].id) if len(found) > limit else ""


def reset_timeout(given: Mapping[str, str]) -> float | None:
    """The parameter `timeout` of resetCronTime in seconds, None when absent. Raises Invalid."""
    seconds = integer(given, "timeout")
    if seconds is None:
        return None
    if not 0 <= seconds <= TIMEOUT_MAX:
        raise Invalid(f"timeout: must be from 0 to {TIMEOUT_MAX} seconds, but is {seconds}")
    return float(seconds)


def integer(given: Mapping[str, str], name: str) -> int | None:
    """The parameter as an integer, None when it is absent or empty. Raises Invalid."""
    value = given.get(name, "")
    if not value:
        return None
    if _INTEGER.fullmatch(value) is None:
        raise Invalid(f"convert to int error: {value}, in {name}")
    return int(value)


def _moment(given: Mapping[str, str], name: str) -> datetime | None:
    milliseconds = integer(given, name)
    if milliseconds is None:
        return None
    if not 0 <= milliseconds <= _MILLISECONDS_MAX:
        raise Invalid(
            f"{name}: must be milliseconds since 1970, at most {_MILLISECONDS_MAX}, but is {milliseconds}"
        )
    return EPOCH + timedelta(milliseconds=milliseconds)
