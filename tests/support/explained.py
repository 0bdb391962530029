"""All that is said of a transaction, as the service says it of these rows and attempts."""

from collections.abc import Sequence
from datetime import datetime

from coordinator.attempt import Attempt
from coordinator.backoff import Timing
from coordinator.explain.actions import allowed_actions
from coordinator.explain.forecast import all_succeed, forecast, goes_on
from coordinator.explain.play import Rows, Supposed
from coordinator.explain.preview import left_by_stop
from coordinator.explain.why import STOPPED, Facts, why
from coordinator.service.operate import Explained
from coordinator.store.base import Stored

TIMING = Timing()


def explained(rows: Rows, attempts: Sequence[Attempt], now: datetime) -> Explained:
    """What `Operate.show` would say."""
    failing = {(it.branch_id, it.op): Supposed(it.result, it.seconds) for it in attempts}
    again = forecast(TIMING, rows, goes_on(failing), now=now) if failing else None
    reason = why(TIMING, rows, Facts(now, attempts))
    return Explained(
        Stored(rows.transaction, rows.branches),
        attempts,
        reason,
        forecast(TIMING, rows, all_succeed(), now=now),
        None if rows.transaction.status.is_final else again,
        allowed_actions(TIMING, rows, now),
        left_by_stop(TIMING, rows, now) if reason.code.id == STOPPED else (),
    )
