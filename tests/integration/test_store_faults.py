"""The SQL store in trouble: what was acknowledged is there afterwards, nobody waits beyond the timeout."""

import asyncio
import contextlib
import sqlite3
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from loguru import logger

from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.places import Places
from coordinator.clock import SystemClock
from coordinator.errors import StartError, StoreUnavailable
from coordinator.model import BranchStatus, Status
from coordinator.service.topics import CATEGORY, Topics
from coordinator.store import runner, writes
from coordinator.store.base import Assign, Change, Changed, Store
from coordinator.store.open import StoreConfig, open_store
from tests.support.children import child
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.servers import Database, MariaDBServer, PostgresDatabase, PostgresServer
from tests.support.store_config import config_of, opened
from tests.support.store_contract import branches, claim, insert, statuses, stored, transaction

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def outside(database: Database) -> Iterator[Any]:
    """A cursor in somebody else's transaction; rolled back at the end."""
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        yield cursor
        cursor.execute("ROLLBACK")


class Load:
    """Sagas of two steps, so many at a time; remembers what was acknowledged."""

    def __init__(self, store: Store, *, timeout: float) -> None:
        self._store = store
        self._timeout = timeout
        self._count = 0
        self._going = True
        self.inserted: set[str] = set()
        self.stepped: set[str] = set()
        self.finished: set[str] = set()
        self.unavailable = 0
        self.longest = 0.0  # seconds that one write took
        self.refused: list[str] = []

    async def run(self, concurrent: int, count: int | None = None) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrent):
                group.create_task(self._one_after_the_other(count))

    def stop(self) -> None:
        self._going = False

    async def _one_after_the_other(self, count: int | None) -> None:
        while self._going and (count is None or self._count < count):
            self._count += 1
            try:
                await self._saga(f"load-{self._count}")
            except StoreUnavailable:
                self.unavailable += 1

    async def _saga(self, gid: str) -> None:
        owner = f"load/1/{gid}"
        with self._timed():
            new = transaction(gid, owner=owner)
            if not await self._store.insert(new, branches(gid), timeout=self._timeout):
                self.refused.append(f"insert of {gid}")
        self.inserted.add(gid)
        going = frozenset({Status.SUBMITTED})
        first = Change(gid, going, owner, ((("01", "action"), BranchStatus.SUCCEED),))
        await self._change(first)
        self.stepped.add(gid)
        end = Assign(status=Status.SUCCEED, owner="")
        await self._change(Change(gid, going, owner, ((("02", "action"), BranchStatus.SUCCEED),), end))
        self.finished.add(gid)

    async def _change(self, change: Change) -> None:
        with self._timed():
            if await self._store.change(change, timeout=self._timeout) is not Changed.APPLIED:
                self.refused.append(f"change of {change.gid}")

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.longest = max(self.longest, time.monotonic() - started)

    def assert_all_there(self, database: Database) -> None:
        """Every acknowledged write stands, and no write was ever told that another holds its row."""
        assert self.refused == []
        rows = {
            str(gid): values
            for gid, *values in database.execute("SELECT gid, status, owner FROM trans_global")
        }
        done: defaultdict[str, list[str]] = defaultdict(list)
        for gid, status in database.execute("SELECT gid, status FROM trans_branch_op ORDER BY id"):
            done[str(gid)].append(str(status))
        for gid in self.inserted:
            assert len(done[gid]) == 4, gid
        for gid in self.stepped:
            assert done[gid][1] == "succeed", gid
        for gid in self.finished:
            assert done[gid] == ["prepared", "succeed", "prepared", "succeed"], gid
            assert rows[gid] == ["succeed", ""], gid


# --- the connection is lost ---


async def test_a_commit_whose_answer_is_lost_stands_once(database: Database) -> None:
    async with Proxy(database.host, database.port) as proxy:
        config = replace(config_of(database), host=proxy.host, port=proxy.port)
        async with opened(config) as store:
            load = Load(store, timeout=20.0)
            proxy.cut_at(database.batch_commit_words, every=5)
            await load.run(concurrent=16, count=300)
            proxy.cut_nothing()
            assert proxy.cuts >= 10  # half of them stood already when they were tried again
            assert load.unavailable == 0
            assert len(load.finished) == len(load.inserted) >= 300
            load.assert_all_there(database)


