"""What went wrong, in tables of our own: written with changes, read, forgotten, on every store."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text

from coordinator.attempt import Kind
from coordinator.model import BranchStatus, Status
from coordinator.store.attempt_rows import attempt_row, not_stuck, stuck_row
from coordinator.store.base import Assign, Change, Changed
from coordinator.store.own_rows import OwnWrite
from coordinator.store.runner import AsyncRunner
from coordinator.store.sql import SqlStore
from tests.support.attempts import attempt, stuck
from tests.support.store_contract import TIMEOUT, UNFINISHED, branches, transaction

DAY = timedelta(days=1)


def told(gid: str, *rows: OwnWrite, owner: str | None = None, **values: Any) -> Change:
    return Change(gid, UNFINISHED, owner, own_rows=rows, by_driver=True, **values)


async def put(store: SqlStore, *gids: str) -> None:
    for gid in gids:
        await store.insert(transaction(gid), branches(gid), timeout=TIMEOUT)


async def test_what_is_written_with_a_change_is_read_again(store: SqlStore) -> None:
    await put(store, "g1")
    first, second = attempt("g1"), attempt("g1", 2, status=None, kind=Kind.DNS, times=7, seconds=3.0)
    change = told("g1", attempt_row(first), attempt_row(second), stuck_row(stuck("g1")))
    assert await store.change(change, timeout=TIMEOUT) is Changed.APPLIED
    assert await store.attempts.attempts("g1") == [first, second]
    assert await store.attempts.stuck(["g1", "g2"]) == {"g1": stuck("g1")}


async def test_the_row_of_a_place_makes_room_for_the_next(store: SqlStore) -> None:
    await put(store, "g1")
    for number in range(1, 31):
        change = told("g1", attempt_row(attempt("g1", number, times=number)))
        assert await store.change(change, timeout=TIMEOUT) is Changed.APPLIED
    again = told("g1", attempt_row(attempt("g1", 30, times=99)), stuck_row(stuck("g1")))
    later = told("g1", stuck_row(stuck("g1", op="compensate")))
    assert await store.change(again, timeout=TIMEOUT) is Changed.APPLIED
    assert await store.change(later, timeout=TIMEOUT) is Changed.APPLIED
    kept = await store.attempts.attempts("g1")
    assert [it.number for it in kept] == [1, 2, 3, *range(14, 31)]
    assert kept[-1].times == 99
    assert (await store.attempts.stuck(["g1"]))["g1"].op == "compensate"


async def test_what_is_no_longer_stuck_goes_with_the_change_that_says_so(store: SqlStore) -> None:
    await put(store, "g1", "g2")
    await store.change(told("g1", stuck_row(stuck("g1"))), timeout=TIMEOUT)
    await store.change(told("g2", stuck_row(stuck("g2"))), timeout=TIMEOUT)
    end = told("g1", not_stuck("g1"), assign=Assign(status=Status.SUCCEED, owner=""))
    assert await store.change(end, timeout=TIMEOUT) is Changed.APPLIED
    assert list(await store.attempts.stuck(["g1", "g2"])) == ["g2"]


async def test_nothing_is_told_by_a_driver_whose_row_was_taken(store: SqlStore) -> None:
    await put(store, "g1")
    change = told("g1", attempt_row(attempt("g1")), stuck_row(stuck("g1")), owner="somebody else")
    assert await store.change(change, timeout=TIMEOUT) is Changed.REFUSED
    assert await store.attempts.attempts("g1") == []
    assert await store.attempts.stuck(["g1"]) == {}


async def test_many_share_their_commits(store: SqlStore) -> None:
    gids = [f"g{number}" for number in range(60)]
    await put(store, *gids)
    rows = [told(gid, attempt_row(attempt(gid)), stuck_row(stuck(gid))) for gid in gids]
    assert set(await asyncio.gather(*(store.change(it, timeout=TIMEOUT) for it in rows))) == {Changed.APPLIED}
    gone = [told(gid, not_stuck(gid), attempt_row(attempt(gid, 2))) for gid in gids]
    assert set(await asyncio.gather(*(store.change(it, timeout=TIMEOUT) for it in gone))) == {Changed.APPLIED}
    assert await store.attempts.stuck(gids) == {}
    assert [it.number for it in await store.attempts.attempts("g59")] == [1, 2]


async def test_attempts_of_what_has_ended_long_ago_are_swept_up(store: SqlStore) -> None:
    await put(store, "going", "over", "gone")
    for gid in ("going", "over", "gone"):
        rows = (attempt_row(attempt(gid)), stuck_row(stuck(gid)))
        await store.change(told(gid, *rows), timeout=TIMEOUT)
    await store.change(told("over", assign=Assign(status=Status.FAILED, owner="")), timeout=TIMEOUT)
    await store._transact(lambda it: it.execute(text("DELETE FROM trans_global WHERE gid = 'gone'")))

    async def left() -> list[str]:
        return [gid for gid in ("going", "over", "gone") if await store.attempts.attempts(gid)]

    now = await store.utc_now()
    assert await store.attempts.sweep_attempts("", now=now, kept=DAY, limit=10) == ""
    assert await left() == ["going", "over"]
    assert await store.attempts.sweep_stuck("", limit=10) == ""
    assert list(await store.attempts.stuck(["going", "over", "gone"])) == ["going"]
    after, pages = "", 0
    while pages == 0 or after:
        after = await store.attempts.sweep_attempts(after, now=now + 2 * DAY, kept=DAY, limit=1)
        pages += 1
    assert await left() == ["going"]
    assert pages == 3


# Something refuses every row: as a table does that is read only, or that has an index of somebody's own.
REFUSING = {
    "sqlite": ["CREATE TRIGGER refusing BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END"],
    "mysql": ["CREATE TRIGGER refusing BEFORE INSERT ON {table} FOR EACH ROW SIGNAL SQLSTATE '45000'"],
    "postgresql": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'",
        "CREATE TRIGGER refusing BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
}


@pytest.mark.parametrize("is_dropped", [True, False])
@pytest.mark.parametrize("table", ["dtm_attempt", "dtm_stuck"])
async def test_a_table_that_is_taken_away_or_refuses_keeps_nobody_from_work(
    store: SqlStore, table: str, is_dropped: bool
) -> None:
    await put(store, "g1")

    def spoil(connection: Connection) -> None:
        name = connection.dialect.name.replace("mariadb", "mysql")
        for statement in ["DROP TABLE {table}"] if is_dropped else REFUSING[name]:
            connection.execute(text(statement.format(table=table)))

    await store._transact(spoil)
    branch = branches("g1")[0].key
    rows = (attempt_row(attempt("g1")), stuck_row(stuck("g1")))
    change = told(
        "g1",
        *rows,
        results=((branch, BranchStatus.FAILED),),
        assign=Assign(status=Status.ABORTING, rollback_reason="why"),
    )
    assert await store.change(change, timeout=TIMEOUT) is Changed.APPLIED
    found = await store.find("g1")
    assert found is not None
    assert (found.transaction.status, found.branches[0].status) == (Status.ABORTING, BranchStatus.FAILED)


@pytest.mark.parametrize("config", ["mariadb", "postgres"], indirect=True)
async def test_rows_of_ours_that_somebody_holds_keep_nobody_from_work(store: SqlStore) -> None:
    await put(store, "g1", "g2")
    kept = (attempt_row(attempt("g1")), stuck_row(stuck("g1")))
    await store.change(told("g1", *kept), timeout=TIMEOUT)
    runner = store._runner
    assert isinstance(runner, AsyncRunner)
    async with runner._engine.connect() as somebody:
        await somebody.execute(text("SELECT * FROM dtm_attempt FOR UPDATE"))
        for number in range(3):
            failed = told("g1", *kept, assign=Assign(next_cron_interval=number + 1))
            well = told("g2", assign=Assign(next_cron_interval=number + 1))
            both = (store.change(failed, timeout=4.0), store.change(well, timeout=4.0))
            assert set(await asyncio.gather(*both)) == {Changed.APPLIED}
        await somebody.rollback()
    for gid in ("g1", "g2"):
        found = await store.find(gid)
        assert found is not None
        assert found.transaction.next_cron_interval == 3
