"""What ended long ago is deleted, and nothing else; on every store."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select

from coordinator.clock import SystemClock
from coordinator.engine.purging import purge_page
from coordinator.model import Status
from coordinator.store import retention
from coordinator.store.archive import Archive
from coordinator.store.attempt_rows import attempt_row
from coordinator.store.base import Change, Changed
from coordinator.store.open import StoreConfig, open_store
from coordinator.store.own_tables import KEPT_BY_OTHERS, OF_TRANSACTIONS, OWN_METADATA
from coordinator.store.result_table import result_row
from coordinator.store.retention import Old, Purged
from coordinator.store.sql import SqlStore
from coordinator.store.tables import TRANS_BRANCH_OP, TRANS_GLOBAL
from tests.support.attempts import attempt
from tests.support.store_contract import TIMEOUT, UNFINISHED, branches, transaction
from tests.support.store_contract import insert as insert_one

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEPT = timedelta(days=7)
BEFORE = NOW - KEPT
TIMES = ("create_time", "update_time", "finish_time", "rollback_time")


@dataclass(frozen=True)
class Planted:
    """A row as another program may have left it. Its times: seconds before BEFORE; None is NULL."""

    status: str
    create_time: int | None
    update_time: int | None
    finish_time: int | None
    rollback_time: int | None

    def is_old(self) -> bool:
        ended = next(
            (t for t in (self.finish_time, self.rollback_time, self.update_time) if t is not None), None
        )
        ended = self.create_time if ended is None else ended
        return self.status in {"succeed", "failed"} and ended is not None and ended > 0


def planted(status: str, ended: int | None = None, *, created: int = 5000) -> Planted:
    """ended: seconds before BEFORE."""
    done = {"succeed": "finish_time", "failed": "rollback_time"}.get(status, "")
    return Planted(status, created, created, **{name: ended if name == done else None for name in TIMES[2:]})


def plant(connection: Connection, store: SqlStore, rows: list[Planted]) -> None:
    text = store._wall_clock.text
    connection.execute(delete(TRANS_BRANCH_OP))
    connection.execute(delete(TRANS_GLOBAL))
    globals_, of_branches = [], []
    for number, row in enumerate(rows):
        ages = {name: getattr(row, name) for name in TIMES}
        values: dict[str, Any] = {
            name: None if age is None else text(BEFORE - timedelta(seconds=age)) for name, age in ages.items()
        }
        values |= {"gid": f"g{number}", "trans_type": "saga", "status": row.status, "query_prepared": ""}
        globals_.append({**values, "protocol": "http", "owner": "", "next_cron_time": text(NOW)})
        branch = {"gid": f"g{number}", "url": "", "branch_id": "01", "status": "prepared"}
        of_branches += [{**branch, "op": op} for op in ("action", "compensate")]
    if rows:
        connection.execute(insert(TRANS_GLOBAL), globals_)
        connection.execute(insert(TRANS_BRANCH_OP), of_branches)


async def what_is_left(store: SqlStore) -> tuple[set[str], set[str]]:
    def read(connection: Connection) -> tuple[set[str], set[str]]:
        gids = connection.execute(select(TRANS_GLOBAL.c.gid)).scalars()
        return set(gids), set(connection.execute(select(TRANS_BRANCH_OP.c.gid)).scalars())

    return await store._read(read)


async def purge_all(store: SqlStore, *, limit: int, archive: Archive | None = None) -> Purged:
    after: int | None = 0
    purged = Purged()
    while after is not None:
        page = await store.retention.look(after, BEFORE, limit=limit)
        keep = archive.add if archive is not None else None
        purged += await purge_page(store.retention, page, BEFORE, keep, NOW)
        after = page.after
    return purged


seconds = st.one_of(st.none(), st.integers(-100_000, 100_000))
any_row = st.builds(
    Planted,
    st.sampled_from(["succeed", "failed", "prepared", "submitted", "aborting", "of another program"]),
    seconds, seconds, seconds, seconds,
)  # fmt: skip


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(any_row, max_size=12), limit=st.integers(1, 6))
def test_nothing_else_is_ever_touched(rows: list[Planted], limit: int, tmp_path_factory: Any) -> None:
    """Against a model; rows of which nobody can say that they are young in time are left for a later walk."""

    async def run() -> None:
        path = tmp_path_factory.mktemp("purge") / "dtm.db"
        store = await open_store(StoreConfig(path=str(path)), clock=SystemClock(), zone=UTC, wait_seconds=5.0)
        try:
            await store._transact(lambda it: plant(it, store, rows))
            await purge_all(store, limit=limit)
            transactions, of_branches = await what_is_left(store)
        finally:
            await store.close()
        old = {f"g{number}" for number, row in enumerate(rows) if row.is_old()}
        every = {f"g{number}" for number in range(len(rows))}
        assert every - old <= transactions <= every
        assert of_branches == transactions
        if all(row.create_time is not None and row.create_time > 0 for row in rows):
            assert transactions == every - old

    asyncio.run(run())


@pytest.fixture
async def planted_store(store: SqlStore) -> AsyncIterator[SqlStore]:
    rows = [planted(status, ended) for status in Status for ended in (3600, 1, -1, -3600)]
    await store._transact(lambda it: plant(it, store, rows))
    yield store


async def test_what_ended_before_that_is_gone_with_its_branches(planted_store: SqlStore) -> None:
    purged = await purge_all(planted_store, limit=7)
    assert (purged.transactions, purged.branches) == (4, 8)
    transactions, of_branches = await what_is_left(planted_store)
    assert len(transactions) == 16
    assert transactions == of_branches


async def test_what_is_no_longer_as_it_was_found_is_left(planted_store: SqlStore) -> None:
    """Another coordinator may have been faster, and its gid taken again."""
    page = await planted_store.retention.look(0, BEFORE, limit=100)
    found = [*page.found, Old(10**9, "nobody")]
    for gid in (page.found[0].gid, page.found[1].gid):
        await planted_store._transact(
            lambda it, gid=gid: it.execute(delete(TRANS_GLOBAL).where(TRANS_GLOBAL.c.gid == gid))
        )
        await planted_store._transact(
            lambda it, gid=gid: it.execute(delete(TRANS_BRANCH_OP).where(TRANS_BRANCH_OP.c.gid == gid))
        )
        await insert_one(planted_store, gid)
    purged = await planted_store.retention.purge(found, BEFORE)
    assert purged.transactions == 2
    for gid in (page.found[0].gid, page.found[1].gid):
        stored = await planted_store.find(gid)
        assert stored is not None
        assert len(stored.branches) == 4


async def test_many_branches_go_before_their_transaction(
    planted_store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BRANCHES_MAX", 3)
    page = await planted_store.retention.look(0, BEFORE, limit=100)
    first = await planted_store.retention.purge(page.found, BEFORE)
    assert first == Purged(0, 3, is_done=False)
    transactions, of_branches = await what_is_left(planted_store)
    assert of_branches < transactions
    assert len(transactions) == 20
    await purge_page(planted_store.retention, page, BEFORE, None, NOW)
    assert len((await what_is_left(planted_store))[0]) == 16


async def test_what_was_kept_of_calls_goes_with_it(planted_store: SqlStore) -> None:
    page = await planted_store.retention.look(0, BEFORE, limit=100)
    gid = page.found[0].gid
    await insert_one(planted_store, "young")
    change = Change(
        "young", UNFINISHED, None, own_rows=(attempt_row(attempt(gid)), attempt_row(attempt("young")))
    )
    assert await planted_store.change(change, timeout=TIMEOUT) is Changed.APPLIED
    await purge_all(planted_store, limit=100)
    assert await planted_store.attempts.attempts(gid) == []
    assert len(await planted_store.attempts.attempts("young")) == 1


async def test_it_is_archived_before(planted_store: SqlStore, tmp_path: Path) -> None:
    path = tmp_path / "ended.jsonl"
    row = transaction("payload", status=Status.SUBMITTED)
    await planted_store.insert(row, [*branches("payload", 1)], timeout=TIMEOUT)
    kept = (result_row("payload", "01", b'{"id":7}', NOW),)
    change = Change("payload", UNFINISHED, None, own_rows=kept)
    assert await planted_store.change(change, timeout=TIMEOUT) is Changed.APPLIED
    then = planted_store._wall_clock.text(BEFORE - timedelta(days=1))
    await planted_store._transact(
        lambda it: it.execute(
            TRANS_GLOBAL.update()
            .where(TRANS_GLOBAL.c.gid == "payload")
            .values(status="succeed", finish_time=then, create_time=then)
        )
    )
    await purge_all(planted_store, limit=100, archive=Archive(path))
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 5
    last = next(line for line in lines if line["transaction"]["gid"] == "payload")
    assert last["transaction"]["finish_time"] == "2026-05-24T00:00:00+00:00"
    assert [branch["bin_data"] for branch in last["branches"]] == ['{"amount":30}'] * 2
    assert last["results"] == [{"branch_id": "01", "content": '{"id":7}'}]
    assert ["results" in line for line in lines].count(True) == 1
    assert await planted_store.kept_results("payload") == {}
    assert path.stat().st_mode & 0o777 == 0o600


async def test_one_coordinator_at_a_time(store: SqlStore) -> None:
    assert await store.shared.take("purge", "a/1/", seconds=30)
    assert await store.shared.take("purge", "a/1/", seconds=30)
    assert not await store.shared.take("purge", "b/1/", seconds=30)
    assert await store.shared.take("census", "b/1/", seconds=30)
    await store.shared.leave("purge", "b/1/")
    assert not await store.shared.take("purge", "b/1/", seconds=30)
    await store.shared.leave("purge", "a/1/")
    assert await store.shared.take("purge", "b/1/", seconds=-1)
    assert await store.shared.take("purge", "a/1/", seconds=30)


async def test_what_one_tells_the_others_hear(store: SqlStore) -> None:
    assert await store.shared.told("census") is None
    await store.shared.take("census", "a/1/", seconds=30)
    assert await store.shared.told("census") is None
    await store.shared.tell("census", "b/1/", {"due": 0})
    await store.shared.tell("census", "a/1/", {"due": 7})
    told = await store.shared.told("census")
    assert told is not None
    assert told.value == {"due": 7}
    assert timedelta(seconds=-1) <= told.age < timedelta(seconds=60)


async def test_who_made_the_tables_is_known(config: StoreConfig) -> None:
    for _ in range(2):
        store = await open_store(config, clock=SystemClock(), zone=UTC, wait_seconds=5.0)
        assert (await store.shared.tables()).made
        await store._transact(lambda it: it.exec_driver_sql("DELETE FROM dtm_shared WHERE name = 'census'"))
        await store.close()
    store = await open_store(config, clock=SystemClock(), zone=UTC, wait_seconds=5.0)
    await store._transact(lambda it: it.exec_driver_sql("DELETE FROM dtm_shared"))
    await store.close()
    store = await open_store(config, clock=SystemClock(), zone=UTC, wait_seconds=5.0)
    assert not (await store.shared.tables()).made
    await store.shared.note_tables(version=2)
    known = await store.shared.tables()
    assert (known.made, known.version) == (False, 2)
    await store.close()


def test_every_table_of_ours_says_how_long_its_rows_stay() -> None:
    assert sorted((*OF_TRANSACTIONS, *KEPT_BY_OTHERS)) == sorted(OWN_METADATA.tables)


async def test_a_sqlite_file_gives_its_space_back(tmp_path: Path) -> None:
    path = tmp_path / "dtm.db"
    store = await open_store(StoreConfig(path=str(path)), clock=SystemClock(), zone=UTC, wait_seconds=5.0)
    await store._transact(lambda it: plant(it, store, [planted("succeed", 60)] * 3000))
    await purge_all(store, limit=500)
    while await store.retention.give_back():
        pass
    pages = await store._read(lambda it: it.exec_driver_sql("PRAGMA page_count").scalar())
    await store.close()
    assert pages < 60
    assert path.stat().st_size < 60 * 4096
