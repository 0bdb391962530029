"""How jobs on many transactions stand in their columns. Synchronous, over a connection."""

from typing import Any, Final

from sqlalchemy import Connection, Row, func, select

from coordinator.model import EPOCH
from coordinator.store.bulk_rows import Counts, Item, ItemResult, Job, State
from coordinator.store.own_tables import DTM_BULK_RESULT
from coordinator.store.wall_clock import WallClock

_PLAIN: Final = (
    *("action", "id_max", "items", "rate", "reason", "who", "method", "address", "gid_prefix", "needs"),
    *("source", "owner"),
)
_RESULT: Final = DTM_BULK_RESULT.c


def plain_values(job: Job) -> dict[str, Any]:
    """What stands in columns as it is, by column."""
    return {**{name: getattr(job, name) for name in _PLAIN}, "wanted": job.filter}


def counted(counts: Counts) -> dict[str, int]:
    """The columns that have the counts."""
    return {result.value: getattr(counts, result.value) for result in ItemResult}


def counts_of(connection: Connection, job_id: int) -> Counts:
    """The results that there are now."""
    asked = select(_RESULT.result, func.count()).where(_RESULT.bulk == job_id).group_by(_RESULT.result)
    found = {str(result): int(count) for result, count in connection.execute(asked)}
    return Counts(**{result.value: found.get(result.value, 0) for result in ItemResult})


def job_of(row: Row[Any], clock: WallClock, counts: Counts | None = None) -> Job:
    """The job in a row. clock: of its times. counts: in the place of those that stand there."""
    stored = Counts(row.done, row.not_eligible, row.refused, row.failed)
    return Job(
        **{name: getattr(row, name) for name in _PLAIN},
        filter=row.wanted,
        state=State(row.state),
        until=clock.time(row.until) or EPOCH,
        passed=row.passed,
        counts=stored if counts is None else counts,
        made=clock.time(row.made) or EPOCH,
        ended=clock.time(row.ended),
        id=row.id,
    )


def item_of(row: Row[Any], clock: WallClock) -> Item:
    """The item in a row that has its result beside it."""
    result = None if row.result is None else ItemResult(row.result)
    return Item(row.number, row.gid, row.trans_id, result, row.said or "", clock.time(row.at))
