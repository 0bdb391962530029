"""From all that is known of a transaction to its timeline. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from coordinator.explain.play import Rows
from coordinator.model import Branch, BranchKey, BranchStatus, Status
from coordinator.service.operate import Explained
from coordinator.timeline.marks import Marker
from coordinator.timeline.model import Lane, Mark, Shape, Timeline
from coordinator.timeline.plain import plain
from coordinator.timeline.ranks import UNDO, ranks_of
from coordinator.timeline.teller import NUMBER_MAX, Teller, name_of

LANES_MAX: Final = 24  # on either side of the axis
_GID_MAX: Final = 128


@dataclass(slots=True)
class _Draft:
    """What belongs into one lane. keys: of what has no row."""

    branch_id: str
    rows: list[Branch] = field(default_factory=list)
    keys: list[BranchKey] = field(default_factory=list)

    @property
    def every_key(self) -> list[BranchKey]:
        return [*(row.key for row in self.rows), *self.keys]


def timeline_of(explained: Explained, teller: Teller) -> Timeline:
    """The timeline of this transaction, as the teller tells it."""
    stored = explained.stored
    transaction, rows = stored.transaction, Rows(stored.transaction, stored.branches)
    lanes = list(dict.fromkeys(row.branch_id for row in rows.branches))
    marker = Marker(teller, explained, ranks_of(rows, lanes))
    without = marker.keys_without_rows(frozenset(row.key for row in rows.branches))
    forward = _drafts(lanes, (row for row in rows.branches if row.op not in UNDO), without, is_undo=False)
    back = _drafts(lanes, (row for row in rows.branches if row.op in UNDO), without, is_undo=True)[::-1]
    builder = _Lanes(teller, marker, explained)
    above, folded_above = builder.built(forward, is_undo=False)
    is_going_back = transaction.status in (Status.ABORTING, Status.FAILED)
    below: tuple[Lane, ...] = ()
    folded_below = nothing = ""
    if is_going_back or any(_has_happened(draft, marker) for draft in back):
        below, folded_below = builder.built(back, is_undo=True)
    if not below:
        nothing = teller.words("timeline.nothing_undone" if back else "timeline.nothing_to_be_undone")
    summary = teller.words(
        "timeline.summary",
        gid=plain(transaction.gid, _GID_MAX),
        above=len(above),
        below=len(below),
        now=teller.time(teller.now),
    )
    axis = Lane("", "", _of_transaction(explained, teller, marker), is_waiting=builder.nobody_waits)
    return Timeline(summary, teller.now, axis, above, below, folded_above, folded_below, nothing)


def _drafts(
    lanes: Sequence[str], rows: Iterable[Branch], without: Sequence[BranchKey], *, is_undo: bool
) -> list[_Draft]:
    drafts: dict[str, _Draft] = {}
    mine = [key for key in without if (key[1] in UNDO) is is_undo]
    for key in mine:
        if key[0] not in lanes:
            drafts.setdefault(key[0], _Draft(key[0])).keys.append(key)
    for row in rows:
        drafts.setdefault(row.branch_id, _Draft(row.branch_id)).rows.append(row)
    for key in mine:
        if key[0] in lanes:
            drafts.setdefault(key[0], _Draft(key[0])).keys.append(key)
    return list(drafts.values())


def _has_happened(draft: _Draft, marker: Marker) -> bool:
    return any(row.status is not BranchStatus.PREPARED for row in draft.rows) or any(
        marker.was_tried(key) or marker.is_next(key) for key in draft.every_key
    )


def _of_transaction(explained: Explained, teller: Teller, marker: Marker) -> tuple[Mark, ...]:
    """What happened to it as a whole."""
    transaction = explained.stored.transaction
    at = marker.clamped(transaction.create_time)
    begun = Mark(
        Shape.BEGUN, at, at, (-1, 0), teller.words("timeline.begun_label"), teller.words("timeline.begun")
    )
    if not transaction.status.is_final:
        return (begun,)
    at = marker.clamped(transaction.finish_time or transaction.rollback_time or transaction.update_time)
    status = teller.words(f"timeline.ended_{transaction.status.value}")
    ended = Mark(Shape.ENDED, at, at, (999_999, 0), status, teller.words("timeline.ended", status=status))
    return (begun, ended)


class _Lanes:
    """Makes lanes of drafts. nobody_waits: none of those made waits to be called again."""

    def __init__(self, teller: Teller, marker: Marker, explained: Explained) -> None:
        self._words = teller.words
        self._marker = marker
        self._transaction = explained.stored.transaction
        self.nobody_waits = not self._transaction.status.is_final and explained.why.code.id != "W01"

    def built(self, drafts: Sequence[_Draft], *, is_undo: bool) -> tuple[tuple[Lane, ...], str]:
        """The lanes, and a sentence about those that are left out."""
        kept = self._chosen(drafts)
        lanes = tuple(self._lane(draft, is_undo=is_undo) for at, draft in enumerate(drafts) if at in kept)
        left = [draft for at, draft in enumerate(drafts) if at not in kept]
        if not left:
            return lanes, ""
        done = sum(all(row.status is BranchStatus.SUCCEED for row in draft.rows) for draft in left)
        return lanes, self._words("timeline.folded_lanes", count=len(left), done=done, other=len(left) - done)

    def _chosen(self, drafts: Sequence[_Draft]) -> frozenset[int]:
        """Which are shown where there are too many: what went wrong, what comes next, the first, the last."""
        every = range(len(drafts))
        if len(drafts) <= LANES_MAX:
            return frozenset(every)
        wrong = [at for at in every if self._went_wrong(drafts[at])]
        coming = [at for at in every if any(map(self._marker.is_next, drafts[at].every_key))]
        last = every[-LANES_MAX // 4 :]
        wanted = dict.fromkeys([*wrong[: LANES_MAX // 2], *coming[: LANES_MAX // 4], *last, *every])
        return frozenset(list(wanted)[:LANES_MAX])

    def _went_wrong(self, draft: _Draft) -> bool:
        return any(row.status is BranchStatus.FAILED for row in draft.rows) or any(
            map(self._marker.was_tried, draft.every_key)
        )

    def _lane(self, draft: _Draft, *, is_undo: bool) -> Lane:
        marks = self._marker.marks(draft.rows, draft.keys)
        number = plain(draft.branch_id, NUMBER_MAX)
        is_waiting = any(mark.shape in (Shape.FAILED, Shape.ONGOING) for mark in marks) and any(
            map(self._marker.is_next, draft.every_key)
        )
        if is_waiting:
            self.nobody_waits = False
        return Lane(number, self._name(draft), marks, "" if marks else self._note(is_undo), is_waiting)

    def _name(self, draft: _Draft) -> str:
        if not draft.rows:
            return self._words("timeline.question" if draft.keys[0][1] == "msg" else "timeline.call_back")
        row = draft.rows[0]
        return name_of(row.url, row.op) or plain(row.op, NUMBER_MAX)

    def _note(self, is_undo: bool) -> str:
        if is_undo:
            return self._words("timeline.note_not_called")
        is_over = self._transaction.status in (Status.ABORTING, Status.FAILED)
        return self._words("timeline.note_never_started" if is_over else "timeline.note_not_started")


def marks_in_order(timeline: Timeline) -> Sequence[tuple[Lane, Mark]]:
    """Every mark with its lane, as they come."""
    every: Mapping[int, tuple[Lane, Mark]] = dict(
        enumerate((lane, mark) for lane in timeline.lanes for mark in lane.marks)
    )
    return [every[at] for at in sorted(every, key=lambda at: (every[at][1].place, at))]
