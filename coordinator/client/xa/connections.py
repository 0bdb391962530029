"""Which class says XA's words on which connection (PROTOCOL §7, §12)."""

from typing import Any

import aiomysql

from coordinator.client.barriers.on_mysql import MySqlBarrier
from coordinator.client.errors import InvalidUse
from coordinator.client.xa.databases import BringsXa, XaDatabase
from coordinator.client.xa.on_mysql import MySqlXa


def xa_database(connection: Any, table: str = "") -> XaDatabase:
    """Return the adapter for a connection. Raises InvalidUse for a database without XA."""
    if isinstance(connection, BringsXa):
        return connection.xa_database(table)
    if isinstance(connection, aiomysql.Connection):
        return MySqlXa(connection, MySqlBarrier(connection, table))
    kind = type(connection)
    match kind.__module__.partition(".")[0]:
        case "asyncpg":
            from coordinator.client.barriers.on_postgres import PostgresBarrier
            from coordinator.client.xa.on_postgres import PostgresXa

            return PostgresXa(connection, PostgresBarrier(connection, table))
        case "aiosqlite":
            raise InvalidUse("SQLite has no XA: use a saga or TCC, or MySQL, MariaDB or PostgreSQL")
    raise InvalidUse(
        f"XA does not know {kind.__module__}.{kind.__qualname__}: connect must return a connection of "
        "aiomysql or asyncpg"
    )
