"""Opening a store: tables made and looked over, and one clear sentence when it cannot be."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import partial
from typing import Any, Final, Protocol, TypedDict, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from coordinator.clock import Clock
from coordinator.errors import StartError
from coordinator.store.at_once_postgres import PostgresAtOnce
from coordinator.store.commits import Observer
from coordinator.store.database import Database
from coordinator.store.faults import STORE_ERRORS, reason_of
from coordinator.store.mysql import MySQLServer
from coordinator.store.nodes import AskTime, refuse_reset
from coordinator.store.own_tables import DTM_SHARED, OWN_METADATA
from coordinator.store.postgres import PostgresServer
from coordinator.store.queries import read_time
from coordinator.store.runner import AsyncRunner, Runner
from coordinator.store.shared_table import VERSION, write_tables
from coordinator.store.sql import SqlStore
from coordinator.store.sqlite_runner import SqliteRunner
from coordinator.store.statements_postgres import PostgresStatements
from coordinator.store.statements_sqlite import SqliteStatements
from coordinator.store.tables import check_tables, make_own_table, make_tables, own_table_sql
from coordinator.store.waiting import Limits
from coordinator.store.wall_clock import WallClock
from coordinator.telemetry.log import log
from coordinator.tls import ClientTls

Facts_co = TypeVar("Facts_co", covariant=True)

_SERVER_WRITERS: Final = 2  # so that one batch which is held up holds up no other
_READS_AT_LEISURE_MAX: Final = 4  # a database server's work goes to what drives
_IDLE_CONNECTIONS_MAX: Final = 64  # more would never be used again
_MYSQL_TIME: Final = "SELECT UTC_TIMESTAMP(6)"
_POSTGRES_TIME: Final = "SELECT clock_timestamp()"
_SETUP_SECONDS: Final = 60.0  # making and looking over the tables


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Which store, as `Store` of the configuration says."""

    driver: str = "sqlite"  # or mysql, which is MariaDB and TiDB as well, or postgres
    path: str = "dtm.db"  # sqlite: a file, made when absent, or `:memory:`
    beside: bool = False  # sqlite: a coordinator may have the file; for a moment's work
    host: str = "localhost"
    port: int = 3306
    user: str = "root"
    password: str = field(default="", repr=False)
    database: str = "dtm"  # made when absent and permitted
    schema: str = "public"  # postgres: where the tables are; made when absent and permitted
    connections_max: int = 500
    idle_connections_max: int = 64  # kept open while unused; never more than 64
    connection_lifetime_seconds: float = 300.0  # math.inf: for ever
    tls: ClientTls | None = None  # of a server; None: not encrypted by us


async def open_store(
    config: StoreConfig,
    *,
    clock: Clock,
    zone: tzinfo | None,
    reset: bool = False,
    wait_seconds: float,
    observer: Observer | None = None,
    watch: Callable[[Runner], Runner] | None = None,
) -> SqlStore:
    """Return the store, ready to be used; inside the loop that will use it.

    clock: stamps what is written. zone: of the datetime columns; None is the process's own.
    reset: drop the coordinator's own tables first. wait_seconds: how long a database that is away is waited
    for.
    observer: told about each commit. watch: puts something around each transaction. Raises StartError.
    """
    match config.driver:
        case "sqlite":
            runner, database, limits = await _open_sqlite(config, clock, reset=reset)
        case "mysql":
            runner, database, limits = await _open_mysql(config, reset=reset, wait_seconds=wait_seconds)
        case "postgres":
            runner, database, limits = await _open_postgres(config, reset=reset, wait_seconds=wait_seconds)
        case _:
            raise StartError(
                f"Store.Driver {config.driver} is not built yet", "choose sqlite, mysql or postgres"
            )
    return SqlStore(
        watch(runner) if watch else runner,
        database,
        clock=clock,
        wall_clock=WallClock(zone, offsets=config.driver == "postgres"),
        limits=limits,
        observer=observer,
    )


async def _open_sqlite(config: StoreConfig, clock: Clock, *, reset: bool) -> tuple[Runner, Database, Limits]:
    try:
        runner = SqliteRunner(config.path, beside=config.beside)
    except OSError as error:
        raise StartError(
            f"cannot make the SQLite file {config.path}: {error.strerror}", "see Store.Path"
        ) from error
    try:
        set_up_alone = partial(_set_up_alone, reset=reset, ask_time=lambda _: clock.now())
        await runner.transact(set_up_alone, seconds=_SETUP_SECONDS)
    except STORE_ERRORS as error:
        await runner.close()
        raise StartError(
            f"cannot use the SQLite file {config.path}: {reason_of(error)}",
            "it must be a SQLite database, or absent, in a folder that can be written; see Store.Path",
        ) from error
    except StartError:
        await runner.close()
        raise
    return runner, Database(SqliteStatements(), utc_now="", skip_locked=False), Limits(writers=1)


