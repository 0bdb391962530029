"""A database as `dtm migrate` has it: looked at, and added to, without a store over it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, Protocol, TypeVar

from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.pool import NullPool

from coordinator.errors import StartError
from coordinator.store.faults import STORE_ERRORS, Fault, fault_of, reason_of
from coordinator.store.migrating import Lacking, Step, do_step, note_version, what_is_lacking
from coordinator.store.mysql import MySQLServer
from coordinator.store.open import StoreConfig, connecting
from coordinator.store.postgres import PostgresServer

T = TypeVar("T")

ALONE: Final = "AUTOCOMMIT"  # each statement is a transaction
TOGETHER: Final = "READ COMMITTED"

_LOOK_SECONDS: Final = 30.0
_THE_START_MAKES_IT: Final = "the start of a coordinator makes it"
_DAY_SECONDS: Final = 86_400.0  # a key on a big table is made for as long as it takes


class _Run(Protocol):
    async def __call__(
        self, function: Callable[[Connection], T], *, seconds: float, isolation: str = ALONE
    ) -> T: ...


class Migration:
    """Every call has a connection of its own that commits each statement. Raises StartError."""

    def __init__(self, run: _Run, *, offsets: bool) -> None:
        self._run = run
        self._offsets = offsets

    async def lacking(self) -> Lacking:
        """What there is to do."""
        return await self._run(what_is_lacking, seconds=_LOOK_SECONDS)

    async def do(self, step: Step) -> None:
        """Do one step; returns when it stands."""
        await self._run(partial(do_step, step=step), seconds=_DAY_SECONDS)

    async def note(self, *, made: bool) -> None:
        """Note the version, once all steps stand. made: whether all tables were made by them."""
        note = partial(note_version, now=datetime.now(UTC), offsets=self._offsets, made=made)
        await self._run(note, seconds=_LOOK_SECONDS, isolation=TOGETHER)


@asynccontextmanager
async def migration(config: StoreConfig) -> AsyncIterator[Migration]:
    """Lend it; the database itself is there already. Raises StartError."""
    if config.driver == "sqlite":
        yield Migration(partial(_in_file, config.path), offsets=False)
        return
    server: MySQLServer | PostgresServer
    if config.driver == "mysql":
        server = MySQLServer(**connecting(config))
    else:
        server = PostgresServer(**connecting(config), schema=config.schema)
    try:
        yield Migration(partial(_at_server, server), offsets=config.driver == "postgres")
    finally:
        await server.engine.dispose()


async def _at_server(
    server: MySQLServer | PostgresServer,
    function: Callable[[Connection], T],
    *,
    seconds: float,
    isolation: str = ALONE,
) -> T:
    try:
        async with asyncio.timeout(seconds), server.engine.connect() as connection:
            isolated = await connection.execution_options(isolation_level=isolation)
            done = await isolated.run_sync(function)
            await isolated.commit()
            return done
    except STORE_ERRORS as error:
        if server.is_absent(error):
            raise StartError("the database is not there yet", _THE_START_MAKES_IT) from error
        if fault_of(error) is Fault.LOCKED:
            _in_use(error)
        server.cannot(error)


def _in_use(error: BaseException) -> NoReturn:
    raise StartError(
        f"a table is in use by a long transaction: {reason_of(error)}",
        "nothing of this step is done, those before it stand: end that transaction, then run it again",
    ) from error


async def _in_file(
    path: str, function: Callable[[Connection], T], *, seconds: float, isolation: str = ALONE
) -> T:
    del seconds, isolation  # it answers or is locked, for five seconds; and nobody else makes tables there
    return await asyncio.to_thread(_in_file_now, path, function)


def _in_file_now(path: str, function: Callable[[Connection], T]) -> T:
    if not Path(path).is_file():
        raise StartError(f"the SQLite file {path} is not there yet", _THE_START_MAKES_IT)
    engine = create_engine(URL.create("sqlite", database=path), poolclass=NullPool)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return function(connection)
    except STORE_ERRORS as error:
        raise StartError(
            f"cannot add to the SQLite file {path}: {reason_of(error)}", "see Store.Path"
        ) from error
    finally:
        engine.dispose()
