"""Tables that keep fewer characters than there are: an older server's, in latin1 or utf8mb3, or narrow.

A saga is rolled back whatever its branch says; what a client gave is refused by name.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from coordinator.clock import SystemClock
from coordinator.errors import Invalid
from coordinator.model import Status
from coordinator.store.base import Assign, Change, Changed
from coordinator.store.listed import Filter
from coordinator.store.open import StoreConfig, open_store
from tests.conftest import StartCoordinator
from tests.support.ports import HOST, free_port
from tests.support.servers import Database, MariaDBServer, PostgresServer
from tests.support.store_config import config_of, opened
from tests.support.store_contract import TIMEOUT, branches, change, insert, stored, transaction

SQL = Path(__file__).resolve().parents[2] / "sql"
SAYS = "余额不足 😀"
NARROW = 100

KINDS = ["latin1", "utf8mb3", "narrow", "ascii and narrow", "LATIN1", "narrow on postgres"]


def made(kind: str, mariadb: MariaDBServer, postgres: PostgresServer) -> Database:
    """A database whose tables are of this kind."""
    if kind in {"LATIN1", "narrow on postgres"}:
        name = f"narrow_{kind.replace(' ', '_').lower()}"
        postgres.drop_database(name)
        encoding = "LATIN1" if kind == "LATIN1" else "UTF8"
        postgres.database().execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        database: Database = postgres.database(name)
        database.execute((SQL / "coordinator.postgres.sql").read_text(encoding="utf-8"))
        if kind == "narrow on postgres":
            database.execute(f"ALTER TABLE trans_global ALTER rollback_reason TYPE varchar({NARROW})")
        return database
    tables = (SQL / "coordinator.mysql.sql").read_text(encoding="utf-8")
    assert "utf8mb4" in tables
    character_set = kind if kind in {"latin1", "utf8mb3"} else "utf8mb4"
    database = mariadb.create_database(schema=tables.replace("utf8mb4", character_set))
    if "narrow" in kind:
        of = "CHARACTER SET ascii" if "ascii" in kind else ""
        database.execute(f"ALTER TABLE trans_global MODIFY rollback_reason varchar({NARROW}) {of} DEFAULT ''")
    return database


@pytest.fixture(params=KINDS)
def narrow(
    request: pytest.FixtureRequest, mariadb: MariaDBServer, postgres: PostgresServer
) -> Iterator[Database]:
    database = made(request.param, mariadb, postgres)
    yield database
    (mariadb if database.port == mariadb.port else postgres).drop_database(database.name)


def aborts(gid: str, owner: str, reason: str) -> Change:
    """As a driver writes it."""
    assign = Assign(status=Status.ABORTING, rollback_reason=reason)
    return Change(gid, frozenset({Status.SUBMITTED}), owner, assign=assign, by_driver=True)


async def test_a_saga_is_rolled_back_whatever_its_branch_says(
    narrow: Database, start_coordinator: StartCoordinator
) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/refuse":
            return web.Response(status=409, text=f'{{"dtm_result":"FAILURE","message":"{SAYS * 20}"}}')
        return web.Response(text='{"dtm_result":"SUCCESS"}')

    port = free_port()
    application = web.Application()
    application.router.add_route("*", "/{any}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    try:
        ours = await asyncio.to_thread(start_coordinator, store=narrow)
        url = f"http://{HOST}:{port}"
        saga = {
            "gid": "poor",
            "trans_type": "saga",
            "steps": [
                {"action": f"{url}/do", "compensate": f"{url}/undo"},
                {"action": f"{url}/refuse", "compensate": f"{url}/undo"},
            ],
            "payloads": ["{}", "{}"],
            "wait_result": True,
        }
        status, said = await asyncio.to_thread(ours.post, "submit", saga)
        assert (status, said["dtm_result"]) == (409, "FAILURE")
        found = await asyncio.to_thread(final, ours, "poor")
    finally:
        await runner.cleanup()
    assert found["transaction"]["status"] == "failed"
    assert [it["status"] for it in found["branches"]] == ["succeed", "succeed", "succeed", "failed"]
    reason = found["transaction"]["rollback_reason"]
    assert reason.startswith(f"url:{url}/refuse")
    assert reason.endswith(" FAILURE")


def final(ours: Any, gid: str) -> dict[str, Any]:
    give_up = time.monotonic() + 20
    while True:
        found: dict[str, Any] = ours.query(gid)
        if found["transaction"]["status"] in {"failed", "succeed"} or time.monotonic() > give_up:
            return found
        time.sleep(0.05)


async def test_as_much_of_the_words_is_kept_as_can_be(narrow: Database) -> None:
    async with opened(config_of(narrow)) as store:
        row = await insert(store, "words")
        said = f"url:http://bank return failed: é {SAYS} {'x' * 2000} FAILURE"
        assert await store.change(aborts("words", row.owner, said), timeout=TIMEOUT) is Changed.APPLIED
        found = (await stored(store, "words")).transaction
        assert found.status is Status.ABORTING
        assert found.rollback_reason.startswith("url:http://bank return failed: ")
        assert found.rollback_reason.endswith("x FAILURE")
        assert len(found.rollback_reason) in {NARROW, 1024}


async def test_a_column_that_became_narrower_since_the_start(mariadb_database: Database) -> None:
    async with opened(config_of(mariadb_database)) as store:
        first, second = await insert(store, "first"), await insert(store, "second")
        mariadb_database.execute(
            "ALTER TABLE trans_global MODIFY rollback_reason varchar(70) CHARACTER SET ascii"
        )
        change = aborts("first", first.owner, SAYS * 50)
        assert await store.change(change, timeout=TIMEOUT) is Changed.APPLIED
        assert (await stored(store, "first")).transaction.rollback_reason
        mariadb_database.execute(
            "UPDATE trans_global SET rollback_reason = '';"
            "ALTER TABLE trans_global MODIFY rollback_reason varchar(3) DEFAULT ''"
        )
        change = aborts("second", second.owner, SAYS * 50)
        assert await store.change(change, timeout=TIMEOUT) is Changed.APPLIED
        found = (await stored(store, "second")).transaction
        assert (found.status, found.rollback_reason) == (Status.ABORTING, "")


async def test_what_a_client_gave_is_refused_by_name(narrow: Database) -> None:
    """PROTOCOL §14: never cut."""
    async with opened(config_of(narrow)) as store:
        row = await insert(store, "theirs")
        with pytest.raises(Invalid, match=r"^rollback_reason (holds|is too long)"):
            await store.change(change("theirs", rollback_reason=f"{SAYS} {'x' * 200}"), timeout=TIMEOUT)
        assert (await stored(store, "theirs")).transaction == row


@pytest.mark.parametrize("kind", ["latin1", "utf8mb3", "LATIN1"])
async def test_a_client_is_told_which_value_the_tables_cannot_keep(
    kind: str, mariadb: MariaDBServer, postgres: PostgresServer
) -> None:
    database = made(kind, mariadb, postgres)
    async with opened(config_of(database)) as store:
        for gid, values in (("😀", {}), ("a", {"custom_data": "😀"}), ("b", {"query_prepared": "http://😀"})):
            name = next(iter(values), "gid")
            with pytest.raises(Invalid, match=f"^{name} holds '.U0001f600', which its column in the store"):
                await store.insert(transaction(gid, **values), branches(gid), timeout=TIMEOUT)
        assert await store.find("😀") is None
        assert list((await store.list(Filter(gid="😀"))).rows) == []
        assert await store.change(change("😀", result="x"), timeout=TIMEOUT) is Changed.MISSING
        assert await store.find_value("topics", "😀") is None
        with pytest.raises(Invalid, match="refused a value"):
            await store.put_value("topics", "t", "😀", replaces=None)
        assert await store.insert(transaction("é"), branches("é"), timeout=TIMEOUT)
        assert (await stored(store, "é")).transaction.gid == "é"


async def test_a_trace_that_the_column_cannot_keep_refuses_no_submit(mariadb_database: Database) -> None:
    async with opened(config_of(mariadb_database)):
        pass
    mariadb_database.execute("ALTER TABLE trans_global MODIFY ext_data varchar(20)")
    async with opened(config_of(mariadb_database)) as store:
        row = await insert(store, "traced", ext_data='{"traceparent":"00-0123456789-01"}')
        assert row.ext_data == ""
        mark = Change("traced", frozenset({Status.SUBMITTED}), row.owner, by_driver=True,
                      assign=Assign(owner="", ext_data='{"a":"long enough","alerted":true}'))  # fmt: skip
        assert await store.change(mark, timeout=TIMEOUT) is Changed.APPLIED
        assert (await stored(store, "traced")).transaction.owner == ""


async def test_words_without_end_or_without_unicode_roll_back_on_sqlite_too(tmp_path: Path) -> None:
    """A url of the longest kind in the words, or half a character."""
    store = await open_store(
        StoreConfig(path=str(tmp_path / "dtm.db")), clock=SystemClock(), zone=None, wait_seconds=5.0
    )
    try:
        for gid, said in (("long", f"url:{'u' * 1024} return failed: FAILURE"), ("half", "\ud83d FAILURE")):
            row = await insert(store, gid)
            assert await store.change(aborts(gid, row.owner, said), timeout=TIMEOUT) is Changed.APPLIED
            found = (await stored(store, gid)).transaction
            assert found.status is Status.ABORTING
            assert found.rollback_reason.endswith(" FAILURE")
    finally:
        await store.close()