async def _open_mysql(
    config: StoreConfig, *, reset: bool, wait_seconds: float
) -> tuple[Runner, Database, Limits]:
    server = MySQLServer(**connecting(config))
    runner = _runner_of(server, config, cut=lambda connection: connection.close())
    set_up = _SharedSetUp(reset, partial(read_time, statement=_MYSQL_TIME), offsets=False)
    facts = await _facts_of(server, runner, set_up, wait_seconds=wait_seconds)
    runner.packets = facts.packets
    limits = Limits(writers=_SERVER_WRITERS, batch_bytes_max=facts.batch_bytes_max)
    database = Database(
        facts.statements,
        _MYSQL_TIME,
        skip_locked=facts.skip_locked,
        missing_tables=await _make_own_tables(server, set_up),
        columns=facts.columns,
        at_once=facts.at_once,
    )
    return runner, database, limits


async def _open_postgres(
    config: StoreConfig, *, reset: bool, wait_seconds: float
) -> tuple[Runner, Database, Limits]:
    server = PostgresServer(**connecting(config), schema=config.schema)
    runner = _runner_of(server, config, cut=lambda connection: connection.terminate())
    set_up = _SharedSetUp(reset, partial(read_time, statement=_POSTGRES_TIME), offsets=True)
    facts = await _facts_of(server, runner, set_up, wait_seconds=wait_seconds)
    statements = PostgresStatements(time_type=facts.time_type)
    database = Database(
        statements,
        _POSTGRES_TIME,
        skip_locked=True,
        nul_in_text=False,
        instants=facts.time_type == "timestamp with time zone",
        missing_tables=await _make_own_tables(server, set_up),
        columns=facts.columns,
        at_once=PostgresAtOnce(statements),
    )
    return runner, database, Limits(writers=_SERVER_WRITERS)


class Connecting(TypedDict):
    """What every database server is told of its connections."""

    host: str
    port: int
    user: str
    password: str
    database: str
    connections_max: int
    idle_max: int
    lifetime_seconds: float
    tls: ClientTls | None


def connecting(config: StoreConfig) -> Connecting:
    """How the server that the configuration names is reached."""
    return {
        "host": config.host,
        "port": config.port,
        "user": config.user,
        "password": config.password,
        "database": config.database,
        # Each writer keeps one; at least one is left for all else.
        "connections_max": max(config.connections_max, _SERVER_WRITERS + 1),
        "idle_max": min(config.idle_connections_max, _IDLE_CONNECTIONS_MAX),
        "lifetime_seconds": config.connection_lifetime_seconds,
        "tls": config.tls,
    }


class _Server(Protocol[Facts_co]):
    engine: AsyncEngine

    async def wait_until_usable(self, seconds: float) -> None: ...

    async def set_up(self, function: Callable[[Connection], None], *, seconds: float) -> None: ...

    async def facts(self) -> Facts_co: ...


def _runner_of(server: _Server[Any], config: StoreConfig, *, cut: Callable[[Any], None]) -> AsyncRunner:
    left = config.connections_max - _SERVER_WRITERS
    return AsyncRunner(
        server.engine,
        lifetime_seconds=config.connection_lifetime_seconds,
        cut=cut,
        at_leisure_max=max(1, min(_READS_AT_LEISURE_MAX, left // 2)),
    )


async def _facts_of(
    server: _Server[Facts_co], runner: Runner, set_up: Callable[[Connection], None], *, wait_seconds: float
) -> Facts_co:
    """Wait for the server, make what is absent, look it over; return what it can do. Raises StartError."""
    try:
        await server.wait_until_usable(wait_seconds)
        await server.set_up(set_up, seconds=_SETUP_SECONDS)
        return await server.facts()
    except StartError:
        await runner.close()
        raise


async def _make_own_tables(server: _Server[Any], set_up: "_SharedSetUp") -> dict[str, str]:
    """Make the tables of our own; of those that cannot be made, say so and return the SQL that does."""
    missing = {}
    for table in OWN_METADATA.sorted_tables:
        try:
            await server.set_up(partial(make_own_table, table=table), seconds=_SETUP_SECONDS)
        except StartError as error:
            log.warning("{}; start again once {} is made: the readiness says how", error.message, table.name)
            missing[table.name] = own_table_sql(table, server.engine.dialect)
    if set_up.made and DTM_SHARED.name not in missing:
        await server.set_up(set_up.note, seconds=_SETUP_SECONDS)
    return missing


def _set_up_alone(connection: Connection, reset: bool, ask_time: AskTime) -> None:
    made = make_tables(connection, reset=reset)
    check_tables(connection)
    for table in OWN_METADATA.sorted_tables:
        make_own_table(connection, table)
    if made:
        write_tables(connection, ask_time, WallClock(UTC), made=True, version=VERSION)


class _SharedSetUp:
    """Makes the protocol's tables in a database that others may use; made: whether there were none before.

    It may be run twice, where another coordinator makes them at the same time.
    """

    def __init__(self, reset: bool, ask_time: AskTime, *, offsets: bool) -> None:
        self._reset = reset
        self._ask_time = ask_time
        self._offsets = offsets
        self.made = False

    def __call__(self, connection: Connection) -> None:
        if self._reset:
            refuse_reset(connection, self._ask_time, offsets=self._offsets)
        self.made |= make_tables(connection, reset=self._reset)
        check_tables(connection)

    def note(self, connection: Connection) -> None:
        """Note for later starts that we made them."""
        write_tables(
            connection, self._ask_time, WallClock(UTC, offsets=self._offsets), made=True, version=VERSION
        )