async def test_a_topics_change_whose_answer_is_lost_is_made_once(database: Database) -> None:
    """PROTOCOL §8: by turns it stands already or does not; nobody hears `this url exists` of his own url."""
    async with Proxy(database.host, database.port) as proxy:
        config = replace(config_of(database), host=proxy.host, port=proxy.port)
        async with opened(config) as store:
            topics = Topics(store, SystemClock(), Random(1), BranchUrls(Places()), believed_seconds=3)
            urls = [f"http://localhost/{number}" for number in range(30)]
            proxy.cut_at(database.commit_words, every=5)  # opening a connection commits twice as well
            for url in urls:
                await topics.subscribe("orders", url, "")
            for url in urls[1:]:
                await topics.unsubscribe("orders", url)
            assert proxy.cuts >= 10
            proxy.cut_nothing()
            row = await store.find_value(CATEGORY, "orders")
            assert row is not None
            assert (row.value, row.version) == ('[{"url":"http://localhost/0","remark":""}]', 59)


# In PostgreSQL's packets stand the values alone. What opening a connection asks counts as well there.
@pytest.mark.parametrize(
    "words",
    [
        {"mysql": b"FOR UPDATE", "postgres": b"__asyncpg_stmt_"},
        {"mysql": b"INSERT INTO trans_branch_op", "postgres": b"http://localhost/compensate"},
        {"mysql": b"UPDATE trans_global", "postgres": b"succeed"},
    ],
    ids=["lock", "insert", "update"],
)
async def test_a_connection_lost_amid_a_batch(database: Database, words: dict[str, bytes]) -> None:
    async with Proxy(database.host, database.port) as proxy:
        config = replace(config_of(database), host=proxy.host, port=proxy.port)
        async with opened(config) as store:
            load = Load(store, timeout=20.0)
            proxy.cut_at(words[config.driver], every=17 if b"asyncpg" in words[config.driver] else 3)
            await load.run(concurrent=8, count=150)
            proxy.cut_nothing()
            assert proxy.cuts >= 3
            assert load.unavailable == 0
            load.assert_all_there(database)


async def test_connections_killed_by_the_server(database: Database) -> None:
    async with opened(config_of(database)) as store:
        load = Load(store, timeout=20.0)
        running = asyncio.create_task(load.run(concurrent=16))
        for _ in range(5):
            await asyncio.sleep(0.2)
            await asyncio.to_thread(database.end_connections)
        load.stop()
        await running
        assert load.unavailable == 0
        assert load.finished
        load.assert_all_there(database)


async def test_reading_goes_on_after_connections_died_in_their_sleep(database: Database) -> None:
    async with Proxy(database.host, database.port) as proxy:
        config = replace(config_of(database), host=proxy.host, port=proxy.port)
        async with opened(config) as store:
            await insert(store, "asleep")
            await asyncio.gather(*(store.find("asleep") for _ in range(5)))
            proxy.cut()
            found = await asyncio.gather(*(store.find("asleep") for _ in range(5)))
            assert all(it is not None for it in found)


# --- the server is away ---


@pytest.mark.timeout(120)
async def test_a_killed_server_loses_nothing_acknowledged(
    server: MariaDBServer | PostgresServer, database: Database
) -> None:
    async with opened(config_of(database)) as store:
        load = Load(store, timeout=30.0)
        running = asyncio.create_task(load.run(concurrent=32))
        for _ in range(2):
            await asyncio.sleep(0.7)
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.start)
        await asyncio.sleep(0.7)
        load.stop()
        await running
        assert load.unavailable == 0  # each was patient enough for the restart
        assert load.finished
        load.assert_all_there(database)


