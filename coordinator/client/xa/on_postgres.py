"""XA in PostgreSQL: PREPARE TRANSACTION, whatever the driver (PROTOCOL §7, §12)."""

from typing import Any, Final

from coordinator.client.barriers.databases import BarrierDatabase, undone_by_server
from coordinator.client.barriers.rules import BarrierRow
from coordinator.client.errors import InvalidUse
from coordinator.client.xa.databases import Busy, DuplicateId, check_xid

_ID_BYTES_MAX: Final = 199
_UNKNOWN_ID: Final = "42704"
_DUPLICATE_ID: Final = "42710"
_LOCKED: Final = "55P03"  # lock time-out
_BUSY: Final = ("55000", _LOCKED, "40P01")  # held by another backend, lock time-out, deadlock
_NOT_ENABLED: Final = "55000"


class PostgresXa:
    """A connection of its own. The server needs max_prepared_transactions > 0.

    connection: of asyncpg, or what has its `execute`, `fetchval`, `is_closed` and `close`, and opens no
    transaction by itself. barrier: on the same connection.
    """

    def __init__(self, connection: Any, barrier: BarrierDatabase) -> None:
        self._connection = connection
        self._barrier = barrier

    async def begin(self, xid: str) -> None:
        """See XaDatabase."""
        check_xid(xid, _ID_BYTES_MAX, "PostgreSQL")
        # PREPARE TRANSACTION says so only at its end; MySQL says it at once, and so do we.
        if await self.is_prepared(xid):
            raise DuplicateId(xid)
        await self._connection.execute("BEGIN")

    async def insert_ignore(self, row: BarrierRow) -> bool:
        """See XaDatabase."""
        # Another attempt of the same branch holds the key until the whole transaction ends: no use waiting.
        await self._connection.execute("SET LOCAL lock_timeout = '1s'")
        try:
            inserted = await self._barrier.insert_ignore(row)
        except Exception as error:
            if _state(error) == _LOCKED:
                raise DuplicateId(f"{row.gid}-{row.branch_id}") from error
            raise
        await self._connection.execute("SET LOCAL lock_timeout TO DEFAULT")
        return inserted

    async def prepare(self, xid: str) -> None:
        """See XaDatabase."""
        try:
            done = await self._execute("PREPARE TRANSACTION", xid)
        except Exception as error:
            if _state(error) == _DUPLICATE_ID:
                raise DuplicateId(xid) from error
            if _state(error) == _NOT_ENABLED:
                raise InvalidUse(
                    f"PostgreSQL does not prepare transactions: {error}. Set max_prepared_transactions, for "
                    "instance to its max_connections, and restart it"
                ) from error
            raise
        if done != "PREPARE TRANSACTION":  # after a failed statement it rolls back, and says so only here
            raise undone_by_server()

    async def abandon(self, xid: str) -> None:
        """See XaDatabase."""
        if not self._connection.is_closed():
            await self._connection.execute("ROLLBACK")

    async def commit(self, xid: str) -> bool:
        """See XaDatabase."""
        return await self._end("COMMIT PREPARED", xid)

    async def is_lost(self, row: BarrierRow) -> bool:
        """See XaDatabase."""
        return False

    async def rollback(self, xid: str) -> bool:
        """See XaDatabase."""
        return await self._end("ROLLBACK PREPARED", xid)

    async def insert_alone(self, row: BarrierRow) -> bool:
        """See XaDatabase."""
        await self._connection.execute("SET lock_timeout = '1s'")
        try:
            return await self._barrier.insert_ignore(row)
        except Exception as error:
            raise _busy_or_same(error) from error

    async def reason_of(self, row: BarrierRow) -> str:
        """See XaDatabase."""
        return await self._barrier.reason_of(row)

    async def is_prepared(self, xid: str) -> bool:
        """See XaDatabase."""
        query = (
            f"SELECT count(*) FROM pg_prepared_xacts WHERE gid = {_literal(xid)} "  # noqa: S608
            "AND database = current_database()"
        )
        return bool(await self._connection.fetchval(query))

    async def close(self) -> None:
        """See XaDatabase."""
        await self._connection.close()

    async def _end(self, how: str, xid: str) -> bool:
        try:
            await self._execute(how, xid)
        except Exception as error:
            if _state(error) == _UNKNOWN_ID:
                return False
            raise _busy_or_same(error) from error
        return True

    async def _execute(self, how: str, xid: str) -> str:
        """Return what the server says it has done."""
        return str(await self._connection.execute(f"{how} {_literal(xid)}"))


def _literal(text: str) -> str:
    # As an escape string: what a backslash means elsewhere depends on the server's settings.
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _state(error: Exception) -> str:
    # asyncpg and psycopg name it so, psycopg2 otherwise
    return str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or "")


def _busy_or_same(error: Exception) -> Exception:
    return Busy(str(error)) if _state(error) in _BUSY else error
