"""What is unfinished, for those who look at metrics. Synchronous, over a connection."""

from datetime import datetime

from sqlalchemy import Connection, case, func, or_, select, text

from coordinator.model import Status, TransType
from coordinator.store.base import Backlog
from coordinator.store.queries import UNFINISHED_STATUSES
from coordinator.store.tables import TRANS_GLOBAL
from coordinator.store.wall_clock import WallClock


def count_backlog(connection: Connection, now: datetime, clock: WallClock) -> Backlog:
    """Count the unfinished, by the key (status, next_cron_time); finished ones are never looked at."""
    column = TRANS_GLOBAL.c
    driven = or_(column.status != Status.PREPARED.value, column.trans_type != TransType.SAGA.value)
    rows = connection.execute(
        select(
            column.status,
            driven.label("driven"),
            func.count().label("number"),
            func.sum(case((column.next_cron_time <= clock.text(now), 1), else_=0)).label("due"),
            func.min(column.next_cron_time).label("first_due"),
            func.min(column.create_time).label("first_created"),
        )
        .where(column.status.in_(UNFINISHED_STATUSES))
        .group_by(column.status, text("driven"))
    ).all()
    by_status = dict.fromkeys((Status(name) for name in UNFINISHED_STATUSES), 0)
    for row in rows:
        by_status[Status(row.status)] += row.number
    of_drivers = [row for row in rows if row.driven]
    due = [time for row in of_drivers if (time := clock.time(row.first_due)) is not None and time <= now]
    created = [time for row in of_drivers if (time := clock.time(row.first_created)) is not None]
    return Backlog(
        by_status,
        sum(int(row.due) for row in of_drivers),
        oldest_due=min(due, default=None),
        oldest_created=min(created, default=None),
    )
