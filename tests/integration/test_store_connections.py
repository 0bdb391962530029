"""The connections that a store keeps, waits for and lets go of, on each database server."""

import asyncio
import math
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from loguru import logger

from coordinator.clock import SystemClock
from coordinator.config.settings import Settings
from coordinator.config.store import Store
from coordinator.errors import StartError, StoreUnavailable
from coordinator.server import server as server_module
from coordinator.server.handed_out import store_config
from coordinator.server.server import Server
from coordinator.store.open import StoreConfig, open_store
from coordinator.store.sql import SqlStore
from tests.support.ports import HOST, free_port
from tests.support.servers import Database, MariaDBServer, PostgresDatabase, PostgresServer
from tests.support.store_config import config_of, opened
from tests.support.store_contract import insert

CONNECTIONS_OF = {
    MariaDBServer: "SELECT id FROM information_schema.processlist WHERE db = '{}'",
    PostgresServer: "SELECT pid FROM pg_stat_activity"
    " WHERE datname = '{}' AND application_name = 'dtm-coordinator'",
}


def connections(server: MariaDBServer | PostgresServer, database: Database) -> set[Any]:
    found = server.database().execute(CONNECTIONS_OF[type(server)].format(database.name))
    return {row[0] for row in found}


def config(database: Database, **more: Any) -> StoreConfig:
    return StoreConfig(
        driver="postgres" if isinstance(database, PostgresDatabase) else "mysql",
        host=database.host,
        port=database.port,
        user=database.user,
        database=database.name,
        **more,
    )


async def test_a_life_without_end_keeps_a_writers_connection(
    server: MariaDBServer | PostgresServer, database: Database
) -> None:
    """ConnMaxLifeTime 0."""
    settings = Settings(
        store=Store(
            driver="postgres" if isinstance(database, PostgresDatabase) else "mysql",
            host=database.host,
            port=database.port,
            user=database.user,
            db=database.name,
            conn_max_life_time=0,
        )
    )
    made = store_config(settings, None)
    assert made.connection_lifetime_seconds == math.inf
    async with opened(made) as store:
        await insert(store, gid="first")
        before = await asyncio.to_thread(connections, server, database)
        for number in range(5):
            await insert(store, gid=f"g{number}")
        assert await asyncio.to_thread(connections, server, database) == before


async def test_as_many_idle_connections_are_kept_as_asked_for(
    server: MariaDBServer | PostgresServer, database: Database
) -> None:
    for idle_max, kept in ((3, 3), (20, 20), (0, 1)):
        async with opened(config(database, idle_connections_max=idle_max)) as store:
            await asyncio.gather(*(store.find(f"g{number}") for number in range(25)))
            assert store.connections() == {"in_use": 0, "idle": kept}


LIMIT = 2


async def test_too_many_connections_are_waited_for(
    server: MariaDBServer | PostgresServer, database: Database
) -> None:
    user = await asyncio.to_thread(limited_user, server, database)
    async with opened(replace(config(database), user=user)) as store:
        await insert(store, gid="one")
        for _ in range(3):
            found = await asyncio.gather(
                *(store.find("one") for _ in range(20)),
                *(insert(store, gid=f"{uuid4()}") for _ in range(20)),
                *(store.backlog(now=SystemClock().now()) for _ in range(5)),
            )
            assert all(it is not None for it in found)
        assert sum(store.connections().values()) <= LIMIT


def limited_user(server: MariaDBServer | PostgresServer, database: Database) -> str:
    """A user who may have two connections at once: the server says `too many` to a third."""
    if isinstance(server, PostgresServer):
        if not server.database().execute("SELECT 1 FROM pg_roles WHERE rolname = 'limited'"):
            server.database().execute("CREATE ROLE limited LOGIN")
        server.database().execute(f"ALTER ROLE limited CONNECTION LIMIT {LIMIT}")
        server.database().execute(f'ALTER DATABASE "{database.name}" OWNER TO limited')
        database.execute("ALTER SCHEMA public OWNER TO limited")
    else:
        server.database().execute("CREATE OR REPLACE USER limited@'%'")
        server.database().execute(f"GRANT ALL ON *.* TO limited@'%' WITH MAX_USER_CONNECTIONS {LIMIT}")
    return "limited"


async def test_a_store_that_is_away_at_the_start_is_a_warning_with_the_reason_then_rarely(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.store.reach._TELL_SECONDS_FIRST", 0.2)
    monkeypatch.setattr("coordinator.store.reach._PAUSE_SECONDS", 0.05)
    lines: list[Any] = []
    sink = logger.add(lambda line: lines.append(line.record), level="DEBUG")
    port = free_port()
    absent = Database(HOST, port, "dtm")
    if isinstance(database, PostgresDatabase):
        absent = PostgresDatabase(HOST, port, "dtm")
    try:
        with pytest.raises(StartError, match="was not there within 2 s"):
            await open_store(config_of(absent), clock=SystemClock(), zone=None, wait_seconds=2)
    finally:
        logger.remove(sink)
    told = [it for it in lines if "waiting for the store" in it["message"]]
    assert {it["level"].name for it in told} == {"WARNING"}
    assert 3 <= len(told) <= 5  # at 0, 0.2, 0.6, 1.4 s
    assert all(str(port) in it["message"].rpartition(": ")[0] for it in told)
    assert all("refused" in it["message"] or "connect" in it["message"].lower() for it in told)


@pytest.mark.parametrize("times", [2, 1000])
async def test_a_store_that_goes_away_before_the_take_back_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    lines: list[str] = []
    asked = iter(range(times))
    take_back = SqlStore.take_back

    async def away_at_first(store: SqlStore, **values: Any) -> int:
        if next(asked, None) is not None:
            raise StoreUnavailable("the store is not available: it is being moved")
        return await take_back(store, **values)

    monkeypatch.setattr(SqlStore, "take_back", away_at_first)
    monkeypatch.setattr(server_module, "STORE_WAIT_SECONDS", 30 if times == 2 else 0.3)
    monkeypatch.setattr("coordinator.store.reach._PAUSE_SECONDS", 0.02)
    store = Store(path=tmp_path / "dtm.db")
    one = Server(Settings(store=store, host=HOST, http_port=0, grpc_port=0), reset=False)
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    try:
        if times == 2:
            assert "is ready" in await one.start()
        else:
            with pytest.raises(StartError, match=r"was not there within 0\.3 s: .* it is being moved"):
                await one.start()
    finally:
        logger.remove(sink)
        await one.stop()
    assert sum("waiting for the store sqlite file" in line for line in lines) == 1


def modes_in(folder: Path, name: str) -> dict[str, int]:
    return {it.name.removeprefix(name): stat.S_IMODE(it.stat().st_mode) for it in folder.iterdir()}


def test_sqlite_files_are_their_owners_alone(tmp_path: Path) -> None:
    async def use() -> dict[str, int]:
        file = tmp_path / "odd ? name#%.db"
        async with opened(StoreConfig(path=str(file))) as store:
            await insert(store, gid="g")
            return await asyncio.to_thread(modes_in, tmp_path, file.name)

    modes = asyncio.run(use())
    assert {"", "-wal", "-shm", ".lock"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def test_the_mode_of_a_file_that_is_there_is_its_owners_business(tmp_path: Path) -> None:
    file = tmp_path / "dtm.db"
    file.touch(0o640)
    file.chmod(0o640)

    async def use() -> None:
        async with opened(StoreConfig(path=str(file))) as store:
            await insert(store, gid="g")

    asyncio.run(use())
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
