"""Which class says the barrier's words on which blocking connection (PROTOCOL §12)."""

from typing import Any

from coordinator.client.barriers.blocking import BlockingBarrier
from coordinator.client.barriers.databases import BarrierDatabase, libraries_of


def blocking_database(connection: Any, table: str = "") -> BarrierDatabase:
    """Return the adapter, whose methods do not wait in the loop. Raises InvalidUse for an unknown one."""
    if "sqlalchemy" in libraries_of(connection):
        from coordinator.client.barriers.sqlalchemy_blocking import blocking_sqlalchemy_barrier

        return blocking_sqlalchemy_barrier(connection, table)
    return BlockingBarrier(connection, table)
