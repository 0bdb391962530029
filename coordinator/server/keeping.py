"""What is kept of branch calls that went wrong, as the settings and the store allow."""

from datetime import timedelta

from coordinator.clock import SystemClock
from coordinator.config.settings import Settings
from coordinator.engine.attempts import Keeping, Kept, NotKept
from coordinator.engine.sweeping import BEAT_SECONDS, Sweeper
from coordinator.server.observing import secrets_of
from coordinator.server.tasks import Tasks
from coordinator.store.own_tables import DTM_ATTEMPT, DTM_RESULT, DTM_STUCK
from coordinator.store.sql import SqlStore
from coordinator.store.tables import how_to_make
from coordinator.telemetry.secrets import Secrets
from coordinator.watching.readiness import Readiness


def why_no_results(store: SqlStore, readiness: Readiness) -> str:
    """Why steps cannot keep their results; empty where they can."""
    sql = store.missing_tables.get(DTM_RESULT.name, "")
    remark = f"no step can keep its result; to have it, run {how_to_make(sql)}" if sql else ""
    readiness.note("results", lambda: remark)
    return f"there is no table {DTM_RESULT.name}; /api/ready says how to make it" if sql else ""


def open_keeping(
    settings: Settings, store: SqlStore, clock: SystemClock, readiness: Readiness, tasks: Tasks
) -> Keeping:
    """Who keeps it. The owner of the tasks ends them before the store."""
    missing = [store.missing_tables.get(table.name, "") for table in (DTM_ATTEMPT, DTM_STUCK)]
    sql = " ".join(filter(None, missing))
    remark = (
        f"what branches answered stands in the log alone; to have it kept, run {how_to_make(sql)}"
        if sql
        else ""
    )
    readiness.note("attempts", lambda: remark)
    if sql:
        return NotKept()
    kept = timedelta(days=settings.attempt_days)
    sweeper = Sweeper(store.attempts, clock, kept=kept, results=store.results)
    tasks.repeat(sweeper.beat, "attempts", seconds=BEAT_SECONDS)
    return Kept(Secrets(secrets_of(settings)).hidden, settings.instance_name)
