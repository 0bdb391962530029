"""What did not go well: attempts, their kinds, what is stuck, and which errors are alike. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import orjson

from coordinator.model import BranchKey, Result, Status

ANSWER_BYTES_MAX: Final = 2048  # of what a branch answered, as it is kept
FIRST_KEPT: Final = 3  # attempts of one branch and op, and after them the last so many
LAST_KEPT: Final = 17
ROWS_AT_ONCE: Final = 17  # that one branch may have written, and after them one more in so many seconds
SECONDS_A_ROW: Final = 900  # three hours of failing write 17 + 12 rows, whatever is answered
FINGERPRINT_MAX: Final = 160  # characters
ENDPOINT_MAX: Final = 255  # characters

_LOOKED_AT: Final = 1000  # characters of an error; what tells errors apart stands in front
_WORD: Final = re.compile(r"[\w-]+")
_HEX: Final = re.compile(r"[0-9a-fA-F-]{8,}")
_DIGIT: Final = re.compile(r"\d")
_SEVERAL: Final = re.compile(r"#(?:[\s.,:;/+-]{0,2}#)+")
_ID: Final = "#"
_ANSWERED: Final = re.compile(r"[a-z]+ (\d{1,9}):")

_TRIED: Final = "tried"
_STUCK: Final = "stuck"
_MARKS: Final = (f'"{_TRIED}":', f'"{_STUCK}":')
_TRIED_MAX: Final = 24  # branches that one transaction remembers: ext_data has 64 kB
_RESERVED: Final = 8  # rows that only another error may take, so that counts do not keep it from being told
_COUNT_MAX: Final = 2**31 - 1  # columns hold it; any number may stand in a row
_TIME_MAX: Final = 2**32


class Kind(StrEnum):
    """What kept a branch call from success."""

    FAILURE = "failure"  # the branch says that the transaction must be rolled back
    ONGOING = "ongoing"  # the branch asks to be called again later
    STATUS = "status"  # any other status, HTTP's or gRPC's
    TIMEOUT = "timeout"  # no answer in time
    REFUSED = "refused"  # nobody takes the connection, or no way leads there
    DNS = "dns"  # the name leads nowhere, or nobody says where
    TLS = "tls"  # a certificate or handshake that was not taken
    PLACE = "place"  # the configuration lets no branch be called there
    BROKEN = "broken"  # the connection broke, or what came is not an answer
    URL = "url"  # the url, the payload or a header cannot be sent
    FULL = "full"  # this coordinator had no connection free for it
    STOPPING = "stopping"  # this coordinator was on its way out: the branch is not to blame


@dataclass(frozen=True, slots=True)
class Attempt:
    """Calls of one branch that gave no success and share a row: equal ones that followed each other.

    Where errors differ faster than rows may be written, those in between are counted with them.
    """

    gid: str
    branch_id: str
    op: str
    place: int  # 0, 1, 2: the first three; from 3 on a ring of 17, which the latest take over
    number: int  # counts from 1; those that share a row count once
    result: Result  # never SUCCESS
    kind: Kind
    status: int | None  # HTTP's or gRPC's, where the branch spoke
    url: str  # without a password
    endpoint: str  # scheme, host and port, or gRPC target; empty where it cannot be called
    answer: str  # what the branch said, or why nothing came; at most 2,048 bytes, without secrets
    fingerprint: str
    coordinator: str  # instance name of who called
    began: datetime  # of the first call; aware, UTC
    last: datetime  # when the latest of these calls ended, as far as it was noted
    seconds: float  # that the latest call took
    times: int  # calls that share the row, as far as it was noted


@dataclass(frozen=True, slots=True)
class Stuck:
    """An unfinished transaction whose last round was held up by a branch; one row of `dtm_stuck`."""

    gid: str
    trans_type: str
    status: Status
    branch_id: str
    op: str
    endpoint: str
    kind: Kind
    fingerprint: str  # alike for errors that differ in digits, ids and times alone
    error: str  # as it first was; at most 1,024 characters
    coordinator: str
    since: datetime  # no round has gone well since then; aware, UTC

    @property
    def answered(self) -> int | None:
        """HTTP's status or gRPC's, where the branch spoke: its fingerprint begins with it."""
        found = _ANSWERED.match(self.fingerprint)
        return int(found[1]) if found else None


def fingerprint(kind: Kind, status: int | None, text: str, gid: str) -> str:
    """What all errors of one cause share: the text without digits, ids, hexadecimal numbers, times and ports.

    `timeout: http://# gave no answer within # s`. gid: left out wherever the text names it.
    """
    head = f"{kind}: " if status is None else f"{kind} {status}: "
    text = text[:_LOOKED_AT].replace(gid, _ID) if gid else text[:_LOOKED_AT]
    text = _SEVERAL.sub(_ID, _WORD.sub(_plain, text))
    return (head + " ".join(text.split()))[:FINGERPRINT_MAX].rstrip()


def _plain(word: re.Match[str]) -> str:
    return _ID if _DIGIT.search(word[0]) or _HEX.fullmatch(word[0]) else word[0]


def place_of(number: int) -> int:
    """Where the attempt of this number, counted from 1, is kept: the first for good, the others in a ring."""
    return number - 1 if number <= FIRST_KEPT else FIRST_KEPT + (number - FIRST_KEPT - 1) % LAST_KEPT


def is_noted(times: int) -> bool:
    """Whether the count of equal attempts is written when it gets there: at 1, 2, 3, 4, 6, 8, 12, 16, 24 …

    In between it stands in the transaction's ext_data alone, which is written anyhow.
    """
    power = times if times % 3 else times // 3
    return power & (power - 1) == 0


@dataclass(frozen=True, slots=True)
class Tried:
    """What a transaction remembers of one branch's latest attempt.

    cause: a short digest of its fingerprint. began: seconds since 1970. spent_until: when as many rows may be
    written at once as at first; each that is written moves it on.
    """

    number: int
    times: int
    began: int
    cause: str
    spent_until: int = 0

    def rows_free(self, now: int) -> int:
        """How many rows may be written of this branch; now: seconds since 1970."""
        spent = -(-max(self.spent_until - now, 0) // SECONDS_A_ROW)  # rounded up
        is_ours = spent <= 2 * ROWS_AT_ONCE  # and not another program's, or a clock's that was wrong
        return max(ROWS_AT_ONCE - spent, 0) if is_ours else ROWS_AT_ONCE

    def with_row(self, now: int) -> "Tried":
        """The same when one more row has been written."""
        spent = now if self.rows_free(now) == ROWS_AT_ONCE else max(self.spent_until, now)
        return replace(self, spent_until=min(spent + SECONDS_A_ROW, now + ROWS_AT_ONCE * SECONDS_A_ROW))


def after(before: Tried | None, cause: str, began: int, now: int) -> tuple[Tried, bool]:
    """What is remembered of one more attempt, and whether its row is to be written.

    One that went as the one before shares its row; so does one that went otherwise while no row is free: it
    is counted there, and told if it comes again when one is. began, now: seconds since 1970.
    """
    if before is None:
        return Tried(1, 1, began, cause, now).with_row(now), True
    free = before.rows_free(now)
    if before.cause != cause and free:
        return Tried(before.number + 1, 1, began, cause, before.spent_until).with_row(now), True
    tried = replace(before, times=before.times + 1)
    if before.cause == cause and free > _RESERVED and is_noted(tried.times):
        return tried.with_row(now), True
    return tried, False


@dataclass(frozen=True, slots=True)
class Notes:
    """What the ext_data of a transaction says of attempts. since, cause: of its row in `dtm_stuck`."""

    tried: Mapping[BranchKey, Tried] = field(default_factory=dict)  # the latest last
    since: int = 0  # seconds since 1970; 0: it has no row there
    cause: str = ""


NO_NOTES: Final = Notes()


def remembered(
    before: Mapping[BranchKey, Tried], latest: Mapping[BranchKey, Tried]
) -> dict[BranchKey, Tried]:
    """Both, the latest last; of the latest those that were known already, which so go on being known."""
    others = {key: it for key, it in before.items() if key not in latest}
    new = {key: it for key, it in latest.items() if key not in before}
    return others | new | {key: it for key, it in latest.items() if key in before}


def is_beyond_memory(before: Mapping[BranchKey, Tried], latest: Mapping[BranchKey, Tried]) -> bool:
    """Whether as many as a transaction remembers go on failing: no other can be counted beside them."""
    return len(latest) > _TRIED_MAX and len(before.keys() & latest.keys()) >= _TRIED_MAX


def has_notes(ext_data: str) -> bool:
    """Whether anything of attempts is in it, at the cost of a look."""
    return bool(ext_data) and any(mark in ext_data for mark in _MARKS)


def takes_notes(ext_data: str) -> bool:
    """Whether anything can be noted in it: another program may have written what is no JSON object."""
    return kept_in(ext_data) is not None


def notes_of(ext_data: str) -> Notes:
    """What it says; nothing where another program wrote something else there."""
    if not has_notes(ext_data):
        return NO_NOTES
    found = kept_in(ext_data) or {}
    tried: dict[BranchKey, Tried] = {}
    for entry in _list(found.get(_TRIED)):
        match entry:
            case [str(branch_id), str(op), int(number), int(times), int(began), str(cause), int(spent)]:
                tried[branch_id, op] = Tried(
                    _bounded(number), _bounded(times), _time(began), cause, _time(spent)
                )
    match found.get(_STUCK):
        case [int(since), str(cause)]:
            return Notes(tried, _time(since), cause)
    return Notes(tried)


def with_notes(ext_data: str, notes: Notes) -> str:
    """The same ext_data with these; unchanged when another program wrote what is no JSON object."""
    found = kept_in(ext_data)
    if found is None:
        return ext_data
    kept = {name: value for name, value in found.items() if name not in (_TRIED, _STUCK)}
    if tried := list(notes.tried.items())[-_TRIED_MAX:]:
        kept[_TRIED] = [[*key, it.number, it.times, it.began, it.cause, it.spent_until] for key, it in tried]
    if notes.since:
        kept[_STUCK] = [notes.since, notes.cause]
    return orjson.dumps(kept).decode() if kept else ""


def _bounded(count: int) -> int:
    return min(max(count, 1), _COUNT_MAX)


def _time(seconds: int) -> int:
    return min(max(seconds, 0), _TIME_MAX)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def kept_in(ext_data: str) -> dict[str, Any] | None:
    """What ext_data holds by name; None where another program wrote what is no JSON object."""
    try:
        found = orjson.loads(ext_data or "{}")
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
