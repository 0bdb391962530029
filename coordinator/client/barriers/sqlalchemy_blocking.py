"""SQLAlchemy's blocking Session and Connection, seen as SqlAlchemyBarrier sees the async ones (PROTOCOL §12).

Every method returns without having waited in the loop.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session, scoped_session

from coordinator.client.barriers.databases import BarrierDatabase
from coordinator.client.barriers.on_sqlalchemy import SqlAlchemyBarrier
from coordinator.client.errors import InvalidUse


@dataclass(frozen=True, slots=True)
class _RawConnection:
    driver_connection: Any


class _AtOnce:
    """A session's or one's own connection. owner: whose transaction it is."""

    def __init__(self, owner: Session | Connection) -> None:
        self._owner = owner

    @property
    def dialect(self) -> Any:
        return self._connection().dialect

    @property
    def sync_connection(self) -> Connection:
        return self._connection()

    def in_transaction(self) -> bool:
        return self._connection().in_transaction()

    async def begin(self) -> object:
        return self._connection().begin()

    async def get_raw_connection(self) -> _RawConnection:
        return _RawConnection(self._connection().connection.driver_connection)

    async def execute(self, *arguments: Any) -> Any:
        return self._connection().execute(*arguments)

    async def scalar(self, *arguments: Any) -> Any:
        return self._connection().scalar(*arguments)

    async def commit(self) -> None:
        self._owner.commit()

    async def rollback(self) -> None:
        self._owner.rollback()

    def _connection(self) -> Connection:
        return self._owner if isinstance(self._owner, Connection) else self._owner.connection()


def blocking_sqlalchemy_barrier(connection: object, table: str) -> BarrierDatabase:
    """Return the adapter. Raises InvalidUse for what is async, and for an engine."""
    if isinstance(connection, scoped_session):
        connection = connection()
    if isinstance(connection, (Session, Connection)):
        at_once = _AtOnce(connection)

        async def connected() -> _AtOnce:
            return at_once

        return SqlAlchemyBarrier(at_once, connected, table, is_open=connection.in_transaction)
    raise InvalidUse(
        "the barrier of blocking code takes a Session or Connection of SQLAlchemy, not a "
        f"{type(connection).__qualname__}"
    )
