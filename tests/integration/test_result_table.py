"""What steps answered, in a table of ours: there with their success, or the success is not; every store."""

from datetime import timedelta

import pytest
from sqlalchemy import Connection, text

from coordinator.errors import DtmError
from coordinator.model import BranchStatus, Status
from coordinator.store.attempt_rows import attempt_row
from coordinator.store.base import Assign, Change, Changed
from coordinator.store.result_table import result_row
from coordinator.store.retention import Purged
from coordinator.store.sql import SqlStore
from tests.integration.test_attempt_tables import REFUSING
from tests.support.attempts import attempt
from tests.support.store_contract import TIMEOUT, UNFINISHED, branches, transaction


async def put(store: SqlStore, *gids: str) -> None:
    now = await store.utc_now()
    for gid in gids:
        await store.insert(transaction(gid), branches(gid), timeout=TIMEOUT)
        rows = (result_row(gid, "01", b'{"id":7}', now), attempt_row(attempt(gid)))
        change = Change(gid, UNFINISHED, None, by_driver=True, own_rows=rows)
        assert await store.change(change, timeout=TIMEOUT) is Changed.APPLIED


@pytest.mark.parametrize("is_dropped", [True, False])
async def test_a_step_has_not_succeeded_where_its_result_cannot_be_kept(
    store: SqlStore, is_dropped: bool
) -> None:
    await put(store, "g1")

    def spoil(connection: Connection) -> None:
        name = connection.dialect.name.replace("mariadb", "mysql")
        for statement in ["DROP TABLE {table}"] if is_dropped else REFUSING[name]:
            connection.execute(text(statement.format(table="dtm_result")))

    await store._transact(spoil)
    rows = (attempt_row(attempt("g1", 2)), result_row("g1", "02", b"2", await store.utc_now()))
    done = ((branches("g1")[3].key, BranchStatus.SUCCEED),)
    change = Change(
        "g1", UNFINISHED, None, done, Assign(rollback_reason="why"), by_driver=True, own_rows=rows
    )
    with pytest.raises(DtmError):
        await store.change(change, timeout=3.0)
    found = await store.find("g1")
    assert found is not None
    assert {row.status for row in found.branches} == {BranchStatus.PREPARED}


async def test_results_go_with_their_transaction(store: SqlStore) -> None:
    await put(store, "over", "going")
    end = Change("over", UNFINISHED, None, assign=Assign(status=Status.SUCCEED, owner=""))
    assert await store.change(end, timeout=TIMEOUT) is Changed.APPLIED
    before = await store.utc_now() + timedelta(days=1)
    page = await store.retention.look(0, before, limit=10)
    assert await store.retention.purge(page.found, before) == Purged(1, 4)
    assert await store.kept_results("over") == {}
    assert await store.kept_results("going") == {"01": b'{"id":7}'}


async def test_results_of_what_another_program_deleted_are_swept_up(store: SqlStore) -> None:
    await put(store, "going", "gone")
    await store._transact(lambda it: it.execute(text("DELETE FROM trans_global WHERE gid = 'gone'")))
    after = await store.results.sweep("", limit=1)
    assert after == "going"
    assert await store.results.sweep(after, limit=10) == ""
    assert await store.kept_results("gone") == {}
    assert await store.kept_results("going") == {"01": b'{"id":7}'}
