"""How much is unfinished, for those who watch (PROTOCOL §9).

Synchronous, over a connection, like `queries`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, case, func, select

from coordinator.model import EPOCH, Status
from coordinator.store.base import Backlog
from coordinator.store.due import to_be_driven
from coordinator.store.queries import UNFINISHED_STATUSES
from coordinator.store.tables import TRANS_GLOBAL
from coordinator.store.wall_clock import WallClock

COUNTED_MAX: Final = 100_000  # rows of a status that are counted; more are said to be so many
SAMPLED_MAX: Final = 1_000  # rows of a status that are looked at for the oldest
_GLOBAL: Final = TRANS_GLOBAL.c


def count_backlog(connection: Connection, now: datetime, clock: WallClock) -> Backlog:
    """Count the unfinished, by the key (status, next_cron_time) alone, up to COUNTED_MAX of each status.

    The oldest is looked for among the first SAMPLED_MAX of each status that are due.
    """
    by_status: dict[Status, int] = {}
    all_due, first_due, first_created = 0, None, None
    for status in UNFINISHED_STATUSES:
        of_status = (_GLOBAL.status == status,)
        by_status[Status(status)] = _counted(connection, of_status)
        if not by_status[Status(status)]:
            continue
        due = (*of_status, _GLOBAL.next_cron_time <= clock.text(now))
        # A prepared saga is due only where another program has stored it, and only until it was found.
        driven = (to_be_driven(_GLOBAL),) if status == Status.PREPARED.value else ()
        all_due += _counted(connection, (*due, *driven))
        of_key = select(_GLOBAL.next_cron_time, _GLOBAL.create_time, _GLOBAL.trans_type, _GLOBAL.status)
        first = of_key.where(*of_status).order_by(_GLOBAL.next_cron_time).limit(SAMPLED_MAX).subquery()
        created = case((first.c.create_time > clock.text(EPOCH), first.c.create_time))  # not year 0
        oldest = select(func.min(first.c.next_cron_time), func.min(created)).where(to_be_driven(first.c))
        [(earliest_due, earliest_created)] = connection.execute(oldest)
        first_due = _earliest(first_due, clock.time(earliest_due))
        first_created = _earliest(first_created, clock.time(earliest_created))
    oldest_due = first_due if first_due is not None and first_due <= now else None
    return Backlog(by_status, all_due, oldest_due=oldest_due, oldest_created=first_created)


def _counted(connection: Connection, wanted: Sequence[ColumnElement[bool]]) -> int:
    some = select(_GLOBAL.id).where(*wanted).limit(COUNTED_MAX).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar() or 0


def _earliest(*times: datetime | None) -> datetime | None:
    return min((time for time in times if time is not None), default=None)
