"""The attempts of each branch, with what changed from one to the next. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from coordinator.attempt import Attempt
from coordinator.discovery.logins import shown_url
from coordinator.model import BranchKey, Result
from coordinator.timeline.plain import plain
from coordinator.timeline.teller import ANSWER_MAX, NUMBER_MAX, Teller

_URL_MAX = 300


@dataclass(frozen=True, slots=True)
class Tried:
    """Calls that went the same way. calls: `1`, `2–28`. changes: what was different before; sentences."""

    calls: str
    when: str
    shape: str  # of its mark
    answer: str
    said: str
    took: str
    code: str
    changes: tuple[str, ...]
    is_gap: bool = False  # of some in between nothing is kept


@dataclass(frozen=True, slots=True)
class Branch:
    """All that is kept of one branch's attempts."""

    branch_id: str
    op: str
    url: str
    attempts: tuple[Tried, ...]


def tried_branches(attempts: Sequence[Attempt], teller: Teller) -> list[Branch]:
    """Those branches of which a call gave no success, the latest first."""
    by_key: dict[BranchKey, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda it: it.number):
        by_key.setdefault((attempt.branch_id, attempt.op), []).append(attempt)
    latest = sorted(by_key.values(), key=lambda it: it[-1].last, reverse=True)
    return [
        Branch(
            plain(its[-1].branch_id, NUMBER_MAX),
            plain(its[-1].op, NUMBER_MAX),
            plain(shown_url(its[-1].url), _URL_MAX),
            tuple(_tried(its, teller)),
        )
        for its in latest
    ]


def _tried(attempts: Sequence[Attempt], teller: Teller) -> Iterator[Tried]:
    call, before = 1, None
    for attempt in attempts:
        missing = attempt.number - (before.number if before else 0) - 1
        if missing:
            gap = teller.words("transaction.not_kept", count=missing)
            yield Tried("…", "", "", gap, "", "", "", (), is_gap=True)
        last = call + attempt.times - 1
        yield Tried(
            f"{call:,}" if last == call else f"{call:,}–{last:,}",
            teller.span(attempt.began, attempt.last),
            "ongoing" if attempt.result is Result.ONGOING else "failed",
            teller.outcome(attempt),
            plain(attempt.answer, ANSWER_MAX),
            teller.length(attempt.seconds),
            attempt.kind.value,
            tuple(_changes(before, attempt, teller)) if before else (),
        )
        call, before = last + 1, attempt


def _changes(before: Attempt, after: Attempt, teller: Teller) -> Iterator[str]:
    words = teller.words
    if (before.kind, before.status) != (after.kind, after.status):
        yield words("transaction.changed_answer", was=teller.outcome(before))
    elif before.fingerprint != after.fingerprint:
        yield words("transaction.changed_text")
    if before.url != after.url:
        yield words("transaction.changed_url", was=plain(shown_url(before.url), _URL_MAX))
    if before.coordinator != after.coordinator:
        yield words("transaction.changed_coordinator", now=plain(after.coordinator, NUMBER_MAX * 3))
