"""Which class says XA's words on which connection (PROTOCOL §7, §12)."""

from typing import Any

from coordinator.client.barriers.databases import libraries_of
from coordinator.client.barriers.on_mysql import MySqlBarrier
from coordinator.client.barriers.on_postgres import PostgresBarrier
from coordinator.client.errors import InvalidUse
from coordinator.client.xa.databases import BringsXa, XaDatabase
from coordinator.client.xa.on_mysql import MySqlXa
from coordinator.client.xa.on_postgres import PostgresXa


def xa_database(connection: Any, table: str = "") -> XaDatabase:
    """Return the adapter for a connection. Raises InvalidUse for a database without XA."""
    if isinstance(connection, BringsXa):
        return connection.xa_database(table)
    libraries = libraries_of(connection)
    if "aiomysql" in libraries:
        return MySqlXa(connection, MySqlBarrier(connection, table))
    if "asyncpg" in libraries:
        return PostgresXa(connection, PostgresBarrier(connection, table))
    if "aiosqlite" in libraries:
        raise InvalidUse("SQLite has no XA: use a saga or TCC, or MySQL, MariaDB or PostgreSQL")
    kind = type(connection)
    raise InvalidUse(
        f"XA does not know {kind.__module__}.{kind.__qualname__}: connect must return a connection of "
        "aiomysql or asyncpg"
    )
