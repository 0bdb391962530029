"""How `open_store` reaches the database of a throw-away server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import tzinfo

from coordinator.clock import SystemClock
from coordinator.store.open import StoreConfig, open_store
from coordinator.store.sql import SqlStore
from tests.support.servers import Database, PostgresDatabase


def config_of(database: Database, *, schema: str = "public") -> StoreConfig:
    """MySQL or PostgreSQL, as the database is. schema: of PostgreSQL."""
    return StoreConfig(
        driver="postgres" if isinstance(database, PostgresDatabase) else "mysql",
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password,
        database=database.name,
        schema=schema,
    )


@asynccontextmanager
async def opened(
    config: StoreConfig, *, zone: tzinfo | None = None, reset: bool = False
) -> AsyncIterator[SqlStore]:
    """A store that is open within the block."""
    store = await open_store(config, clock=SystemClock(), zone=zone, reset=reset, wait_seconds=5.0)
    try:
        yield store
    finally:
        await store.close()
