"""How `open_store` reaches the database of a throw-away server."""

from coordinator.store.open import StoreConfig
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
