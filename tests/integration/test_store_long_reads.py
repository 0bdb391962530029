"""Reads that take long: others go on meanwhile, and one that is given up ends in the database as well."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from coordinator.clock import SystemClock
from coordinator.errors import StoreUnavailable
from coordinator.store import listing, mysql, queries, runner
from coordinator.store.listed import Filter
from coordinator.store.open import StoreConfig, open_store
from coordinator.store.runner import Runner
from coordinator.store.sql import SqlStore
from tests.support.patience import PATIENCE
from tests.support.servers import Database
from tests.support.store_config import config_of
from tests.support.store_contract import insert

KINDS = ("sqlite", "mariadb", "postgres")
ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "mariadb": "SELECT BENCHMARK(100000000000, MD5('x'))",  # unlike SLEEP it looks for no lost connection
    "postgres": "SELECT pg_sleep(600)",
}
RUNNING = {
    "mariadb": "SELECT info FROM information_schema.processlist WHERE info LIKE 'SELECT BENCHMARK%'",
    "postgres": "SELECT query FROM pg_stat_activity"
    " WHERE state = 'active' AND query = 'SELECT pg_sleep(600)'",
}
MANY = 12  # more than may be read at leisure at once


class Opened:
    """A store, and its runner for statements of a test's own."""

    def __init__(self, kind: str, store: SqlStore, runner: Runner, database: Database | None) -> None:
        self.store = store
        self.runner = runner
        self.begun = threading.Semaphore(0)  # released by each long read
        self._kind = kind
        self._database = database

    def endless(self, connection: Connection) -> Any:
        """Begin what never ends by itself."""
        self.begun.release()
        return connection.exec_driver_sql(ENDLESS[self._kind]).all()

    async def until_none_runs(self, *, seconds: float) -> None:
        """Ask the server; a SQLite file's reads have ended when new ones find a thread."""
        async with asyncio.timeout(seconds * PATIENCE):
            if self._database is None:
                for _ in range(MANY):
                    await self.runner.read(queries.show_life, seconds=seconds)
                    await self.runner.read(queries.show_life, seconds=seconds, at_leisure=True)
                return
            while await asyncio.to_thread(self._database.execute, RUNNING[self._kind]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # another process has no event for "ended"


@pytest.fixture(params=KINDS)
async def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Opened]:
    """A store of each kind with one transaction, whose server ends statements after 6 s."""
    monkeypatch.setattr(mysql, "_STATEMENT_SECONDS", 6)
    database: Database | None = None
    config = StoreConfig(path=str(tmp_path / "dtm.db"))
    if request.param != "sqlite":
        database = request.getfixturevalue(f"{request.param}_database")
        config = config_of(database)
    seen: list[Runner] = []

    def watch(made: Runner) -> Runner:
        seen.append(made)
        return made

    store = await open_store(config, clock=SystemClock(), zone=None, wait_seconds=5.0, watch=watch)
    await insert(store, "a")
    yield Opened(request.param, store, seen[0], database)
    await store.close()


async def look_around(store: SqlStore) -> None:
    """What drives, and what answers a client."""
    assert await store.find("a") is not None
    due = await store.find_due(now=await store.utc_now(), limit=10)
    await store.look_at(due)
    await insert(store, "b")


async def test_other_reads_go_on_beside_many_long_lists(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists at which people look; the wait for them ends, and what they read ends with it."""
    monkeypatch.setattr(runner, "_SECONDS_MAX", 4)  # less than the server gives
    monkeypatch.setattr(listing, "list_transactions", lambda connection, **_: opened.endless(connection))
    lists = [asyncio.create_task(opened.store.list(Filter(limit=1))) for _ in range(MANY)]
    assert await asyncio.to_thread(opened.begun.acquire, timeout=5)
    started = time.monotonic()
    await look_around(opened.store)
    assert time.monotonic() - started < 4
    for outcome in await asyncio.gather(*lists, return_exceptions=True):
        assert isinstance(outcome, StoreUnavailable)
    monkeypatch.undo()
    await opened.until_none_runs(seconds=5)
    assert len((await opened.store.list(Filter(limit=1))).rows) == 1


async def test_a_read_that_is_given_up_ends_in_the_database(opened: Opened) -> None:
    with pytest.raises(TimeoutError):
        await opened.runner.read(opened.endless, seconds=0.3, at_leisure=True)
    await opened.until_none_runs(seconds=5)
    await look_around(opened.store)


async def test_a_read_whose_caller_is_gone_ends_in_the_database(opened: Opened) -> None:
    reads = [
        asyncio.create_task(opened.runner.read(opened.endless, seconds=600, at_leisure=at_leisure))
        for at_leisure in (False, True)
    ]
    for _ in reads:
        assert await asyncio.to_thread(opened.begun.acquire, timeout=5)
    for read in reads:
        read.cancel()
    for outcome in await asyncio.gather(*reads, return_exceptions=True):
        assert isinstance(outcome, asyncio.CancelledError)
    await opened.until_none_runs(seconds=5)
    await look_around(opened.store)
