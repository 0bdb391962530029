"""What a start asks of its store: what time it is there, and what this instance drove when it died."""

from coordinator.clock import SystemClock
from coordinator.config.settings import Settings
from coordinator.engine.drives import Engine
from coordinator.errors import StartError, StoreUnavailable
from coordinator.owner import prefix_of
from coordinator.store.reach import Patience
from coordinator.store.sql import SqlStore
from coordinator.telemetry.log import log
from coordinator.watching.readiness import Readiness, StoreWatch


async def follow_clock(
    settings: Settings, store: SqlStore, clock: SystemClock, readiness: Readiness
) -> StoreWatch:
    """Set the clock by the store's, and return what goes on to. Raises StartError."""
    watch = StoreWatch(store, clock, readiness, own_clock=settings.store.driver == "sqlite")
    try:
        await watch.follow()
    except (StoreUnavailable, TimeoutError) as error:
        raise StartError(
            f"the store {settings.store.address} does not tell its time: {error}",
            "see the database's log, then start again",
        ) from error
    return watch


async def take_back(
    settings: Settings, store: SqlStore, clock: SystemClock, engine: Engine, *, wait_seconds: float
) -> None:
    """Make due what this instance drove when it died; of a SQLite file nobody else can own anything.

    wait_seconds: how long a store that is away is waited for. Raises StartError.
    """
    embedded = settings.store.driver == "sqlite"
    prefix = "" if embedded else prefix_of(settings.instance_name)
    patience = Patience(
        settings.store.address,
        wait_seconds,
        hint="see what keeps the store from being written",
    )
    taken = None
    while taken is None:
        try:
            taken = await store.take_back(
                now=clock.now(), owner_prefix=prefix, except_prefix=engine.owner_prefix
            )
        except StoreUnavailable as error:  # it went away since it was opened
            await patience.pause(error, error.message)
    if taken:
        were = "transaction was" if taken == 1 else "transactions were"
        log.info("{} {} running when this coordinator stopped; work on them goes on now", taken, were)
