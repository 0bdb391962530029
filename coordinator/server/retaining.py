"""How long what has ended is kept, as the settings say, or by whom the tables were made."""

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from coordinator.clock import SystemClock
from coordinator.config.settings import Settings
from coordinator.engine.purging import BEAT_SECONDS, LEASE_SECONDS, Purger
from coordinator.errors import StoreUnavailable
from coordinator.server.tasks import Tasks
from coordinator.store.archive import Archive
from coordinator.store.shared_table import PURGE
from coordinator.store.sql import SqlStore
from coordinator.telemetry.log import log
from coordinator.watching.readiness import Readiness

KEPT: Final = timedelta(days=7)  # in tables of our own making, where nothing is said
_NOT_SAID: Final = (
    "nothing is deleted: the tables were there before, and their history is not ours to end;"
    " set Store.Retention, for instance to 7d, or to 0 to keep everything"
)


@dataclass(frozen=True, slots=True)
class Keeping:
    """kept: how long what has ended stays, zero: for ever. remark: what people should know; may be empty."""

    kept: timedelta
    remark: str = ""


def keeping_of(settings: Settings, *, made: bool) -> Keeping:
    """How long what has ended is kept. made: whether a coordinator of ours made the tables."""
    said = settings.store.kept
    if said is not None:
        return Keeping(said)
    return Keeping(KEPT) if made else Keeping(timedelta(0), _NOT_SAID)


async def open_retention(
    settings: Settings,
    store: SqlStore,
    clock: SystemClock,
    readiness: Readiness,
    tasks: Tasks,
    *,
    holder: str,
) -> None:
    """Begin to delete what is old enough, and say what is kept. holder: this coordinator."""
    try:
        keeping = keeping_of(settings, made=(await store.shared.tables()).made)
    except StoreUnavailable as error:  # the user may not read it, or the store is away just now
        untold = f"nothing is deleted: who made the tables cannot be told until a restart: {error}"
        keeping = replace(keeping_of(settings, made=False), remark=untold)
    if not keeping.kept:
        log.info("{}", keeping.remark or "what has ended is kept for ever, as Store.Retention says")
        readiness.note("retention", lambda: keeping.remark)
        return
    archive = Archive(Path(settings.store.archive_path)) if settings.store.archive_path else None
    log.info("what has ended is deleted after {:g} days: Store.Retention", keeping.kept / timedelta(days=1))
    purger = Purger(
        store.retention,
        clock,
        kept=keeping.kept,
        keep=archive.add if archive is not None else None,
        turn=partial(store.shared.take, PURGE, holder, seconds=LEASE_SECONDS),
        waiting=store.waiting,
    )
    readiness.note("retention", lambda: purger.problem)
    tasks.repeat(purger.beat, "retention", seconds=BEAT_SECONDS)
