"""What operators have held, as far as the store has a table for it."""

from coordinator.clock import SystemClock
from coordinator.engine.admission import Admission
from coordinator.engine.holding import BEAT_SECONDS, Holding
from coordinator.server.tasks import Tasks
from coordinator.store.own_tables import DTM_HOLD
from coordinator.store.sql import SqlStore
from coordinator.store.tables import how_to_make
from coordinator.watching.readiness import Readiness


async def open_holding(
    store: SqlStore, admission: Admission, clock: SystemClock, readiness: Readiness, tasks: Tasks
) -> Holding:
    """Who keeps the doors as the table says, which was read once. The tasks end before the store.

    Without the table, or while the store is away, it holds nothing.
    """
    sql = store.missing_tables.get(DTM_HOLD.name, "")
    remark = f"no endpoint can be held; to have it, run {how_to_make(sql)}" if sql else ""
    readiness.note("holds", lambda: remark)
    if sql:
        return Holding(None, admission, clock, missing=f"there is no table {DTM_HOLD.name}: {remark}")
    holding = Holding(store.holds, admission, clock)
    await holding.beat()
    tasks.repeat(holding.beat, "holds", seconds=BEAT_SECONDS)
    return holding
