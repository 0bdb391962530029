"""Who works on what is asked of many transactions, as the settings and the store allow."""

from contextlib import AsyncExitStack
from datetime import timedelta

from coordinator.access.recorder import Recorder
from coordinator.config.settings import Settings
from coordinator.engine.drives import Engine
from coordinator.server.tasks import Tasks
from coordinator.service.acting import Acting
from coordinator.service.bulk import Bulk
from coordinator.service.bulk_runner import BulkRunner
from coordinator.store.own_tables import DTM_BULK, DTM_BULK_ITEM, DTM_BULK_RESULT
from coordinator.store.sql import SqlStore
from coordinator.store.tables import how_to_make
from coordinator.watching.readiness import Readiness


def open_bulk(
    settings: Settings,
    store: SqlStore,
    engine: Engine,
    acting: Acting,
    recorder: Recorder,
    readiness: Readiness,
    tasks: Tasks,
    opened: AsyncExitStack,
) -> Bulk:
    """What people ask of it. opened: closed in reverse; it has the store already."""
    clock, owner = engine.tools.clock, engine.owner_prefix
    tables = (DTM_BULK, DTM_BULK_ITEM, DTM_BULK_RESULT)
    sql = " ".join(filter(None, [store.missing_tables.get(table.name, "") for table in tables]))
    if sql:
        remark = f"nothing can be asked of many transactions at once; to have it, run {how_to_make(sql)}"
        readiness.note("bulk", lambda: remark)
        return Bulk(None, clock, recorder, owner=owner, wake=lambda: None)
    runner = BulkRunner(
        engine,
        acting,
        store.bulk,
        is_alone=settings.store.driver == "sqlite",
        kept=timedelta(days=settings.attempt_days),
    )
    readiness.note("bulk", lambda: runner.problem)
    opened.push_async_callback(runner.let_go)
    tasks.keep(runner.run(), "bulk")
    return Bulk(store.bulk, clock, recorder, owner=owner, wake=runner.wake)
