"""What has happened to each branch, and what is expected: its marks. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from coordinator.attempt import Attempt
from coordinator.explain.play import Called
from coordinator.model import Branch, BranchKey, BranchStatus, Op, Result, TransType
from coordinator.service.operate import Explained
from coordinator.timeline.model import Mark, Shape
from coordinator.timeline.ranks import SECOND, UNDO
from coordinator.timeline.teller import Teller

AGAIN_MAX: Final = 3  # rounds that are drawn of what goes on and on
_LANE_MARKS_MAX: Final = 24
_FIRST_KEPT: Final = 4
_ORDER_AHEAD: Final = 1_000_000  # behind all that has happened in the same second


@dataclass(frozen=True, slots=True)
class Calls:
    """What is expected. first: each one's first call if all succeeds. again: later ones if it goes on."""

    first: Mapping[BranchKey, Called]
    again: Mapping[BranchKey, Sequence[Called]]
    repeats_seconds: int = 0  # what comes again and again, so far apart


def calls_of(explained: Explained) -> Calls:
    """What is expected of this transaction."""
    first: dict[BranchKey, Called] = {}
    for call in explained.succeeds.calls:
        first.setdefault(call.branch.key, call)
    again: dict[BranchKey, list[Called]] = {}
    goes_on = explained.goes_on
    for call in goes_on.calls if goes_on else ():
        seen = again.setdefault(call.branch.key, [])
        if (call.round > 1 or call.branch.key not in first) and len(seen) < AGAIN_MAX:
            seen.append(call)
    return Calls(
        first, {key: it for key, it in again.items() if it}, goes_on.repeats_seconds if goes_on else 0
    )


