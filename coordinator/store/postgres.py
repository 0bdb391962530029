"""A PostgreSQL server: reaching it, waiting for it, what an existing database looks like."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine

from coordinator.errors import StartError
from coordinator.store.faults import STORE_ERRORS, reason_of, sql_state
from coordinator.store.fitting import Columns, column_of
from coordinator.store.reach import CONNECT_SECONDS, engine_of, place_of, set_up, wait_until_reached
from coordinator.telemetry.log import log
from coordinator.tls import ClientTls

_CONNECTIONS_MAX: Final = 32  # each is a process there, and a server allows 100 unless told otherwise
_MAINTENANCE_DATABASE: Final = "postgres"  # every server has it; where one stands to make another

_SESSION: Final = {
    "application_name": "dtm-coordinator",
    # A row that somebody else holds is not waited for long, because a whole batch waits with it.
    "lock_timeout": "2s",
    # Longer than we wait ourselves: what a connection that was thrown away had begun ends by itself.
    "statement_timeout": "15s",
    "idle_in_transaction_session_timeout": "15s",
    "default_transaction_isolation": "read committed",  # of a batch that is one statement
    # Times are written with their offset and read as text: only the form has to be certain.
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    # Few rows by key, always. A plan is kept with its statement, and one made while the tables were empty, or
    # without statistics, would read all of a table that has grown since.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",  # it would sort all that is due, rather than read the first of it in order
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
_TIME_TYPES: Final = ("timestamptz", "timestamp")

_WRONG_USER: Final = ("28000", "28P01")
_NOT_PERMITTED: Final = "42501"
_UNKNOWN_DATABASE: Final = "3D000"
# Database, schema, table, index, type: made by another coordinator at the same time. 23505 says the same of
# the catalogue's own rows.
_EXISTS_ALREADY: Final = frozenset({"42P04", "42P06", "42P07", "42710", "23505"})

_TYPE_OF_TIMES: Final = """
SELECT format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = 'trans_global'::regclass AND attname = 'next_cron_time'"""

# An atttypmod of varchar counts four bytes more; -1 is no bound.
_TEXT_COLUMNS: Final = """
SELECT attname::text, CASE WHEN atttypmod > 4 THEN atttypmod - 4 END, getdatabaseencoding()::text
FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
WHERE attrelid = 'trans_global'::regclass AND attnum > 0 AND NOT attisdropped AND typcategory = 'S'"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What this database looks like. time_type: of next_cron_time, as it stands in a cast."""

    time_type: str
    columns: Columns


