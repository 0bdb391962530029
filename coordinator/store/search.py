"""Transactions that people look for: each search is a handful of statements, whatever the tables hold.

What is stuck is found by its cause, what is unfinished by its status, what has one gid by that. All else
looks at the newest ids, a window at a time, and says at which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from coordinator.attempt import Stuck
from coordinator.errors import Invalid
from coordinator.model import UNFINISHED, Transaction
from coordinator.store.attempt_tables import AttemptTables
from coordinator.store.id_ranges import (
    IdRange,
    highest_up_to,
    ids_of_statuses,
    range_of_times,
    rows_between,
    rows_of_ids,
)
from coordinator.store.own_tables import DTM_STUCK
from coordinator.store.queries import understood
from coordinator.store.tables import TRANS_GLOBAL
from coordinator.store.wall_clock import WallClock

WINDOW: Final = 20_000  # rows that one search looks at where no key leads to what it wants
LIMIT_MAX: Final = 500  # rows of a page

_GLOBAL: Final = TRANS_GLOBAL.c
_STUCK: Final = DTM_STUCK.c
_UNFINISHED: Final = frozenset(status.value for status in UNFINISHED)
_ESCAPE: Final = "!"


@dataclass(frozen=True, slots=True)
class Terms:
    """Wanted is any of these, where there are any, and none of those. Compared without regard to case."""

    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.any_of or self.none_of)

    def holds(self, text: str, *, part: bool) -> bool:
        """Whether the text is wanted. part: it is enough that it has a term in it."""
        folded = text.casefold()

        def fits(term: str) -> bool:
            return term.casefold() in folded if part else term.casefold() == folded

        return (not self.any_of or any(map(fits, self.any_of))) and not any(map(fits, self.none_of))


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for; every field has to hold. endpoint, error: a part of it is enough."""

    gid: Terms = Terms()
    status: Terms = Terms()
    trans_type: Terms = Terms()
    endpoint: Terms = Terms()
    op: Terms = Terms()
    kind: Terms = Terms()
    error: Terms = Terms()
    fingerprint: Terms = Terms()
    older_than: timedelta | None = None
    younger_than: timedelta | None = None

    @property
    def of_stuck(self) -> tuple[tuple[str, Terms], ...]:
        """What is asked of the row in `dtm_stuck`, by column."""
        asked = (
            *(("endpoint", self.endpoint), ("op", self.op), ("kind", self.kind)),
            *(("error", self.error), ("fingerprint", self.fingerprint)),
        )
        return tuple((column, terms) for column, terms in asked if terms)


@dataclass(frozen=True, slots=True)
class Found:
    """A transaction, and what holds it up, if anything does."""

    transaction: Transaction
    stuck: Stuck | None


@dataclass(frozen=True, slots=True)
class Page:
    """One page, newest first. after: where the next one begins, "" after the last; a page may be short.

    looked_at: which part was looked at, for people; empty where that was all.
    """

    found: Sequence[Found]
    after: str
    looked_at: str = ""