class Marker:
    """Makes the marks of branches. ranks: of their rows."""

    def __init__(self, teller: Teller, explained: Explained, ranks: Mapping[BranchKey, int]) -> None:
        self._teller = teller
        self._words = teller.words
        self._now = teller.now
        self._transaction = explained.stored.transaction
        self._ranks = ranks
        self._calls = calls_of(explained)
        self._attempts: dict[BranchKey, list[Attempt]] = {}
        for attempt in sorted(explained.attempts, key=lambda it: it.number):
            self._attempts.setdefault((attempt.branch_id, attempt.op), []).append(attempt)
        self._refused = {
            row.branch_id for row in explained.stored.branches if row.status is BranchStatus.FAILED
        }

    def keys_without_rows(self, stored: frozenset[BranchKey]) -> list[BranchKey]:
        """Whom no row tells of: a message's question, a workflow's call back."""
        known = [*self._attempts, *self._calls.first, *self._calls.again]
        return [key for key in dict.fromkeys(known) if key not in stored]

    def is_next(self, key: BranchKey) -> bool:
        """Whether it is expected to be called."""
        return key in self._calls.first

    def was_tried(self, key: BranchKey) -> bool:
        """Whether a call of it is known to have gone wrong."""
        return key in self._attempts

    def marks(self, rows: Sequence[Branch], keys: Sequence[BranchKey]) -> tuple[Mark, ...]:
        """Those of one lane, in order. rows: of the lane. keys: those of it that have no row."""
        found: list[Mark] = []
        for row in rows:
            found += self._past(row)
        for key in keys:
            found += self._tried(key, self._url(key), is_final=False)
        for key in [*(row.key for row in rows), *keys]:
            found += self._ahead(key)
        found.sort(key=lambda mark: mark.place)
        ordered = [replace(mark, order=(mark.order[0], at)) for at, mark in enumerate(found)]
        return tuple(self._folded(ordered))

    def clamped(self, moment: datetime) -> datetime:
        """A time of the past: between the transaction's begin and now, whatever stands in the row."""
        return min(max(moment, self._transaction.create_time), self._now)

    def _past(self, row: Branch) -> Iterator[Mark]:
        who = self._teller.who(row.branch_id, row.op, row.url)
        if row.op in SECOND and self._transaction.trans_type in (TransType.TCC, TransType.XA):
            at = self.clamped(row.create_time)
            sentence = self._words("timeline.registered", who=who)
            yield Mark(Shape.REGISTERED, at, at, (0, 0), "", sentence)
        tried = tuple(self._tried(row.key, row.url, is_final=row.status is BranchStatus.FAILED))
        yield from tried
        at = self.clamped(row.finish_time or row.rollback_time or row.update_time)
        order = (self._ranks.get(row.key, 0), 0)
        is_undo = row.op in UNDO
        if row.status is BranchStatus.SUCCEED:
            shape = Shape.UNDONE if is_undo else Shape.DONE
            label, sentence = self._how_done(row, is_undo=is_undo)
            yield Mark(shape, at, at, order, self._words(label), self._words(sentence, who=who))
        elif row.status is BranchStatus.FAILED and not self._has_refused(row.key):
            label = self._words("timeline.refused_label")
            yield Mark(Shape.FAILED, at, at, order, label, self._words("timeline.refused", who=who))

    def _how_done(self, row: Branch, *, is_undo: bool) -> tuple[str, str]:
        """What stands beside it, and the sentence."""
        if not row.url and self._transaction.trans_type != TransType.WORKFLOW:
            nothing = "timeline.nothing_to_undo" if is_undo else "timeline.nothing_to_do"
            return "timeline.no_url", nothing
        if row.op == Op.COMPENSATE and row.branch_id in self._refused:
            return "timeline.undone_refused_label", "timeline.undone_refused"
        if is_undo:
            return "timeline.undone_label", "timeline.undone"
        return "timeline.done_label", "timeline.done"

    def _has_refused(self, key: BranchKey) -> bool:
        return any(attempt.result is Result.FAILURE for attempt in self._attempts.get(key, ()))

    def _tried(self, key: BranchKey, url: str, *, is_final: bool) -> Iterator[Mark]:
        """Its attempts. is_final: the last one's FAILURE rolls the transaction back."""
        attempts = self._attempts.get(key, [])
        for attempt in attempts:
            began, last = self.clamped(attempt.began), self.clamped(attempt.last)
            said = self._teller.answered(attempt)
            label = (
                self._words("timeline.times", what=said, count=attempt.times) if attempt.times > 1 else said
            )
            what = self._teller.answered_whole(attempt)
            values = {"who": self._teller.who(*key, attempt.url or url), "what": what, "count": attempt.times}
            if is_final and attempt is attempts[-1] and attempt.result is Result.FAILURE:
                label = self._words("timeline.rolls_back_label", what=label)
                sentence = self._words("timeline.rolls_back", **values)
            else:
                sentence = self._words(
                    "timeline.several" if attempt.times > 1 else "timeline.tried", **values
                )
            shape = Shape.ONGOING if attempt.result is Result.ONGOING else Shape.FAILED
            order = (self._ranks.get(key, 0), attempt.number)
            yield Mark(shape, began, max(began, last), order, label, sentence)

    def _ahead(self, key: BranchKey) -> Iterator[Mark]:
        who = self._teller.who(*key, self._url(key))
        rank = _ORDER_AHEAD + self._ranks.get(key, 0)
        if (call := self._calls.first.get(key)) is not None:
            at = max(call.at, self._now)
            yield Mark(Shape.FORECAST, at, at, (rank, 0), "", self._words("timeline.will_be_called", who=who))
        again = self._calls.again.get(key, ())
        every = self._teller.length(self._calls.repeats_seconds)
        for call in again:
            words = "timeline.again" if key in self._calls.first else "timeline.if_it_goes_on"
            at, label, sentence = max(call.at, self._now), "", self._words(words, who=who)
            if call is again[-1] and self._calls.repeats_seconds:
                label = self._words("timeline.every_label", every=every)
                sentence = self._words("timeline.every", who=who, every=every)
            yield Mark(Shape.AGAIN, at, at, (rank, call.round), label, sentence)

    def _url(self, key: BranchKey) -> str:
        found = self._calls.first.get(key) or next(iter(self._calls.again.get(key, ())), None)
        return found.branch.url if found else ""

    def _folded(self, marks: list[Mark]) -> list[Mark]:
        """No more than can be seen: those in the middle are one."""
        if len(marks) <= _LANE_MARKS_MAX:
            return marks
        last = marks[_FIRST_KEPT - _LANE_MARKS_MAX + 1 :]
        middle = [mark for mark in marks[_FIRST_KEPT : -len(last)] if not mark.shape.is_ahead]
        if not middle:
            return [*marks[:_FIRST_KEPT], *last]
        count = len(middle)
        one = Mark(
            middle[-1].shape,
            middle[0].at,
            max(mark.until for mark in middle),
            middle[0].order,
            self._words("timeline.folded_label", count=count),
            self._words("timeline.folded_marks", count=count),
        )
        return [*marks[:_FIRST_KEPT], one, *last]