@pytest.mark.timeout(120)
async def test_callers_do_not_wait_for_a_server_that_is_away(
    server: MariaDBServer | PostgresServer, database: Database
) -> None:
    async with opened(config_of(database)) as store:
        await insert(store, "before")
        await asyncio.to_thread(server.kill)
        started = time.monotonic()
        waiting = [
            store.insert(transaction(f"away-{n}"), branches(f"away-{n}"), timeout=1.0) for n in range(50)
        ]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert time.monotonic() - started < 20  # not one after the other
        assert all(isinstance(it, StoreUnavailable) for it in outcomes)
        assert any(words in str(outcomes[0]) for words in ("Can't connect", "Connect call failed", "refused"))
        with pytest.raises(StoreUnavailable):
            await store.find("before")
        with pytest.raises(StoreUnavailable):
            await store.utc_now()
        with pytest.raises(StoreUnavailable):
            await claim(store, SystemClock().now())
        await asyncio.to_thread(server.start)
        await stored(store, "before")
        await insert(store, "after")


async def test_a_frozen_server_keeps_nobody_beyond_the_timeout(
    server: MariaDBServer | PostgresServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "_BATCH_SECONDS_MAX", 1.0)
    monkeypatch.setattr(runner, "_SECONDS_MAX", 1.0)
    async with opened(config_of(database)) as store:
        load = Load(store, timeout=1.0)
        running = asyncio.create_task(load.run(concurrent=16))
        await asyncio.sleep(0.3)
        server.freeze()
        try:
            await asyncio.sleep(3.0)  # longer than a batch may take: connections are thrown away
            started = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await store.find("load-1")
            assert time.monotonic() - started < 20
        finally:
            server.go_on()
        await asyncio.sleep(0.5)
        before = len(load.finished)
        await asyncio.sleep(1.0)
        assert len(load.finished) > before  # goes on by itself
        load.stop()
        await running
        assert load.unavailable > 0
        assert load.longest < 1.5
        load.assert_all_there(database)


async def test_a_server_that_became_read_only_is_waited_for(mariadb_database: Database) -> None:
    mariadb_database.execute(
        "CREATE OR REPLACE USER plain@'127.0.0.1' IDENTIFIED BY 'secret';"
        f"GRANT ALL ON `{mariadb_database.name}`.* TO plain@'127.0.0.1'"
    )
    config = replace(config_of(mariadb_database), user="plain", password="secret")
    async with opened(config) as store:
        await insert(store, "before")
        mariadb_database.execute("SET GLOBAL read_only = 1")
        try:
            patient = await _kept_waiting(store)
        finally:
            mariadb_database.execute("SET GLOBAL read_only = 0")
        assert await patient
        await stored(store, "patient")


async def test_a_standby_is_waited_for_until_it_may_write(postgres_database: PostgresDatabase) -> None:
    by_its_side = replace(postgres_database, name="postgres")
    name = postgres_database.name
    async with opened(config_of(postgres_database)) as store:
        await insert(store, "before")
        by_its_side.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        postgres_database.end_connections()
        try:
            patient = await _kept_waiting(store)
            await stored(store, "before")  # reading goes on
        finally:
            by_its_side.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        assert await patient
        await stored(store, "patient")


async def _kept_waiting(store: Store) -> "asyncio.Task[bool]":
    with pytest.raises(StoreUnavailable, match="read-only"):
        await store.insert(transaction("during"), [], timeout=0.5)
    patient = asyncio.create_task(store.insert(transaction("patient"), [], timeout=10.0))
    await asyncio.sleep(0.3)
    return patient


# --- rows held by others ---


@pytest.mark.timeout(90)
async def test_a_row_that_somebody_holds_delays_only_its_own_change(database: Database) -> None:
    async with opened(config_of(database)) as store:
        for n in range(20):
            await insert(store, f"row-{n}")
        with outside(database) as somebody:
            somebody.execute("SELECT * FROM trans_global WHERE gid = 'row-7' FOR UPDATE")
            changes = [
                asyncio.create_task(
                    store.change(
                        Change(f"row-{n}", frozenset({Status.SUBMITTED}), None, assign=Assign(result="x")),
                        timeout=30.0,
                    )
                )
                for n in range(20)
            ]
            held = changes.pop(7)
            assert set(await asyncio.wait_for(asyncio.gather(*changes), 30)) == {Changed.APPLIED}
            assert not held.done()
            await insert(store, "new")
        assert await held is Changed.APPLIED


