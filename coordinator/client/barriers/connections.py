"""Which class says the barrier's words on which connection (PROTOCOL §12)."""

from typing import Any

from coordinator.client.barriers.databases import BarrierDatabase, libraries_of
from coordinator.client.barriers.on_mysql import MySqlBarrier
from coordinator.client.barriers.on_postgres import PostgresBarrier
from coordinator.client.barriers.on_sqlite import SqliteBarrier
from coordinator.client.errors import InvalidUse


def barrier_database(connection: Any, table: str = "") -> BarrierDatabase:
    """Return the adapter for a connection. A BarrierDatabase is returned as it is.

    Raises InvalidUse for a connection of an unknown driver.
    """
    # By name: whoever has such a connection has the driver; nobody else needs it.
    libraries = libraries_of(connection)
    if "aiomysql" in libraries:
        return MySqlBarrier(connection, table)
    if "aiosqlite" in libraries:
        return SqliteBarrier(connection, table)
    if "asyncpg" in libraries:
        return PostgresBarrier(connection, table)
    if "sqlalchemy" in libraries:  # or made from it, as SQLModel's sessions are
        from coordinator.client.barriers.on_sqlalchemy import sqlalchemy_barrier

        return sqlalchemy_barrier(connection, table)
    if all(hasattr(connection, name) for name in ("begin", "insert_ignore", "commit", "rollback")):
        return connection  # type: ignore[no-any-return] # just looked: it has what the Protocol asks for
    raise InvalidUse(
        f"the barrier does not know {type(connection).__module__}.{type(connection).__qualname__}: hand in "
        "an aiomysql or aiosqlite connection, one of asyncpg, an AsyncSession or AsyncConnection of "
        "SQLAlchemy, or an object with the methods of BarrierDatabase; for Redis see RedisBarrier"
    )
