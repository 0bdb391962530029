"""Moves in a batch: rows read whole under the batch's lock, and what becomes of them. Synchronous."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from coordinator.errors import DtmError
from coordinator.store.base import Assign, Change, Changed, Move, Moved, Stored
from coordinator.store.fence import Verdict, assigned, verdict
from coordinator.store.statements import (
    BRANCH_COLUMNS,
    GLOBAL_COLUMNS,
    AssignedValues,
    Looked,
    Values,
)

NOT_FOUND: Final = Moved(Changed.MISSING, None)
_GLOBAL_GID: Final = GLOBAL_COLUMNS.index("gid")
_BRANCH_GID: Final = BRANCH_COLUMNS.index("gid")


@dataclass(frozen=True, slots=True)
class Recalled:
    """A move worked out from what was remembered; it stands if the row is so still."""

    status: str
    due: str  # next_cron_time as stored: whoever takes the transaction up changes it
    branches: int
    values: AssignedValues
    after: Stored


@dataclass(frozen=True, slots=True)
class Takeover:
    """A move, and how it reads and writes rows: `stored` of full rows, `values` of an assignment."""

    gid: str
    move: Move
    stored: Callable[[Values, Sequence[Values]], Stored]
    values: Callable[[Assign], AssignedValues]
    recalled: Recalled | None = None


def stored_of(
    takeovers: Sequence[Takeover], found: Collection[str], looked: Looked
) -> dict[str, Stored | DtmError]:
    """What the moves begin with, by gid, where it is among what was found; an error for rows nobody knows."""
    by_gid = {work.gid: work for work in takeovers if work.gid in found}
    branches: dict[str, list[Values]] = {gid: [] for gid in by_gid}
    for row in looked.whole_branches:
        if row[_BRANCH_GID] in branches:
            branches[row[_BRANCH_GID]].append(tuple(row))
    stored: dict[str, Stored | DtmError] = {}
    for row in looked.whole_globals:
        gid = row[_GLOBAL_GID]
        if gid in by_gid:
            try:
                stored[gid] = by_gid[gid].stored(tuple(row), branches[gid])
            except DtmError as error:
                stored[gid] = error
    return stored


def judge_takeover(
    work: Takeover,
    stored: Stored | DtmError | None,
    write: Callable[[str, AssignedValues], None],
) -> Moved | DtmError:
    """How the move ends, given the stored rows. write: takes the gid and the values to assign."""
    if stored is None:
        return NOT_FOUND
    if isinstance(stored, DtmError):
        return stored
    transaction, move = stored.transaction, work.move
    if transaction.trans_type != move.trans_type:
        return Moved(Changed.REFUSED, stored)
    try:
        assign = move.assign(stored)
        values = work.values(assign)
    except DtmError as error:
        return error if transaction.status in move.expected else Moved(Changed.REFUSED, stored)
    change = Change(move.gid, move.expected, None, assign=assign)
    match verdict(change, transaction.status, transaction.owner):
        case Verdict.APPLY:
            write(work.gid, values)
            return Moved(Changed.APPLIED, Stored(assigned(transaction, assign), stored.branches))
        case Verdict.STANDS:
            return Moved(Changed.APPLIED, stored)
        case Verdict.REFUSE:
            return Moved(Changed.REFUSED, stored)
