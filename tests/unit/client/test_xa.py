"""XA's caller, over both protocols; the branch's side is in tests/integration (PROTOCOL §5, §7)."""

from typing import Any

import aiosqlite
import pytest

from coordinator.client import BranchContext, Dtm, DtmError, Failure, InvalidUse, NoBranchContext
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


class LosesACommit:
    """A database that confirms a commit and does not make it, as MariaDB may; its restart brings it back."""

    def __init__(self) -> None:
        self.is_known, self.commits_truly, self.reason = True, False, ""

    def xa_database(self, table: str) -> "LosesACommit":
        return self

    async def commit(self, xid: str) -> bool:
        known, self.is_known = self.is_known, False
        if known and self.commits_truly:
            self.reason = "action"
        return known

    async def reason_of(self, row: Any) -> str:
        return self.reason

    async def close(self) -> None:
        pass

    def restart(self) -> None:
        self.is_known = self.commits_truly = True


async def test_a_commit_that_the_database_confirmed_and_did_not_make_is_no_success(fake: Fake) -> None:
    database = LosesACommit()

    async def connect() -> LosesACommit:
        return database

    async with Dtm(fake.url) as dtm:

        async def commit() -> None:
            async with dtm.xa_branch(BranchContext("g1", "xa", "01", "commit", "http://me/xa"), connect):
                pass

        with pytest.raises(DtmError, match=r"did not make it.*until the database is restarted"):
            await commit()
        with pytest.raises(DtmError, match="cannot be ended now"):
            await commit()
        database.restart()
        await commit()
        await commit()
