"""How a timeline speaks: the catalogue, times in a zone, who is called, what an attempt gave. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from http import HTTPStatus
from typing import Final, Protocol

from coordinator.attempt import Attempt, Kind
from coordinator.discovery.logins import shown_url
from coordinator.timeline.plain import plain

NUMBER_MAX: Final = 24  # characters
NAME_MAX: Final = 60
ANSWER_MAX: Final = 240
_ANSWER_BESIDE_MAX: Final = 60
_GRPC_STATUS_MAX: Final = 16
_PLAIN_KINDS: Final = (Kind.STATUS, Kind.FAILURE)


class Words(Protocol):
    """The catalogue in one language."""

    def __call__(self, key: str, **values: object) -> str:
        """The sentence, not escaped."""
        ...


@dataclass(frozen=True, slots=True)
class Teller:
    """words: not escaped. now: aware. zone: in which times are told; None is the machine's own.

    length: how so many seconds are written.
    """

    words: Words
    now: datetime
    zone: tzinfo | None
    length: Callable[[float], str]

    def clock(self, moment: datetime) -> str:
        """The time of day."""
        return f"{self.local(moment):%H:%M:%S}"

    def day(self, moment: datetime) -> str:
        """The day."""
        return f"{self.local(moment):%Y-%m-%d}"

    def time(self, moment: datetime) -> str:
        """The time of day, before it the day where it is not today's."""
        is_today = self.day(moment) == self.day(self.now)
        return self.clock(moment) if is_today else f"{self.day(moment)} {self.clock(moment)}"

    def span(self, at: datetime, until: datetime) -> str:
        """From when until when; one time where both are the same."""
        first = self.time(at)
        if first == self.time(until):
            return first
        is_one_day = self.day(at) == self.day(until)
        last = self.clock(until) if is_one_day else f"{self.day(until)} {self.clock(until)}"
        return f"{first} – {last}"

    def local(self, moment: datetime) -> datetime:
        """The moment in the zone."""
        try:
            return moment.astimezone(self.zone)
        except (OverflowError, ValueError):  # the first and the last year, in rows of other programs
            return moment

    def who(self, branch_id: str, op: str, url: str) -> str:
        """Whom a sentence is about."""
        number, op_name, name = plain(branch_id, NUMBER_MAX), plain(op, NUMBER_MAX), name_of(url, op)
        if name and name != op_name:
            return self.words("timeline.who", number=number, op=op_name, name=name)
        return self.words("timeline.who_bare", number=number, op=op_name)

    def answered(self, attempt: Attempt) -> str:
        """What it gave, in a few words."""
        said = plain(attempt.answer, _ANSWER_BESIDE_MAX)
        if attempt.kind in _PLAIN_KINDS and attempt.status is not None:
            head = str(attempt.status) if said else _named(attempt.status)
            return f"{head} {said}".rstrip()
        if attempt.kind in (Kind.FAILURE, Kind.ONGOING):
            return f"{attempt.kind.upper()} {said}".rstrip()
        return self.words(f"timeline.kind_{attempt.kind.value}")

    def outcome(self, attempt: Attempt) -> str:
        """What it gave, without what was said."""
        if attempt.kind in _PLAIN_KINDS and attempt.status is not None:
            return _named(attempt.status)
        return self.words(f"timeline.kind_{attempt.kind.value}")

    def answered_whole(self, attempt: Attempt) -> str:
        """What it gave, with what was said."""
        said, head = plain(attempt.answer, ANSWER_MAX), self.outcome(attempt)
        return self.words("timeline.said", head=head, said=said) if said else head


def name_of(url: str, op: str = "") -> str:
    """What a step is called: the end of its url's path, but for its op."""
    path = shown_url(url[:2048]).partition("?")[0].partition("://")[2] or url[:2048]
    segments = [part for part in path.partition("?")[0].split("/")[1:] if part]
    if len(segments) > 1 and op and segments[-1].lower() == op.lower():
        segments.pop()
    return plain(segments[-1], NAME_MAX) if segments else ""


def _named(status: int) -> str:
    if 0 <= status <= _GRPC_STATUS_MAX:
        return f"gRPC {status}"
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
