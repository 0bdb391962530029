"""XA on MySQL and MariaDB (PROTOCOL §7, §12)."""

import asyncio
from typing import Any, Final

from coordinator.client.barriers.databases import BarrierDatabase
from coordinator.client.barriers.rules import BarrierRow
from coordinator.client.xa.databases import Busy, DuplicateId, check_xid

_ID_BYTES_MAX: Final = 64
_UNKNOWN_ID: Final = 1397  # XAER_NOTA; also while another open connection holds it
_DUPLICATE_ID: Final = 1440  # XAER_DUPID
_BUSY: Final = (1205, 1213, 1399)  # lock wait, deadlock, XAER_RMFAIL: active in another connection
_LOCK_WAIT_SECONDS: Final = 1
# MariaDB lets others end what is prepared a moment before its storage engine does: a commit in between is
# confirmed, and lost. Measured beside a full load: 7 of 4,000 at once, 1 after 0.5 ms, none after 1.
_SETTLE_SECONDS: Final = 0.005


class MySqlXa:
    """A connection of its own (MySQL ≥ 5.7.7, MariaDB ≥ 10.5, which keep what is prepared).

    connection: of aiomysql, or what has its methods. barrier: on the same connection.
    """

    def __init__(self, connection: Any, barrier: BarrierDatabase) -> None:
        self._connection = connection
        self._barrier = barrier
        self._has_prepared = False

    async def begin(self, xid: str) -> None:
        """See XaDatabase."""
        check_xid(xid, _ID_BYTES_MAX, "MySQL")
        await self._connection.rollback()  # XA START refuses to join anything
        try:
            await self._execute("START", xid)
        except Exception as error:
            if _number(error) == _DUPLICATE_ID:
                raise DuplicateId(xid) from error
            raise

    async def insert_ignore(self, row: BarrierRow) -> bool:
        """See XaDatabase."""
        return await self._barrier.insert_ignore(row)

    async def prepare(self, xid: str) -> None:
        """See XaDatabase."""
        await self._execute("END", xid)
        self._has_prepared = True  # perhaps, from here on
        await self._execute("PREPARE", xid)

    async def abandon(self, xid: str) -> None:
        """See XaDatabase."""
        # Closing is what undoes it: the server rolls back what is not prepared, whatever state it is in.
        self._connection.close()

    async def commit(self, xid: str) -> bool:
        """See XaDatabase."""
        return await self._end("COMMIT", xid)

    async def is_lost(self, row: BarrierRow) -> bool:
        """See XaDatabase."""
        try:
            await self.reason_of(row)  # waits for the lock
        except Busy:
            return True
        return False

    async def rollback(self, xid: str) -> bool:
        """See XaDatabase."""
        return await self._end("ROLLBACK", xid)

    async def insert_alone(self, row: BarrierRow) -> bool:
        """See XaDatabase."""
        await self._statement_by_statement()
        try:
            return await self._barrier.insert_ignore(row)
        except Exception as error:
            raise _busy_or_same(error) from error

    async def reason_of(self, row: BarrierRow) -> str:
        """See XaDatabase."""
        await self._statement_by_statement()
        try:
            return await self._barrier.reason_of(row)
        except Exception as error:
            raise _busy_or_same(error) from error

    async def is_prepared(self, xid: str) -> bool:
        """See XaDatabase. MySQL 8 wants the privilege XA_RECOVER_ADMIN for this."""
        async with self._connection.cursor() as cursor:
            await cursor.execute("XA RECOVER")
            rows = await cursor.fetchall()  # dicts, where the connection makes such
        return any(_text(row["data"] if isinstance(row, dict) else row[3]) == xid for row in rows)

    async def close(self) -> None:
        """See XaDatabase."""
        try:
            if not self._connection.closed:
                await self._connection.ensure_closed()
        finally:
            if self._has_prepared:
                await asyncio.sleep(_SETTLE_SECONDS)

    async def _statement_by_statement(self) -> None:
        # Each its own transaction: without autocommit MariaDB takes XA COMMIT for a part of another one.
        await self._connection.autocommit(True)
        await self._connection.query(f"SET SESSION innodb_lock_wait_timeout = {_LOCK_WAIT_SECONDS}")

    async def _end(self, how: str, xid: str) -> bool:
        await self._statement_by_statement()
        try:
            await self._execute(how, xid)
        except Exception as error:
            if _number(error) == _UNKNOWN_ID:
                return False
            raise _busy_or_same(error) from error
        return True

    async def _execute(self, how: str, xid: str) -> None:
        await self._connection.query(f"XA {how} {self._connection.escape(xid)}")


def _busy_or_same(error: Exception) -> Exception:
    return Busy(str(error)) if _number(error) in _BUSY else error


def _number(error: Exception) -> int:
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