async def test_a_deadlock_is_tried_again(database: Database) -> None:
    said: list[str] = []
    sink = logger.add(said.append, format="{message}")
    async with opened(config_of(database)) as store:
        for gid in ("a", "b"):
            await insert(store, gid)
        result = ((("01", "action"), BranchStatus.SUCCEED),)
        with outside(database) as somebody:
            # Heavy, so that MySQL makes the store's transaction give way; PostgreSQL chooses the one that has
            # waited for a second.
            somebody.execute("UPDATE trans_branch_op SET url = 'locked' WHERE gid = 'b'")
            changes = [
                asyncio.create_task(
                    store.change(Change(gid, frozenset({Status.SUBMITTED}), None, result), timeout=20.0)
                )
                for gid in ("a", "b")
            ]
            await asyncio.sleep(0.5)  # the batch holds both transactions and waits for a branch of b
            await asyncio.to_thread(somebody.execute, "SELECT * FROM trans_global WHERE gid = 'a' FOR UPDATE")
        assert set(await asyncio.gather(*changes)) == {Changed.APPLIED}
        for gid in ("a", "b"):
            assert statuses((await stored(store, gid)).branches)[1] == "succeed"
    logger.remove(sink)
    assert any("deadlock" in line.lower() for line in said)


async def test_two_coordinators_over_the_same_rows(database: Database) -> None:
    """Both insert and change rows of the same gids all the time: nothing is lost, nothing stands twice."""
    async with opened(config_of(database)) as one, opened(config_of(database)) as other:
        gids = [f"both-{n}" for n in range(60)]

        async def try_all(store: Store, name: str) -> list[str]:
            won = []
            for start in range(0, len(gids), 20):
                some = gids[start : start + 20]
                answers = await asyncio.gather(
                    *(store.insert(transaction(gid, owner=name), branches(gid), timeout=20) for gid in some)
                )
                won += [gid for gid, inserted in zip(some, answers, strict=True) if inserted]
            return won

        first, second = await asyncio.gather(try_all(one, "one"), try_all(other, "other"))
        assert sorted(first + second) == sorted(gids)
        for gid in gids:
            assert (await stored(one, gid)).transaction.owner == ("one" if gid in first else "other")


# --- starting ---


async def test_a_server_that_comes_late_is_waited_for(
    server: MariaDBServer | PostgresServer, database: Database
) -> None:
    server.stop()
    opening = asyncio.create_task(
        open_store(config_of(database), clock=SystemClock(), zone=None, wait_seconds=30)
    )
    await asyncio.sleep(0.5)
    assert not opening.done()
    await asyncio.to_thread(server.start)
    store = await opening
    await insert(store, "late")
    await store.close()


@pytest.mark.parametrize("driver", ["mysql", "postgres"])
async def test_a_server_that_does_not_come_is_a_clear_error(driver: str) -> None:
    port = free_port()
    config = StoreConfig(driver=driver, host="127.0.0.1", port=port)
    with pytest.raises(StartError, match=rf"root@127.0.0.1:{port}/dtm was not there within 1 s: .*onnect"):
        await open_store(config, clock=SystemClock(), zone=None, wait_seconds=1)


async def test_a_wrong_password_is_a_clear_error_at_once(mariadb_database: Database) -> None:
    config = replace(config_of(mariadb_database), password="wrong")
    started = time.monotonic()
    with pytest.raises(StartError, match="Access denied") as caught:
        await open_store(config, clock=SystemClock(), zone=None, wait_seconds=60)
    assert time.monotonic() - started < 30
    assert "Store.Password" in caught.value.hint
    assert "wrong" not in str(caught.value)


