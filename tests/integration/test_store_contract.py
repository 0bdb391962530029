"""The contract on the SQL stores, SQLite, MariaDB and PostgreSQL, and what a SQL store promises beyond it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Protocol

import pytest

from coordinator.clock import SystemClock
from coordinator.errors import Conflict, Invalid, StartError
from coordinator.model import Options, Status
from coordinator.store.base import Changed, Deferral
from coordinator.store.listed import Filter
from coordinator.store.open import StoreConfig, open_store
from coordinator.store.sql import SqlStore
from tests.support.servers import Database
from tests.support.store_config import config_of
from tests.support.store_contract import (
    TIMEOUT,
    StoreContract,
    Stores,
    branches,
    change,
    claim,
    insert,
    stored,
    transaction,
)
from tests.support.topics_contract import TopicsContract


class Open(Protocol):
    async def __call__(
        self, config: StoreConfig, *, zone: tzinfo | None = None, reset: bool = False
    ) -> SqlStore: ...


@pytest.fixture
async def open_sql() -> AsyncIterator[Open]:
    """Opens stores that are closed after the test."""
    async with AsyncExitStack() as stack:

        async def open_one(
            config: StoreConfig, *, zone: tzinfo | None = None, reset: bool = False
        ) -> SqlStore:
            store = await open_store(config, clock=SystemClock(), zone=zone, reset=reset, wait_seconds=5.0)
            stack.push_async_callback(store.close)
            return store

        yield open_one


@pytest.fixture
async def stores(config: StoreConfig, open_sql: Open) -> Stores:
    first = await open_sql(config)

    async def another() -> SqlStore:
        return first if config.driver == "sqlite" else await open_sql(config)

    return Stores(first, another)


class TestSqlTopics(TopicsContract):
    """PROTOCOL §8: topics of coordinators that share a database."""


class TestSqlStore(StoreContract):
    # --- what is unfinished, for those who look at metrics ---

    async def test_the_backlog_counts_what_is_unfinished(self, config: StoreConfig, open_sql: Open) -> None:
        store = await open_sql(config)
        now = await store.utc_now()
        ago = {seconds: now - timedelta(seconds=seconds) for seconds in (5, 20)}
        later = now + timedelta(seconds=60)
        await insert(store, "running", next_cron_time=later)
        await insert(store, "due", next_cron_time=ago[5])
        await insert(store, "due longest", status=Status.ABORTING, next_cron_time=ago[20])
        await insert(store, "asked soon", trans_type="msg", status=Status.PREPARED, next_cron_time=later)
        await insert(store, "nobody's yet", status=Status.PREPARED, next_cron_time=ago[20])
        await insert(store, "done", status=Status.SUCCEED, next_cron_time=ago[20])
        backlog = await store.backlog(now=now)
        assert backlog.by_status == {Status.SUBMITTED: 2, Status.ABORTING: 1, Status.PREPARED: 2}
        assert backlog.due == 2, "a saga that is only prepared waits for its client"
        assert backlog.oldest_due is not None
        assert abs((backlog.oldest_due - ago[20]).total_seconds()) <= 1
        assert backlog.oldest_created is not None
        assert abs((backlog.oldest_created - now).total_seconds()) <= 10
        assert store.connections()["in_use"] + store.connections()["idle"] >= 1
        assert store.waiting() == 0

    async def test_the_backlog_of_an_empty_store(self, config: StoreConfig, open_sql: Open) -> None:
        store = await open_sql(config)
        backlog = await store.backlog(now=await store.utc_now())
        assert set(backlog.by_status.values()) == {0}
        assert (backlog.due, backlog.oldest_due, backlog.oldest_created) == (0, None, None)

    # --- gids compare as the database compares, and nobody is handed another's transaction ---

    async def test_a_gid_that_differs_only_in_case_is_taken(
        self, stores: Stores, config: StoreConfig
    ) -> None:
        if config.driver == "postgres":
            return  # they are two transactions: test_postgres.py
        row = await insert(stores.first, "Abc")
        other = transaction("aBC", owner=row.owner)
        assert not await stores.first.insert(other, branches("aBC"), timeout=TIMEOUT)
        assert await stores.first.find("aBC") is None
        assert list((await stores.first.list(Filter(gid="aBC"))).rows) == []
        assert await stores.first.change(change("aBC", owner="x"), timeout=TIMEOUT) is Changed.MISSING
        assert (await stored(stores.first, "Abc")).transaction == row

    async def test_gids_that_differ_only_in_case_at_the_same_moment(
        self, stores: Stores, config: StoreConfig
    ) -> None:
        gids = ["case", "CASE", "Case", "cAsE", "other"]
        answers = await asyncio.gather(
            *(stores.first.insert(transaction(gid), branches(gid), timeout=TIMEOUT) for gid in gids)
        )
        exactly = config.driver == "postgres"
        assert answers == [True, exactly, exactly, exactly, True]

    # --- values ---

    @pytest.mark.parametrize(
        ("values", "named"),
        [
            ({"custom_data": "x" * 1025}, "custom_data"),
            ({"query_prepared": "x" * 1025}, "query_prepared"),
            ({"options": Options(branch_headers={"h": "x" * 1024})}, "options"),
            ({"trans_type": "x" * 46}, "trans_type"),
            ({"protocol": "x" * 46}, "protocol"),
            ({"owner": "x" * 129}, "owner"),
            ({"ext_data": "é" * 40_000}, "ext_data"),
        ],
    )
    async def test_a_value_that_is_too_long_is_refused_alone(
        self, stores: Stores, values: dict[str, object], named: str
    ) -> None:
        bad = stores.first.insert(transaction("bad", **values), branches("bad"), timeout=TIMEOUT)
        good = stores.first.insert(transaction("good"), branches("good"), timeout=TIMEOUT)
        error, inserted = await asyncio.gather(bad, good, return_exceptions=True)
        assert isinstance(error, Invalid)
        assert error.message.startswith(f"{named} is too long")
        assert inserted is True
        assert await stores.first.find("bad") is None

    @pytest.mark.parametrize(
        ("values", "named"),
        [
            ({"url": "http://" + "x" * 1018}, "url"),
            ({"payload": b"x" * 65_536}, "payload"),
            ({"branch_id": "0" * 129}, "branch_id"),
            ({"op": "x" * 46}, "op"),
        ],
    )
    async def test_a_branch_that_does_not_fit_is_refused(
        self, stores: Stores, values: dict[str, str], named: str
    ) -> None:
        bad = replace(branches("bad", 1)[1], **values)  # type: ignore[arg-type]
        with pytest.raises(Invalid, match=f"^{named} of branch .* is too long"):
            await stores.first.insert(transaction("bad"), [branches("bad")[0], bad], timeout=TIMEOUT)
        assert await stores.first.find("bad") is None

    async def test_a_gid_that_is_too_long_is_refused(self, stores: Stores) -> None:
        assert await stores.first.insert(transaction("g" * 128), branches("g" * 128), timeout=TIMEOUT)
        with pytest.raises(Invalid, match="gid is too long: 129 characters, at most 128"):
            await stores.first.insert(transaction("g" * 129), [], timeout=TIMEOUT)

    async def test_a_reason_that_is_too_long_is_refused(self, stores: Stores) -> None:
        row = await insert(stores.first, "reason")
        with pytest.raises(Invalid, match="rollback_reason is too long"):
            await stores.first.change(change("reason", rollback_reason="x" * 1025), timeout=TIMEOUT)
        assert (await stored(stores.first, "reason")).transaction == row

    async def test_the_longest_values_that_fit(self, stores: Stores) -> None:
        every_byte = bytes(range(256)) * 255 + bytes(range(255))
        assert len(every_byte) == 65_535
        row = replace(branches("longest", 1)[0], url="u" * 1024, payload=every_byte, op="o" * 45)
        given = transaction("longest", custom_data="\N{GRINNING FACE}" * 1024, ext_data="e" * 65_535)
        assert await stores.first.insert(given, [row], timeout=TIMEOUT)
        found = await stored(stores.first, "longest")
        assert found.branches[0].payload == every_byte
        assert found.branches[0].url == row.url
        assert found.transaction.custom_data == given.custom_data
        assert found.transaction.ext_data == given.ext_data

    @pytest.mark.parametrize(
        "text", ["'; DROP TABLE kv; --", "\\", "%s %(x)s %%", "ünï 🚀 漢字", "a\x00b\n\r\x1a", '"`']
    )
    async def test_any_text_comes_back_as_it_went(
        self, stores: Stores, config: StoreConfig, text: str
    ) -> None:
        if config.driver == "postgres" and "\x00" in text:
            return  # refused, by name: test_postgres.py
        await insert(stores.first, "text", custom_data=text)
        assert (
            await stores.first.change(change("text", rollback_reason=text), timeout=TIMEOUT)
            is Changed.APPLIED
        )
        row = (await stored(stores.first, "text")).transaction
        assert (row.custom_data, row.rollback_reason) == (text, text)

    async def test_odd_gids(self, stores: Stores) -> None:
        gids = ["a'b", "a\\", "a%s", "ä🚀", 'a"b', "a,b", "a;b"]
        answers = await asyncio.gather(
            *(stores.first.insert(transaction(gid), branches(gid), timeout=TIMEOUT) for gid in gids)
        )
        assert all(answers)
        for gid in gids:
            found = await stored(stores.first, gid)
            assert len(found.branches) == 4

    @pytest.mark.parametrize("text", ["\ud800", "\udcff"])
    async def test_text_that_is_not_unicode_is_refused_alone(self, stores: Stores, text: str) -> None:
        bad = stores.first.insert(transaction("bad", custom_data=text), [], timeout=TIMEOUT)
        good = stores.first.insert(transaction("good"), [], timeout=TIMEOUT)
        error, inserted = await asyncio.gather(bad, good, return_exceptions=True)
        assert isinstance(error, Invalid)
        assert inserted is True

    async def test_two_branches_of_the_same_key_are_refused(self, stores: Stores) -> None:
        rows = [*branches("double", 1), *branches("double", 1)]
        with pytest.raises(Conflict):
            await stores.first.insert(transaction("double"), rows, timeout=TIMEOUT)
        assert await stores.first.find("double") is None

    async def test_a_saga_larger_than_a_statement(self, stores: Stores) -> None:
        rows = [
            replace(row, payload=b"\x00" * 60_000) if row.op == "action" else row
            for row in branches("large", 70)
        ]
        assert await stores.first.insert(transaction("large"), rows, timeout=TIMEOUT)
        found = await stored(stores.first, "large")
        assert [b.key for b in found.branches] == [b.key for b in rows]
        assert found.branches[-1].payload == b"\x00" * 60_000

    # --- times ---

    async def test_ends_are_stamped(self, stores: Stores) -> None:
        before = (await stores.first.utc_now()) - timedelta(seconds=2)
        for gid, status in (("good-end", Status.SUCCEED), ("bad-end", Status.FAILED)):
            await insert(stores.first, gid)
            assert await stores.first.change(change(gid, status=status), timeout=TIMEOUT) is Changed.APPLIED
        good = (await stored(stores.first, "good-end")).transaction
        assert good.finish_time is not None
        assert good.finish_time >= before
        assert good.rollback_time is None
        bad = (await stored(stores.first, "bad-end")).transaction
        assert bad.rollback_time is not None
        assert bad.rollback_time >= before
        assert bad.finish_time is None


@pytest.mark.parametrize("zone", [timezone(timedelta(hours=8)), timezone(timedelta(hours=-3, minutes=-30))])
async def test_columns_hold_wall_clock_time_of_the_zone(
    config: StoreConfig, open_sql: Open, zone: tzinfo
) -> None:
    if config.driver == "postgres":
        return  # its columns hold instants: test_postgres.py
    store = await open_sql(config, zone=zone)
    due = datetime(2031, 3, 4, 5, 6, 7, 800_000, UTC)
    row = await insert(store, "zoned", next_cron_time=due)
    assert row.next_cron_time == datetime(2031, 3, 4, 5, 6, 8, tzinfo=UTC)  # rounded up
    await store.close()

    utc = await open_sql(config, zone=UTC)
    as_utc = (await stored(utc, "zoned")).transaction
    offset = zone.utcoffset(None)
    assert offset is not None
    assert as_utc.next_cron_time == row.next_cron_time + offset
    assert as_utc.create_time == row.create_time + offset
    assert await claim(utc, due + offset) == []  # not yet due, by a fraction of a second
    assert len(await claim(utc, due + offset + timedelta(seconds=1))) == 1


async def test_reset_loses_what_was_stored(config: StoreConfig, open_sql: Open) -> None:
    store = await open_sql(config)
    await insert(store, "old")
    await store.close()
    again = await open_sql(config)
    await stored(again, "old")
    await again.close()
    empty = await open_sql(config, reset=True)
    assert await empty.find("old") is None


async def test_an_unknown_driver_is_a_clear_error(open_sql: Open) -> None:
    with pytest.raises(StartError, match="redis is not built yet"):
        await open_sql(StoreConfig(driver="redis"))


async def test_rows_that_nobody_understands_keep_no_other_from_being_claimed(
    mariadb_database: Database, open_sql: Open
) -> None:
    """PROTOCOL §9. MySQL finds `SAGA` where `saga` is asked for, and any program may have written a row."""
    store = await open_sql(config_of(mariadb_database), zone=UTC)
    now = await store.utc_now()
    long_ago = now - timedelta(hours=1)
    for gid in ("odd status", "odd type", "odd options"):
        await insert(store, gid, next_cron_time=long_ago)
    await insert(store, "sound", next_cron_time=now - timedelta(minutes=1))
    mariadb_database.execute(
        "UPDATE trans_global SET status = 'Submitted' WHERE gid = 'odd status';"
        "UPDATE trans_global SET trans_type = 'SAGA' WHERE gid = 'odd type';"
        """UPDATE trans_global SET options = '{"request_timeout":1000000000000}' WHERE gid = 'odd options'"""
    )
    looked_at = await store.look_at(await store.find_due(now=now, limit=100))
    understood = [it.stored.transaction for it in looked_at if it.stored is not None]
    assert [(it.gid, it.trans_type) for it in understood] == [
        ("odd type", "SAGA"),
        ("odd options", "saga"),
        ("sound", "saga"),
    ]
    later = now + timedelta(minutes=5)
    await store.claim([], [Deferral(it.due, later) for it in looked_at], owner="a/1/1", now=now)
    assert (await store.backlog(now=now)).due == 0  # none is looked at again and again
