"""A MySQL server, MariaDB or TiDB: reaching it, waiting for it, what it can do."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from pymysql.constants import CLIENT, CR
from pymysql.err import OperationalError
from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine

from coordinator.discovery.logins import mysql_password
from coordinator.errors import StartError
from coordinator.store.at_once_mysql import MySQLAtOnce
from coordinator.store.faults import STORE_ERRORS, Fault, error_number, fault_of, reason_of
from coordinator.store.fitting import Columns, column_of
from coordinator.store.packet import takes_packets
from coordinator.store.reach import CONNECT_SECONDS, engine_of, place_of, set_up, wait_until_reached
from coordinator.store.statements_mysql import MySQLStatements
from coordinator.telemetry.log import log
from coordinator.tls import ClientTls

_BATCH_BYTES_MAX: Final = 1_000_000
_PACKET_BYTES_LEAST: Final = 4 * 1024 * 1024  # what statements are bounded for

# Strict: a value that does not fit is refused, not cut. Backslashes escape, as the driver assumes. A row that
# somebody else holds is not waited for long, because a whole batch waits with it.
_SESSION: Final = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO',"
    " SESSION innodb_lock_wait_timeout = 2"
)
# A server goes on with a statement whose connection is gone. So it ends it itself, once we have given it up.
# The first is for MariaDB alone, seconds of any statement; the second it passes over, milliseconds of a read.
_STATEMENT_SECONDS: Final = 11
_LIMIT: Final = (
    "/*M!100100 , SESSION max_statement_time = {} *//*!50708 , SESSION max_execution_time = {}000 */"
)

_TEXT_COLUMNS: Final = """
SELECT column_name, character_maximum_length, character_octet_length, character_set_name
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'trans_global' AND character_set_name IS NOT NULL"""

_ACCESS_DENIED: Final = frozenset({1044, 1045, 1130, 1142, 1227, 1698})
_UNKNOWN_DATABASE: Final = 1049
_EXISTS_ALREADY: Final = frozenset({1050, 1061})  # table, key: made by another coordinator at the same time


def _require_encryption(connection: Any, _record: object) -> None:
    """The driver goes on in plain text with a server that offers no TLS; nothing of ours may be sent so."""
    if not connection.driver_connection.server_capabilities & CLIENT.SSL:
        connection.close()
        raise OperationalError(CR.CR_SSL_CONNECTION_ERROR, "the server offers no TLS")


def _session(seconds: int) -> str:
    """What each connection begins with. seconds: after which a statement ends."""
    return _SESSION + _LIMIT.format(seconds, seconds)


@dataclass(frozen=True, slots=True)
class Facts:
    """What this server can do."""

    skip_locked: bool
    packets: bool  # several statements in one packet
    statements: MySQLStatements
    at_once: MySQLAtOnce | None  # where it compares rows in one packet
    batch_bytes_max: int
    columns: Columns


class MySQLServer:
    """One server and database, by its configuration.

    idle_max: connections kept open. lifetime_seconds: of one. tls: None: not encrypted.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        user: str,
        password: str,
        database: str,
        connections_max: int,
        idle_max: int,
        lifetime_seconds: float,
        tls: ClientTls | None = None,
    ) -> None:
        self._url = URL.create(
            "mysql+aiomysql",
            username=user,
            password=mysql_password(password),
            host=host,
            port=port,
            database=database,
            query={"charset": "utf8mb4"},
        )
        self._where = place_of(self._url)
        self._idle_max = idle_max
        self._lifetime_seconds = lifetime_seconds
        self._tls = tls
        self.engine = self._engine(self._url, connections_max)

    def _engine(self, url: URL, connections_max: int) -> AsyncEngine:
        engine = engine_of(
            url,
            connections_max=connections_max,
            idle_max=self._idle_max,
            lifetime_seconds=self._lifetime_seconds,
            tls=self._tls,
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "init_command": _session(_STATEMENT_SECONDS),
                "client_flag": CLIENT.FOUND_ROWS | CLIENT.MULTI_STATEMENTS,
            },
        )
        if self._tls is not None:
            event.listen(engine.sync_engine, "connect", _require_encryption)
        return engine

    async def wait_until_usable(self, seconds: float) -> None:
        """Return when the database answers; it is made when absent. Raises StartError."""
        await wait_until_reached(
            self.engine,
            seconds=seconds,
            is_absent=self.is_absent,
            create=self._create_database,
            cannot=self.cannot,
        )

    async def _create_database(self) -> None:
        engine = self._engine(self._url.set(database=""), 1)
        name = engine.dialect.identifier_preparer.quote_identifier(self._url.database or "")
        statement = " ".join(("CREATE DATABASE IF NOT EXISTS", name, "CHARACTER SET utf8mb4"))
        try:
            async with asyncio.timeout(CONNECT_SECONDS), engine.begin() as connection:
                await connection.exec_driver_sql(statement)
        finally:
            await engine.dispose()
        log.info("made the database {}", self._where)

    async def set_up(self, function: Callable[[Connection], None], *, seconds: float) -> None:
        """Run the function, which makes tables. Raises StartError."""
        await set_up(
            self.engine,
            function,
            seconds=seconds,
            exists_already=lambda error: error_number(error) in _EXISTS_ALREADY,
            cannot=self.cannot,
        )

    async def facts(self) -> Facts:
        """Ask what the server can do. Raises StartError."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS), self.engine.connect() as connection:
                packet = (await connection.exec_driver_sql("SELECT @@max_allowed_packet")).scalar_one()
                found: Sequence[Any] = (await connection.exec_driver_sql(_TEXT_COLUMNS)).all()
        except STORE_ERRORS as error:
            self.cannot(error)
        if int(packet) < _PACKET_BYTES_LEAST:
            log.warning("max_allowed_packet of {} is {}; 4 MiB at least are needed", self._where, packet)
        columns = {str(row[0]).lower(): column_of(*row[1:]) for row in found}
        skip_locked, packets = await self._can_skip_locked(), await self._takes_packets()
        statements = MySQLStatements(skip_locked=skip_locked, packets=packets)
        at_once = MySQLAtOnce(statements, skip_locked=skip_locked)
        return Facts(
            skip_locked,
            packets,
            statements,
            at_once if packets and await self._understands(at_once) else None,
            min(_BATCH_BYTES_MAX, int(packet) // 4),
            columns,
        )

    async def _can_skip_locked(self) -> bool:
        statement = "SELECT id FROM trans_global WHERE id = 0 FOR UPDATE SKIP LOCKED"
        try:
            async with asyncio.timeout(CONNECT_SECONDS), self.engine.connect() as connection:
                await connection.exec_driver_sql(statement)
        except STORE_ERRORS as error:
            if fault_of(error) is Fault.REFUSED:
                return False  # a syntax error: MariaDB before 10.6, MySQL before 8
            self.cannot(error)
        return True

    async def _takes_packets(self) -> bool:
        """TiDB does not, unless it is told to."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS), self.engine.connect() as connection:
                await connection.run_sync(lambda it: takes_packets(it.connection.cursor()))
        except STORE_ERRORS as error:
            if fault_of(error) is Fault.REFUSED:
                return False
            self.cannot(error)
        return True

    async def _understands(self, at_once: MySQLAtOnce) -> bool:
        try:
            async with asyncio.timeout(CONNECT_SECONDS), self.engine.connect() as connection:
                return await connection.run_sync(lambda it: at_once.is_understood(it.connection.cursor()))
        except STORE_ERRORS as error:
            if fault_of(error) is Fault.REFUSED:
                return False
            self.cannot(error)

    def is_absent(self, error: BaseException) -> bool:
        """Whether an error says that the server has no such database."""
        return error_number(error) == _UNKNOWN_DATABASE

    def cannot(self, error: BaseException) -> NoReturn:
        """Raise the StartError that says what is wrong, and what to do."""
        if error_number(error) in _ACCESS_DENIED:
            hint = "correct Store.User and Store.Password, or grant the rights"
        else:
            hint = "see the database's log"
        raise StartError(f"cannot use the store {self._where}: {reason_of(error)}", hint) from error