async def test_a_wrong_password_for_postgres_is_a_clear_error_at_once(
    postgres_database: PostgresDatabase,
) -> None:
    postgres_database.execute("CREATE ROLE guarded LOGIN PASSWORD 'secret'")
    config = replace(config_of(postgres_database), user="guarded", password="wrong")
    started = time.monotonic()
    try:
        with pytest.raises(StartError, match="password authentication failed") as caught:
            await open_store(config, clock=SystemClock(), zone=None, wait_seconds=60)
    finally:
        postgres_database.execute("DROP ROLE guarded")
    assert time.monotonic() - started < 30
    assert "Store.Password" in caught.value.hint
    assert "wrong" not in str(caught.value)


async def test_a_database_that_may_not_be_made_is_a_clear_error(mariadb_database: Database) -> None:
    mariadb_database.execute("CREATE OR REPLACE USER nobody@'127.0.0.1' IDENTIFIED BY 'secret'")
    config = replace(config_of(mariadb_database), user="nobody", password="secret", database="not_there")
    with pytest.raises(StartError, match="Access denied"):
        await open_store(config, clock=SystemClock(), zone=None, wait_seconds=5)


# --- SQLite ---


async def test_a_second_store_on_the_same_file_is_refused(tmp_path: Path) -> None:
    config = StoreConfig(path=str(tmp_path / "dtm.db"))
    async with opened(config):
        with pytest.raises(StartError, match=r"another process has the SQLite file .*dtm.db open"):
            await open_store(config, clock=SystemClock(), zone=None, wait_seconds=0)
    async with opened(config) as store:
        await insert(store, "free-again")


@pytest.mark.parametrize("name", ["no/such/folder/dtm.db", "text.db", "."])
async def test_a_file_that_cannot_be_used_is_a_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.db").write_text("this is no database " * 100, encoding="utf-8")
    config = StoreConfig(path=str(tmp_path / name))
    with pytest.raises(StartError, match=r"cannot (open|use) the SQLite file") as caught:
        await open_store(config, clock=SystemClock(), zone=None, wait_seconds=0)
    assert "Store.Path" in caught.value.hint


async def test_a_tool_that_locks_the_file_delays_but_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "dtm.db"
    async with opened(StoreConfig(path=str(path))) as store:
        await insert(store, "before")
        tool = sqlite3.connect(path, isolation_level=None)
        tool.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.insert(transaction("impatient"), [], timeout=0.3)
        assert time.monotonic() - started < 10
        patient = asyncio.create_task(store.insert(transaction("patient"), [], timeout=20.0))
        await stored(store, "before")  # readers do not wait
        await asyncio.sleep(0.2)
        tool.execute("ROLLBACK")
        tool.close()
        assert await patient
        await stored(store, "patient")


WRITER = """
import asyncio, sys
from coordinator.clock import SystemClock
from coordinator.store.open import StoreConfig, open_store
from tests.support.store_contract import branches, transaction

async def main():
    store = await open_store(StoreConfig(path=sys.argv[1]), clock=SystemClock(), zone=None, wait_seconds=0)
    async def one_after_the_other(name):
        for n in range(1_000_000):
            gid = f"{name}-{n}"
            if await store.insert(transaction(gid), branches(gid), timeout=10):
                print(gid, flush=True)
    await asyncio.gather(*(one_after_the_other(name) for name in "abcdefgh"))

asyncio.run(main())
"""


async def test_a_killed_process_leaves_what_it_acknowledged_and_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "dtm.db"
    async with child(sys.executable, "-c", WRITER, str(path), folder=ROOT) as process:
        assert process.stdout is not None
        lines = [await process.stdout.readline() for _ in range(300)]
        with pytest.raises(StartError, match="another process"):
            await open_store(StoreConfig(path=str(path)), clock=SystemClock(), zone=None, wait_seconds=0)
        process.kill()
        rest, _ = await process.communicate()
    lines += rest.splitlines()
    async with opened(StoreConfig(path=str(path))) as store:
        for line in lines:
            assert len((await stored(store, line.decode().strip())).branches) == 4
