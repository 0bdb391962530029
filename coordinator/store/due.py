"""What is due and who drives it: claims, so that no two coordinators hold one transaction (PROTOCOL §9).

Synchronous, over a connection, like `queries`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from heapq import nsmallest
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    bindparam,
    case,
    func,
    literal,
    not_,
    null,
    or_,
    select,
    union_all,
    update,
)

from coordinator.errors import Invalid
from coordinator.model import EPOCH, Status, TransType
from coordinator.owner import SEPARATOR
from coordinator.store.base import Candidate, Claim, Deferral, Due, Stored
from coordinator.store.queries import UNFINISHED_STATUSES, branches_of, pieces
from coordinator.store.rows import branch_of, text_of, transaction_of
from coordinator.store.tables import TRANS_BRANCH_OP, TRANS_GLOBAL
from coordinator.store.wall_clock import WallClock, rounded_up
from coordinator.telemetry.log import log

_GLOBAL: Final = TRANS_GLOBAL.c
_BRANCH: Final = TRANS_BRANCH_OP.c
_OF_IDS: Final = select(TRANS_GLOBAL).where(_GLOBAL.id.in_(bindparam("ids", expanding=True)))
_FOUND: Final = select(_GLOBAL.id, _GLOBAL.gid, _GLOBAL.status, _GLOBAL.owner, _GLOBAL.next_cron_time)
_DUE_LATER: Final = _FOUND.where(
    _GLOBAL.gid.in_(bindparam("gids", expanding=True)), _GLOBAL.next_cron_time > bindparam("now")
)
_DUE: Final = (
    _FOUND.where(_GLOBAL.status == bindparam("of"), _GLOBAL.next_cron_time <= bindparam("now"))
    .order_by(_GLOBAL.next_cron_time)
    .limit(bindparam("limit", type_=Integer))
)
_LIGHT_BRANCHES: Final = (
    select(
        *(column for column in _BRANCH if column.name not in {"bin_data", "data"}),
        null().label("bin_data"),
        null().label("data"),
        (func.coalesce(func.length(_BRANCH.bin_data), 0) + func.coalesce(func.length(_BRANCH.data), 0)).label(
            "payload_bytes"
        ),
    )
    .where(_BRANCH.gid.in_(bindparam("gids", expanding=True)))
    .order_by(_BRANCH.id)
)
_TOGETHER: Final = 32  # rows in one statement, each some 0.2 ms: others have their turn between two
_TIMES_TOGETHER: Final = 128  # rows in one statement, each with its own time: old SQLite takes 999 values
_TIMES_STEP: Final = 32  # their number is filled up to a multiple: a statement of each is worked out once
_DRIVEN: Final = _GLOBAL.owner.contains(SEPARATOR)  # owner.is_a_drivers


def to_be_driven(row: Any) -> ColumnElement[bool]:
    """All but a prepared saga, which waits for its client. row: columns of a table or of a subquery."""
    return or_(row.status != Status.PREPARED.value, row.trans_type != TransType.SAGA.value)


def find_due(
    connection: Connection, now: datetime, limit: int, also: Sequence[str], clock: WallClock
) -> list[Due]:
    """The oldest due rows, by the key (status, next_cron_time) alone; of each status its share."""
    # Status by status: only so the key gives the rows in order.
    share = limit // len(UNFINISHED_STATUSES)
    rows: list[Row[Any]] = []
    others: list[Row[Any]] = []
    for status in UNFINISHED_STATUSES:
        found = [*connection.execute(_DUE, {"of": status, "now": clock.text(now), "limit": limit})]
        rows += found[:share]
        others += found[share:]

    def due_since(row: Row[Any]) -> datetime:
        return clock.time(row.next_cron_time) or EPOCH

    rows += nsmallest(limit - len(rows), others, key=due_since)
    rows.sort(key=due_since)
    if also:
        rows += connection.execute(_DUE_LATER, {"gids": also, "now": clock.text(now)})
    return [Due(row.id, row.gid, row.status, row.owner, clock.time(row.next_cron_time)) for row in rows]


def next_due(connection: Connection, after: datetime, clock: WallClock) -> datetime | None:
    """The earliest that comes behind, status by status at the beginning of the same key."""
    earliest = [
        select(func.min(_GLOBAL.next_cron_time)).where(
            _GLOBAL.status == status, _GLOBAL.next_cron_time > clock.text(after)
        )
        for status in UNFINISHED_STATUSES
    ]
    found = connection.execute(union_all(*earliest)).scalars()
    return min((time for it in found if (time := clock.time(it)) is not None), default=None)


def look_at(connection: Connection, due: Sequence[Due], clock: WallClock) -> list[Candidate]:
    """The rows of these, and what their branches say without their payloads."""
    candidates: list[Candidate] = []
    for some in pieces(due, _TOGETHER):
        found = {row.id: row for row in connection.execute(_OF_IDS, {"ids": [one.id for one in some]})}
        branches: defaultdict[str, list[Any]] = defaultdict(list)
        for row in connection.execute(_LIGHT_BRANCHES, {"gids": [row.gid for row in found.values()]}):
            branches[row.gid].append(row)
        rows = [(one, found[one.id]) for one in some if one.id in found]
        candidates += [_candidate(one, row, branches[row.gid], clock) for one, row in rows]
    return candidates


def claim(
    connection: Connection,
    claims: Sequence[Claim],
    deferrals: Sequence[Deferral],
    owner: str,
    now: datetime,
    clock: WallClock,
    *,
    skip_locked: bool,
) -> list[Stored]:
    """Write owner and lease into those rows that are as they were found; return them with their branches.

    skip_locked: the database can pass over rows that another is claiming; else this waits for that commit.
    """
    _write_times(connection, deferrals, "", now, clock, only_due=True)
    if not claims:
        return []
    locked = _OF_IDS.with_for_update(skip_locked=skip_locked)
    rows = {
        row.id: row
        for some in pieces(sorted(one.due.id for one in claims), _TOGETHER)
        for row in connection.execute(locked, {"ids": some})
    }
    won = [
        one
        for one in claims
        if (row := rows.get(one.due.id)) is not None and _is_as_found(row, one.due, clock)
    ]
    _write_times(connection, won, owner, now, clock)
    stamp = now.replace(microsecond=0)
    transactions = [
        replace(
            transaction_of(rows[one.due.id], clock),
            owner=owner,
            next_cron_time=rounded_up(one.until),
            update_time=stamp,
        )
        for one in won
    ]
    branches = branches_of(connection, [it.gid for it in transactions], clock, together=_TOGETHER)
    return [Stored(it, tuple(branches.get(it.gid, ()))) for it in transactions]


def _is_as_found(row: Row[Any], due: Due, clock: WallClock) -> bool:
    return (row.status, row.owner, clock.time(row.next_cron_time)) == (
        due.status,
        due.owner,
        due.next_cron_time,
    )


def _candidate(due: Due, row: Row[Any], branches: Sequence[Row[Any]], clock: WallClock) -> Candidate:
    try:
        stored = Stored(transaction_of(row, clock), tuple([branch_of(one, clock) for one in branches]))
    except Invalid as error:  # must not keep the others from being driven
        log.error("not driven: {}", error)
        return Candidate(due, None)
    return Candidate(due, stored, sum([one.payload_bytes or 0 for one in branches]))


def _write_times(
    connection: Connection,
    changes: Sequence[Claim | Deferral],
    owner: str,
    now: datetime,
    clock: WallClock,
    *,
    only_due: bool = False,
) -> None:
    """Write owner and next_cron_time. only_due: where it is still due, and unfinished."""
    text_now = clock.text(now)
    still = (_GLOBAL.status.in_(UNFINISHED_STATUSES), _GLOBAL.next_cron_time <= text_now) if only_due else ()
    for some in pieces(sorted(changes, key=lambda it: it.due.id), _TIMES_TOGETHER):
        times = {it.due.id: clock.text(rounded_up(it.until)) for it in some}
        values = {"owner": owner, "next_cron_time": _time_of(times), "update_time": text_now}
        connection.execute(update(TRANS_GLOBAL).where(_GLOBAL.id.in_(list(times)), *still).values(values))


def _time_of(times: Mapping[int, str]) -> "str | ColumnElement[Any]":
    """What each of these rows is given, by id: one statement for all, however many times there are."""
    first, *others = set(times.values())
    if not others:
        return first
    kind = _GLOBAL.next_cron_time.type
    given = [(literal(row_id, _GLOBAL.id.type), literal(time, kind)) for row_id, time in times.items()]
    given += given[-1:] * (-len(given) % _TIMES_STEP)
    # In PostgreSQL a CASE of texts alone would be a text.
    return case(*given, value=_GLOBAL.id, else_=_GLOBAL.next_cron_time)


def take_back(
    connection: Connection, now: datetime, owner_prefix: str, except_prefix: str, clock: WallClock
) -> int:
    """Make due, and owned by nobody, what owners of this prefix hold; returns how many."""
    # By the key on owner. Databases that ignore case find too much: compared again here.
    statement = select(_GLOBAL.id, _GLOBAL.owner).where(
        _GLOBAL.owner.startswith(owner_prefix, autoescape=True) if owner_prefix else _GLOBAL.owner != "",
        _GLOBAL.status.in_(UNFINISHED_STATUSES),
        _DRIVEN,
    )
    held = [
        row.id
        for row in connection.execute(statement.with_for_update())
        if (owner := text_of(row.owner)).startswith(owner_prefix)
        and not (except_prefix and owner.startswith(except_prefix))
    ]
    return _make_due(connection, held, now, clock, owner="")


def reset_cron_time(
    connection: Connection, now: datetime, later_than: datetime, limit: int, clock: WallClock
) -> tuple[int, bool]:
    """Make due at most `limit` rows that wait longer; returns how many, and if there are more."""
    statement = (
        select(_GLOBAL.id)
        .where(
            _GLOBAL.status.in_(UNFINISHED_STATUSES),
            _GLOBAL.next_cron_time > clock.text(later_than),
            to_be_driven(_GLOBAL),
            not_(_DRIVEN),
        )
        .order_by(_GLOBAL.id)
        .limit(limit + 1)
        .with_for_update()  # so that none is taken up between being found and being made due
    )
    ids = list(connection.execute(statement).scalars())
    return _make_due(connection, ids[:limit], now, clock), len(ids) > limit


def _make_due(
    connection: Connection, ids: Sequence[int], now: datetime, clock: WallClock, **values: str
) -> int:
    now_text = clock.text(now)
    count = 0
    for some in pieces(ids):
        statement = (
            update(TRANS_GLOBAL)
            .where(_GLOBAL.id.in_(some), _GLOBAL.status.in_(UNFINISHED_STATUSES))
            .values(next_cron_time=now_text, update_time=now_text, **values)
        )
        count += connection.execute(statement).rowcount
    return count
