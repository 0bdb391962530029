"""Every transaction that a filter finds, up to an id: which they are, and no more of them, page by page.

A page is one to three statements. As in coordinator.store.search, what is stuck is found by its cause, what
is unfinished by its status, one gid by itself, and all else among windows of ids, the newest first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, select

from coordinator.errors import Invalid
from coordinator.model import UNFINISHED, Status
from coordinator.store.attempt_tables import AttemptTables
from coordinator.store.id_ranges import highest_up_to
from coordinator.store.own_tables import DTM_STUCK
from coordinator.store.queries import pieces
from coordinator.store.search import Search, Terms, conditions, has_what_is_wanted, holds, is_of
from coordinator.store.tables import TRANS_GLOBAL
from coordinator.store.wall_clock import WallClock

# Rows of a page, each of which holds the event loop for some 10 µs.
WINDOW: Final = 4_000  # ids, where no key leads
STUCK_PAGE: Final = 2_000
_STREAMED: Final = 2_000  # of a longer one

_GLOBAL: Final = TRANS_GLOBAL.c
_STUCK: Final = DTM_STUCK.c
_UNFINISHED: Final = frozenset(status.value for status in UNFINISHED)
_COLUMNS: Final = (_GLOBAL.id, _GLOBAL.gid, _GLOBAL.trans_type, _GLOBAL.status)


@dataclass(frozen=True, slots=True)
class Match:
    """A transaction that was found. status: as it is stored."""

    trans_id: int
    gid: str
    trans_type: str
    status: str


@dataclass(frozen=True, slots=True)
class Matches:
    """after: where the next page begins; "" after the last. A page may be empty though there is more."""

    found: Sequence[Match]
    after: str


def newest_id(connection: Connection) -> int:
    """The id of the newest transaction; 0 where there is none."""
    return connection.execute(select(func.max(_GLOBAL.id))).scalar() or 0


def page_of_matches(
    connection: Connection,
    wanted: Search,
    attempts: AttemptTables,
    clock: WallClock,
    *,
    id_max: int,
    after: str,
    limit: int,
    now: datetime,
) -> Matches:
    """The next page. limit: of what is unfinished, in one page. Raises Invalid where a table is missing."""
    wanted = _with_statuses(wanted)
    asked = conditions(wanted, clock, now)
    where = [*asked, _GLOBAL.id <= id_max]
    by_cause = any(terms.any_of for _, terms in wanted.of_stuck)
    if by_cause and not attempts.are_there:
        raise Invalid("filter: this needs the table dtm_stuck: /api/ready says how to make it")
    if wanted.gid.any_of:
        found = _rows(connection, [*where, _GLOBAL.gid.in_(wanted.gid.any_of)], limit)
        exact = [it for it in found if it.gid in wanted.gid.any_of]
        return Matches(_held_up_so(connection, wanted, attempts, exact), "")
    if by_cause:
        return _of_stuck(connection, wanted, where, after)
    if wanted.status.any_of and _UNFINISHED.issuperset(wanted.status.any_of):
        found = _rows(connection, where, limit)
        return Matches(_held_up_so(connection, wanted, attempts, found), "")
    highest = highest_up_to(connection, int(after) if after else id_max) or 0
    lowest = max(highest - WINDOW, 0)
    # One bound above and no more: of two SQLite may begin at the wrong one, and look through all between.
    found = _rows(connection, [*asked, _GLOBAL.id <= highest, _GLOBAL.id > lowest], WINDOW)
    return Matches(_held_up_so(connection, wanted, attempts, found), str(lowest or ""))


def _with_statuses(wanted: Search) -> Search:
    """The same, where that leads to its key: `-status:succeed -status:failed` names the unfinished."""
    wanted_ones = [status.value for status in Status if wanted.status.holds(status.value, part=False)]
    if not wanted.status or not wanted_ones or not _UNFINISHED.issuperset(wanted_ones):
        return wanted
    return replace(wanted, status=Terms(tuple(wanted_ones)))


def _of_stuck(
    connection: Connection, wanted: Search, where: list[ColumnElement[bool]], after: str
) -> Matches:
    causes = [holds(_STUCK[column], terms) for column, terms in wanted.of_stuck]
    own: Sequence[tuple[str, Terms]] = (("status", wanted.status), ("trans_type", wanted.trans_type))
    causes += [is_of(_STUCK[column], terms) for column, terms in own if terms]
    stuck = select(_STUCK.gid).where(_STUCK.gid > after, *causes).order_by(_STUCK.gid).limit(STUCK_PAGE)
    gids = list(connection.execute(stuck).scalars())
    found: list[Match] = []
    for some in pieces(gids):
        rows = _rows(connection, [*where, _GLOBAL.gid.in_(some)], len(some))
        found += [it for it in rows if it.status in _UNFINISHED]  # what has ended is held up by nothing
    return Matches(found, gids[-1] if len(gids) == STUCK_PAGE else "")


def _rows(connection: Connection, where: Sequence[ColumnElement[bool]], limit: int) -> list[Match]:
    asked = select(*_COLUMNS).where(*where).limit(limit)
    rows = connection.execute(asked.execution_options(yield_per=_STREAMED) if limit > _STREAMED else asked)
    return [_match(row) for row in rows]


def _match(row: Any) -> Match:
    return Match(row.id, str(row.gid), str(row.trans_type), str(row.status))


def _held_up_so(
    connection: Connection, wanted: Search, attempts: AttemptTables, found: Sequence[Match]
) -> Sequence[Match]:
    """Those that are held up as the filter says, where it says something of that."""
    if not wanted.of_stuck:
        return found
    left: list[Match] = []
    for some in pieces(found):
        stuck = attempts.stuck_of(connection, [it.gid for it in some if it.status in _UNFINISHED])
        left += [it for it in some if has_what_is_wanted(wanted, stuck.get(it.gid))]
    return left