class Searches:
    """What is asked of both kinds of tables together, over a connection."""

    def __init__(self, wall_clock: WallClock, attempts: AttemptTables) -> None:
        self._clock = wall_clock
        self._attempts = attempts

    def page(self, connection: Connection, wanted: Search, after: str, limit: int, now: datetime) -> Page:
        """See Page. Raises Invalid for an `after` that no page gave."""
        if wanted.gid.any_of:
            return self._of_gids(connection, wanted, now)
        if any(terms.any_of for _, terms in wanted.of_stuck):
            if not self._attempts.are_there:
                raise Invalid("filter: this needs the table dtm_stuck: /api/ready says how to make it")
            return self._of_stuck(connection, wanted, _position(after, "s"), limit, now)
        before = _position(after, "i")
        if before and not before.isdecimal():
            raise _bad_position(after)
        before_id = int(before) if before else None
        if wanted.status.any_of and _UNFINISHED.issuperset(wanted.status.any_of):
            return self._of_unfinished(connection, wanted, before_id, limit, now)
        return self._of_window(connection, wanted, before_id, limit, now)

    def _of_gids(self, connection: Connection, wanted: Search, now: datetime) -> Page:
        asked = conditions(wanted, self._clock, now)
        rows = connection.execute(select(TRANS_GLOBAL).where(_GLOBAL.gid.in_(wanted.gid.any_of), *asked))
        exact = [it for it in understood(rows, self._clock) if it.gid in wanted.gid.any_of]
        return Page(self._with_stuck(connection, wanted, exact), "")

    def _of_stuck(
        self, connection: Connection, wanted: Search, after: str, limit: int, now: datetime
    ) -> Page:
        asked = [holds(_STUCK[column], terms) for column, terms in wanted.of_stuck]
        asked += [
            is_of(_STUCK[column], terms)
            for column, terms in (("status", wanted.status), ("trans_type", wanted.trans_type))
            if terms
        ]
        stuck = select(DTM_STUCK.c.gid).where(_STUCK.gid > after, *asked).order_by(_STUCK.gid)
        gids = list(connection.execute(stuck.limit(limit + 1)).scalars())
        page = gids[:limit]
        rows = connection.execute(
            select(TRANS_GLOBAL).where(_GLOBAL.gid.in_(page), *conditions(wanted, self._clock, now))
        )
        found = sorted(understood(rows, self._clock), key=lambda it: it.gid)
        next_after = f"s{page[-1]}" if len(gids) > limit else ""
        return Page(self._with_stuck(connection, wanted, found), next_after)

    def _of_unfinished(
        self, connection: Connection, wanted: Search, before_id: int | None, limit: int, now: datetime
    ) -> Page:
        ids = ids_of_statuses(connection, wanted.status.any_of)
        if ids is None:
            return self._of_window(connection, wanted, before_id, limit, now)
        left = [it for it in ids if before_id is None or it < before_id]
        rows = rows_of_ids(connection, left, conditions(wanted, self._clock, now), limit + 1)
        after = f"i{rows[limit - 1].id}" if len(rows) > limit else ""
        found = list(understood(rows[:limit], self._clock))
        return Page(self._with_stuck(connection, wanted, found), after)

    def _of_window(
        self, connection: Connection, wanted: Search, before_id: int | None, limit: int, now: datetime
    ) -> Page:
        asked = conditions(wanted, self._clock, now)
        start, end = (None if age is None else now - age for age in (wanted.younger_than, wanted.older_than))
        ids = range_of_times(connection, start, end, self._clock).cut(before_id)
        window = WINDOW if asked or wanted.of_stuck else ids.below
        part = IdRange(max(ids.below - window, ids.lowest), ids.below)
        rows = rows_between(connection, part, asked, limit + 1)
        page = rows[:limit]
        found = self._with_stuck(connection, wanted, list(understood(page, self._clock)))
        if len(rows) > limit:
            return Page(found, f"i{page[-1].id}")
        next_id = highest_up_to(connection, part.lowest - 1) if part.lowest > ids.lowest else None
        if next_id is None:
            return Page(found, "")
        return Page(found, f"i{next_id + 1}", f"ids {part.lowest} to {part.below - 1}")

    def _with_stuck(
        self, connection: Connection, wanted: Search, found: Sequence[Transaction]
    ) -> list[Found]:
        unfinished = [it.gid for it in found if not it.status.is_final]
        stuck = self._attempts.stuck_of(connection, unfinished) if unfinished else {}
        return [Found(it, stuck.get(it.gid)) for it in found if has_what_is_wanted(wanted, stuck.get(it.gid))]


def conditions(wanted: Search, clock: WallClock, now: datetime) -> list[ColumnElement[bool]]:
    """What is asked of the transaction's own row, but a gid. clock: of its times."""
    asked = [
        is_of(column, terms)
        for column, terms in ((_GLOBAL.status, wanted.status), (_GLOBAL.trans_type, wanted.trans_type))
        if terms
    ]
    if wanted.gid.none_of:
        asked.append(_GLOBAL.gid.not_in(wanted.gid.none_of))
    if wanted.older_than is not None:
        asked.append(_GLOBAL.create_time < clock.text(now - wanted.older_than))
    if wanted.younger_than is not None:
        asked.append(_GLOBAL.create_time >= clock.text(now - wanted.younger_than))
    return asked


def has_what_is_wanted(wanted: Search, stuck: Stuck | None) -> bool:
    """Whether it is held up, or not held up, as the filter says."""
    return all(
        terms.holds(_text(stuck, column), part=column in ("endpoint", "error"))
        for column, terms in wanted.of_stuck
    )


def _text(stuck: Stuck | None, column: str) -> str:
    return "" if stuck is None else str(getattr(stuck, column))


def is_of(column: ColumnElement[str], terms: Terms) -> ColumnElement[bool]:
    """Whether the column is what the terms say."""
    both = [column.in_(terms.any_of)] if terms.any_of else []
    return and_(*both, *([column.not_in(terms.none_of)] if terms.none_of else []))


def holds(column: ColumnElement[str], terms: Terms) -> ColumnElement[bool]:
    """The same of a column of `dtm_stuck`, of which a part may be enough."""
    if column.name not in ("endpoint", "error"):
        return is_of(column, terms)
    has = [_has(column, term) for term in terms.any_of]
    return and_(*([or_(*has)] if has else []), *(~_has(column, term) for term in terms.none_of))


def _has(column: ColumnElement[str], term: str) -> ColumnElement[bool]:
    return func.lower(column).contains(term.lower(), autoescape=True, escape=_ESCAPE)


def _position(after: str, kind: str) -> str:
    if after and not after.startswith(kind):
        raise _bad_position(after)
    return after[1:]


def _bad_position(after: str) -> Invalid:
    return Invalid(f"after: must be the `after` of the page before with the same filter, not {after[:80]!r}")
