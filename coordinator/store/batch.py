"""One batch: many insertions and changes written in one database transaction. Synchronous; no commit here.

The locking read comes first and tells, for every gid of the batch, whether a row exists, in which status, and
held by whom. What is refused is left out; the rest is a handful of statements however many transactions there
are.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from coordinator.errors import DtmError
from coordinator.store.base import Changed, Moved
from coordinator.store.fence import Verdict, verdict
from coordinator.store.gathered import Gathered, Insertion, Update
from coordinator.store.own_rows import indispensable
from coordinator.store.statements import Cursor, Statements, Values, Wanted
from coordinator.store.takeovers import NOT_FOUND, Takeover, judge_takeover, stored_of

Work = Insertion | Update | Takeover
Outcome = Changed | Moved | DtmError

_CHANGE_BYTES: Final = 512  # about, in a statement, of a row beside what may be long in it
_RESULT_BYTES: Final = 128
_TAKEOVER_BYTES: Final = 8192  # of options and custom_data, which are bounded
_BYTES_A_CHARACTER: Final = 4  # at most


def plain(works: Sequence[Work]) -> list[Work]:
    """These without the rows of our own that drivers keep of what went wrong."""
    return [
        replace(work, change=replace(work.change, own_rows=indispensable(work.change.own_rows)))
        if isinstance(work, Update) and work.change.by_driver and work.change.own_rows
        else work
        for work in works
    ]


def size_of(work: Work) -> int:
    """How many bytes it makes in the statements, about: payloads become two digits a byte."""
    if isinstance(work, Takeover):
        return _TAKEOVER_BYTES
    size = sum([_CHANGE_BYTES + 2 * len(row[2]) + _bytes_of(row[1]) for row in work.branch_rows])
    if isinstance(work, Insertion):
        _, _, _, query_prepared, _, options, custom_data, _, _, _, ext_data = work.row
        size += _bytes_of(query_prepared) + _bytes_of(options) + _bytes_of(custom_data)
        return 2 * _CHANGE_BYTES + size + _bytes_of(ext_data)
    size += _RESULT_BYTES * len(work.change.results)
    size += sum([_CHANGE_BYTES + _BYTES_A_CHARACTER * row.size for row in work.change.own_rows])
    if work.values:
        size += sum([_bytes_of(value) for value in work.values if isinstance(value, str)])
    return _CHANGE_BYTES + size


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else _BYTES_A_CHARACTER * len(text)


class _Row(NamedTuple):
    """What the locking read tells of a global row."""

    status: str
    owner: str
    trans_type: str


def write_batch(
    cursor: Cursor, statements: Statements, works: Sequence[Work], now: str, *, wait: bool = False
) -> list[Outcome | None]:
    """Write the batch and return, in its order, how each work ended.

    works: in order of gid, no two whose gids a database might compare as equal. now: wall-clock text. wait:
    for whoever holds a row, so that nothing is overlooked. An insertion is APPLIED or REFUSED (the gid
    exists); a change may be MISSING or CLASHES, too, and is None when it was left out because somebody else
    holds the row; of a move it is told how the row stands now, or why it cannot be made. Raises the driver's
    error when the database refuses a value; nothing may be committed then.
    """
    takeovers = [work for work in works if isinstance(work, Takeover)]
    wanted = Wanted([work.gid for work in works], _added(works), [work.gid for work in takeovers])
    looked = statements.look(cursor, wanted, wait=wait)
    found = {gid: _Row(*columns) for gid, *columns in looked.locked}
    in_the_way = _look_alikes(works, found) if found else ()
    registered = {tuple(row) for row in looked.branches}
    stored = stored_of(takeovers, found, looked)
    writes = Gathered()
    outcomes: list[Outcome | None] = []
    for work in works:
        match work:
            case Insertion():
                outcomes.append(_judge_insertion(work, found.get(work.gid), in_the_way, writes))
            case Update():
                outcomes.append(_judge_update(work, found.get(work.gid), registered, writes))
            case Takeover():
                outcomes.append(judge_takeover(work, stored.get(work.gid), writes.assign))
    writes.write(cursor, statements, now)
    if Changed.MISSING in outcomes or NOT_FOUND in outcomes:
        return _without_held(cursor, statements, works, outcomes)
    return outcomes


def _without_held(
    cursor: Cursor, statements: Statements, works: Sequence[Work], outcomes: Sequence[Outcome | None]
) -> list[Outcome | None]:
    """Tell what is missing from what was only passed over by the lock."""
    not_found = (Changed.MISSING, NOT_FOUND)
    missing = [work.gid for work, outcome in zip(works, outcomes, strict=True) if outcome in not_found]
    held = statements.existing(cursor, missing)
    return [
        None if outcome in not_found and work.gid in held else outcome
        for work, outcome in zip(works, outcomes, strict=True)
    ]


def _judge_insertion(
    work: Insertion, stored: _Row | None, in_the_way: Collection[str], writes: Gathered
) -> Changed:
    if stored is not None:
        return Changed.APPLIED if work.owner and stored.owner == work.owner else Changed.REFUSED
    if in_the_way and work.gid in in_the_way:
        return Changed.REFUSED
    writes.add_insertion(work)
    return Changed.APPLIED


def _judge_update(
    work: Update, stored: _Row | None, registered: Collection[Values], writes: Gathered
) -> Changed:
    if stored is None:
        return Changed.MISSING
    if work.change.trans_type not in ("", stored.trans_type):
        return Changed.REFUSED
    match verdict(work.change, stored.status, stored.owner):
        case Verdict.APPLY:
            new = [row for row in work.branch_rows if row not in registered]
            if registered and not _branch_keys(work.gid, registered).isdisjoint(_branch_keys(work.gid, new)):
                return Changed.CLASHES
            writes.add_update(work, new)
            return Changed.APPLIED
        case Verdict.STANDS:
            return Changed.APPLIED
        case Verdict.REFUSE:
            return Changed.REFUSED


def _added(works: Sequence[Work]) -> list[Values]:
    """Which branch rows the batch wants to add. Rare: most changes add none."""
    return [
        (gid, branch_id, op)
        for work in works
        if isinstance(work, Update)
        for gid, _, _, branch_id, op, _ in work.branch_rows
    ]


def _branch_keys(gid: str, rows: Collection[Values]) -> set[tuple[str, str]]:
    """(branch_id, op) of the rows of one gid, alike where a database might compare them as equal."""
    return {(row[3].casefold(), row[4].casefold()) for row in rows if row[0] == gid}


def _look_alikes(works: Sequence[Work], found: Collection[str]) -> Collection[str]:
    """The gids of the batch that differ from a row's only as the database does not see it, like `A` from `a`.

    A likeness beyond case (accents, blanks at the end) shows only when the work is alone in its batch; before
    that, the unique key refuses the insertion, and the batch is taken apart.
    """
    strangers = set(found).difference([work.gid for work in works])
    if not strangers:
        return ()
    if len(works) == 1:
        return (works[0].gid,)
    folded = {gid.casefold() for gid in strangers}
    return {work.gid for work in works if work.gid.casefold() in folded}