class PostgresServer:
    """One server, database and schema, by its configuration.

    idle_max: connections kept open. lifetime_seconds: of one.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        user: str,
        password: str,
        database: str,
        schema: str,
        connections_max: int,
        idle_max: int,
        lifetime_seconds: float,
        tls: ClientTls | None = None,
    ) -> None:
        self._url = URL.create(
            "postgresql+asyncpg",
            username=user,
            password=password or None,
            host=host,
            port=port,
            database=database,
        )
        self._schema = schema
        self._where = place_of(self._url)
        self._idle_max = idle_max
        self._lifetime_seconds = lifetime_seconds
        self._tls = tls
        self.engine = self._engine(self._url, min(connections_max, _CONNECTIONS_MAX))

    def _engine(self, url: URL, connections_max: int) -> AsyncEngine:
        quoted = self._schema.replace('"', '""')
        engine = engine_of(
            url,
            connections_max=connections_max,
            idle_max=self._idle_max,
            lifetime_seconds=self._lifetime_seconds,
            tls=self._tls,
            connect_args={
                "timeout": CONNECT_SECONDS,
                "server_settings": {**_SESSION, "search_path": f'"{quoted}"'},
            },
        )
        event.listen(engine.sync_engine, "connect", _exchange_times_as_text)
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
        engine = self._engine(self._url.set(database=_MAINTENANCE_DATABASE), 1)
        name = engine.dialect.identifier_preparer.quote_identifier(self._url.database or "")
        # Compared byte by byte, in Unicode whatever the server's own locale is.
        statement = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        try:
            async with asyncio.timeout(CONNECT_SECONDS), engine.connect() as connection:
                alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
                await alone.exec_driver_sql(statement)
            log.info("made the database {}", self._where)
        except STORE_ERRORS as error:
            if sql_state(error) not in _EXISTS_ALREADY:
                raise
        finally:
            await engine.dispose()

    async def set_up(self, function: Callable[[Connection], None], *, seconds: float) -> None:
        """Run the function, which makes tables, in the schema, made when absent. Raises StartError."""

        def in_schema(connection: Connection) -> None:
            self._make_schema(connection)
            function(connection)

        await set_up(
            self.engine,
            in_schema,
            seconds=seconds,
            exists_already=lambda error: sql_state(error) in _EXISTS_ALREADY,
            cannot=self.cannot,
        )

    def _make_schema(self, connection: Connection) -> None:
        # Asked first: IF NOT EXISTS alone needs the right to make one even where it exists.
        known = connection.exec_driver_sql("SELECT 1 FROM pg_namespace WHERE nspname = $1", (self._schema,))
        if known.one_or_none() is None:
            name = connection.dialect.identifier_preparer.quote_identifier(self._schema)
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
            log.info("made the schema {} in {}", self._schema, self._where)

    async def facts(self) -> Facts:
        """Look at the database; warns when it does not keep what it acknowledges. Raises StartError."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS), self.engine.connect() as connection:
                kind = str((await connection.exec_driver_sql(_TYPE_OF_TIMES)).scalar_one())
                found: Sequence[Any] = (await connection.exec_driver_sql(_TEXT_COLUMNS)).all()
                for setting in ("fsync", "synchronous_commit"):
                    value = (await connection.exec_driver_sql(f"SHOW {setting}")).scalar_one()
                    if value == "off":
                        log.warning(
                            "{} has {} off: a crash of the database can lose what was acknowledged",
                            self._where,
                            setting,
                        )
        except STORE_ERRORS as error:
            self.cannot(error)
        if not kind.startswith("timestamp"):
            raise StartError(
                f"trans_global.next_cron_time of the store {self._where} is {kind}, not a timestamp",
                "tables are made when absent but never altered: correct the column as in sql/",
            )
        columns = {row[0]: column_of(row[1], None, row[2]) for row in found}
        return Facts(time_type=kind, columns=columns)

    def is_absent(self, error: BaseException) -> bool:
        """Whether an error says that the server has no such database."""
        return sql_state(error) == _UNKNOWN_DATABASE

    def cannot(self, error: BaseException) -> NoReturn:
        """Raise the StartError that says what is wrong, and what to do."""
        match sql_state(error):
            case state if state in _WRONG_USER:
                hint = "correct Store.User and Store.Password, or let the user in (pg_hba.conf)"
            case state if state == _NOT_PERMITTED:
                hint = (
                    f"grant the rights, or let an administrator make database {self._url.database},"
                    f" schema {self._schema} and the tables of sql/coordinator.postgres.sql"
                )
            case state if state == _UNKNOWN_DATABASE:
                hint = f"make the database {self._url.database}, or correct Store.Db"
            case _:
                hint = "see the database's log"
        raise StartError(f"cannot use the store {self._where}: {reason_of(error)}", hint) from error


def _exchange_times_as_text(connection: Any, _record: object) -> None:
    """Let the database read times, as it reads them in a statement: so a column may be with or without zone.

    The driver's own way refuses aware times for the one, and takes the machine's zone for the other.
    """

    async def set_codecs(driver: Any) -> None:
        for kind in _TIME_TYPES:
            await driver.set_type_codec(kind, schema="pg_catalog", encoder=str, decoder=str, format="text")

    connection.run_async(set_codecs)
