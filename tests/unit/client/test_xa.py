"""XA's caller, over both protocols; the branch's side is in tests/integration (PROTOCOL §5, §7)."""

import asyncio
from typing import cast

import aiosqlite
import pytest

from coordinator.client import BranchContext, Dtm, DtmError, Failure, InvalidUse, NoBranchContext
from coordinator.client.barriers.databases import BarrierDatabase
from coordinator.client.barriers.rules import BarrierRow
from coordinator.client.xa.databases import Busy
from coordinator.client.xa.on_mysql import MySqlXa
from coordinator.testing import FakeBranches, Says
from tests.unit.client.fake_coordinator import Fake


async def test_branches_are_told_where_the_second_phase_goes(
    fake: Fake, branches: FakeBranches, bank: str
) -> None:
    async with Dtm(fake.url) as dtm, dtm.xa("g1") as xa:
        await xa.call_branch(f"{bank}/bank.Bank/Out", {"amount": 30})
        await xa.call_branch(f"{bank}/bank.Bank/In")
    assert fake.names() == ["prepare", "submit"], "branches register themselves"
    assert [(call.branch.branch_id, call.op) for call in branches.calls] == [
        ("01", "action"),
        ("02", "action"),
    ]
    assert branches.calls[1].branch.phase_two_url == f"{bank}/bank.Bank/In"
    assert (branches.calls[0].json(), branches.calls[1].json()) == ({"amount": 30}, None)


async def test_an_exception_aborts(fake: Fake, branches: FakeBranches, bank: str) -> None:
    branches.answer("/b/in", Says.FAILURE)
    with pytest.raises(Failure):
        async with Dtm(fake.url) as dtm, dtm.xa() as xa:
            await xa.call_branch(f"{bank}/b/in")
    assert fake.names() == ["prepare", "abort"]


async def test_nested_branches_are_numbered_below_their_parent(
    fake: Fake, branches: FakeBranches, bank: str
) -> None:
    async with Dtm(fake.url) as dtm:
        await dtm.nested_xa(BranchContext("g1", "xa", "01", "action")).call_branch(f"{bank}/b/in")
    assert branches.calls[0].branch.branch_id == "0101"


async def test_a_branch_that_does_not_know_where_the_second_phase_goes_refuses(fake: Fake) -> None:
    async def connect() -> None:
        raise AssertionError("not before the request is looked at")

    async with Dtm(fake.url) as dtm:
        with pytest.raises(NoBranchContext, match="phase2_url"):
            async with dtm.xa_branch(BranchContext("g1", "xa", "01", "action"), connect):
                pass
        with pytest.raises(InvalidUse, match="no operation 'try'"):
            dtm.xa_branch(BranchContext("g1", "xa", "01", "try"), connect)


async def test_sqlite_has_no_xa_and_says_so(fake: Fake) -> None:
    branch = BranchContext("g1", "xa", "01", "action", "http://me/xa")
    async with Dtm(fake.url) as dtm:
        with pytest.raises(InvalidUse, match="SQLite has no XA"):
            async with dtm.xa_branch(branch, lambda: aiosqlite.connect(":memory:")):
                pass


class Database:
    """What is prepared there; a commit may be confirmed and not made, as by MariaDB, until a restart."""

    def __init__(self, *, loses: bool, has_row: bool = True) -> None:
        self._loses, self._has_row = loses, has_row
        self._is_known, self._is_locked, self._is_committed = True, True, False

    def xa_database(self, table: str) -> "Database":
        return self

    async def commit(self, xid: str) -> bool:
        known, self._is_known = self._is_known, False
        if known and not self._loses:
            self._is_locked, self._is_committed = False, True
        return known

    async def is_lost(self, row: BarrierRow) -> bool:
        return self._is_locked

    async def reason_of(self, row: BarrierRow) -> str:
        if self._is_locked:
            raise Busy
        return "action" if self._is_committed and self._has_row else ""

    async def close(self) -> None:
        pass

    def restart(self) -> None:
        self._is_known, self._loses = True, False


async def commit(dtm: Dtm, database: Database) -> None:
    async def connect() -> Database:
        return database

    async with dtm.xa_branch(BranchContext("g1", "xa", "01", "commit", "http://me/xa"), connect):
        pass


async def test_a_commit_that_the_database_confirmed_and_did_not_make_is_no_success(fake: Fake) -> None:
    database = Database(loses=True)
    async with Dtm(fake.url) as dtm:
        with pytest.raises(DtmError, match=r"confirmed the commit .* restart that"):
            await commit(dtm, database)
        with pytest.raises(DtmError, match=r"cannot be ended now: .* restart that"):
            await commit(dtm, database)
        database.restart()
        await commit(dtm, database)
        await commit(dtm, database)


async def test_a_confirmed_commit_of_what_has_no_row_in_this_barrier_is_a_success(fake: Fake) -> None:
    async with Dtm(fake.url) as dtm:
        await commit(dtm, Database(loses=False, has_row=False))


@pytest.mark.parametrize("prepares", [True, False])
async def test_mariadb_has_a_moment_to_let_go_of_what_was_prepared(prepares: bool) -> None:
    loop = asyncio.get_running_loop()
    database = MySqlXa(Connection(), cast(BarrierDatabase, None))
    await database.begin("g1-01")
    if prepares:
        await database.prepare("g1-01")
    began = loop.time()
    await database.close()
    assert (loop.time() - began >= 0.004) is prepares


class Connection:
    """Of aiomysql, to a server that does whatever it is told."""

    closed = False

    async def rollback(self) -> None:
        pass

    async def query(self, sql: str) -> None:
        pass

    async def ensure_closed(self) -> None:
        pass

    def escape(self, text: str) -> str:
        return f"'{text}'"
