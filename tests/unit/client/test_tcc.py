"""TCC, over both protocols: plainest use first (PROTOCOL §5, §7)."""

import asyncio

import pytest

from coordinator.client import BranchContext, Dtm, DtmError, Failure, InvalidUse, Ongoing, Unreachable
from coordinator.testing import FakeBranches, Says
from tests.unit.client.fake_coordinator import Answer, Fake


async def test_leaving_the_block_submits_after_every_try(
    fake: Fake, branches: FakeBranches, bank: str
) -> None:
    branches.answer("/bank.Bank/TryIn", {"free": 70})
    async with Dtm(fake.url) as dtm, dtm.tcc("g1") as tcc:
        for way in ("Out", "In"):
            urls = [f"{bank}/bank.Bank/{phase}{way}" for phase in ("Try", "Confirm", "Cancel")]
            answer = await tcc.call_branch({"amount": 30}, *urls)
    assert answer.json() == {"free": 70}
    assert fake.names() == ["prepare", "registerBranch", "registerBranch", "submit"]
    registered = fake.asked[1].body
    assert registered == {
        "gid": "g1",
        "trans_type": "tcc",
        "branch_id": "01",
        "confirm": f"{bank}/bank.Bank/ConfirmOut",
        "cancel": f"{bank}/bank.Bank/CancelOut",
        "data": b'{"amount":30}',
    }
    assert [(call.branch.branch_id, call.op, call.json()) for call in branches.calls] == [
        ("01", "try", {"amount": 30}),
        ("02", "try", {"amount": 30}),
    ]


@pytest.mark.parametrize(
    ("says", "raised"),
    [
        (Says.FAILURE, Failure),
        (Says.ONGOING, Ongoing),
        (Says.BROKEN, DtmError),
        (Says.LOST, DtmError),
        (Says.HANGS, DtmError),
    ],
)
async def test_a_try_that_is_no_success_aborts_and_is_raised(
    fake: Fake, branches: FakeBranches, bank: str, says: Says, raised: type[DtmError]
) -> None:
    branches.answer("/b/try", says)
    with pytest.raises(raised) as caught:
        async with Dtm(fake.url) as dtm, dtm.tcc("g1", request_timeout=1) as tcc:
            await tcc.call_branch(None, f"{bank}/b/try", f"{bank}/b/confirm", f"{bank}/b/cancel")
    assert type(caught.value) is raised
    assert caught.value.gid == "g1"
    assert fake.names() == ["prepare", "registerBranch", "abort"]
    said = f"url:{caught.value.url} return failed: {caught.value.raw}"
    assert fake.asked[-1].body["rollback_reason"] == (said if raised is Failure else str(caught.value))


async def test_an_exception_of_the_block_s_own_aborts_too_and_comes_through(fake: Fake) -> None:
    with pytest.raises(LookupError, match="nothing there"):
        async with Dtm(fake.url) as dtm, dtm.tcc():
            raise LookupError("nothing there")
    assert fake.names() == ["prepare", "abort"]


async def test_a_cancelled_block_aborts(fake: Fake, branches: FakeBranches, bank: str) -> None:
    branches.answer("/b/try", Says.HANGS)

    async def block() -> None:
        async with Dtm(fake.url) as dtm, dtm.tcc("g1") as tcc:
            await tcc.call_branch(None, f"{bank}/b/try", f"{bank}/b/confirm", f"{bank}/b/cancel")

    task = asyncio.create_task(block())
    await branches.until_called("/b/try")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert fake.names()[-1] == "abort"


async def test_an_abort_that_is_refused_is_a_note_on_the_real_error(fake: Fake) -> None:
    fake.scripts["abort"] = [Answer.REFUSED]
    with pytest.raises(LookupError) as caught:
        async with Dtm(fake.url) as dtm, dtm.tcc("g1"):
            raise LookupError("nothing there")
    assert "Transaction g1 could not be aborted at once" in caught.value.__notes__[0]


async def test_a_branch_is_registered_before_its_try_so_that_a_lost_try_is_cancelled(
    fake: Fake, branches: FakeBranches, bank: str
) -> None:
    fake.scripts["registerBranch"] = [Answer.NOT_PREPARED]  # timed out meanwhile
    with pytest.raises(Failure, match="status: prepared found"):
        async with Dtm(fake.url) as dtm, dtm.tcc("g1") as tcc:
            await tcc.call_branch(None, f"{bank}/b/try", f"{bank}/b/confirm", f"{bank}/b/cancel")
    assert branches.calls == []


async def test_a_transaction_that_timed_out_before_its_submit_is_a_failure(fake: Fake) -> None:
    fake.script = [Answer.ALREADY_ABORTING]
    async with Dtm(fake.url) as dtm:
        with pytest.raises(Failure, match="current status 'aborting'"):
            async with dtm.tcc():
                pass


async def test_a_confirm_that_says_failure_is_called_again_so_it_is_ongoing(fake: Fake) -> None:
    fake.script = [Answer.BRANCH_FAILURE]
    async with Dtm(fake.url) as dtm:
        with pytest.raises(Ongoing, match="still running"):
            async with dtm.tcc(wait_result=True):
                pass


async def test_a_submit_that_is_refused_and_refused_again_is_the_coordinator_s_error(fake: Fake) -> None:
    fake.script = [Answer.REFUSED, Answer.REFUSED]
    async with Dtm(fake.url) as dtm:
        with pytest.raises(DtmError, match=r"the coordinator answered an error.*no gid specified") as caught:
            async with dtm.tcc(wait_result=True):
                pass
    assert type(caught.value) is DtmError


async def test_an_error_with_a_transaction_that_ended_meanwhile_is_a_success(fake: Fake) -> None:
    fake.script = [Answer.REFUSED, Answer.ALREADY_SUCCEED]
    async with Dtm(fake.url) as dtm, dtm.tcc(wait_result=True):
        pass


async def test_a_lost_submit_is_repeated(fake: Fake) -> None:
    fake.script = [Answer.BUSY, Answer.ALREADY_SUCCEED]
    async with Dtm(fake.url) as dtm, dtm.tcc():
        pass
    assert fake.names() == ["prepare", "submit", "submit"]


async def test_a_submit_without_an_answer_says_that_it_is_prepared(fake: Fake) -> None:
    fake.script = [Answer.BUSY] * 50
    async with Dtm(fake.url, timeout=0.3) as dtm:
        with pytest.raises(Unreachable, match="not known whether it is submitted, gid g1") as caught:
            async with dtm.tcc("g1"):
                pass
    assert caught.value.may_exist


async def test_nested_branches_are_numbered_below_their_parent(
    fake: Fake, branches: FakeBranches, bank: str
) -> None:
    request = BranchContext("g1", "tcc", "02", "try")
    async with Dtm(fake.url) as dtm:
        for _ in range(2):
            tcc = dtm.nested_tcc(request)
            await tcc.call_branch({}, f"{bank}/b/try", f"{bank}/b/confirm", f"{bank}/b/cancel")
    assert [call.branch.branch_id for call in branches.calls] == ["0201", "0202"]
    assert fake.names() == ["registerBranch", "registerBranch"], "begun and ended by the outer one"


async def test_options_travel_with_prepare_and_headers_with_the_try(
    http: Fake, branches: FakeBranches
) -> None:
    bank = branches.http_url
    async with (
        Dtm(http.url) as dtm,
        dtm.tcc(timeout_to_fail=60, wait_result=True, branch_headers={"x-team": "blue"}) as tcc,
    ):
        await tcc.call_branch({}, f"{bank}/try?a=1", f"{bank}/confirm", f"{bank}/cancel")
    for asked in (http.asked[0], http.asked[-1]):
        assert asked.body["timeout_to_fail"] == 60
        assert asked.body["branch_headers"] == {"x-team": "blue"}
    assert branches.calls[0].headers["x-team"] == "blue"


async def test_the_hundredth_branch_is_refused(fake: Fake, branches: FakeBranches) -> None:
    context = BranchContext("g1", "tcc", "", "")
    for _ in range(99):
        last = context.next_branch_id()
    assert last == "99"
    with pytest.raises(DtmError, match="more than 99 branches"):
        context.next_branch_id()


@pytest.mark.parametrize("url", ["etcd://h:1/x", "bank", "host:port/a.B/C"])
async def test_a_try_that_cannot_be_called_from_here_is_explained(fake: Fake, url: str) -> None:
    with pytest.raises(DtmError, match="cannot be called from here"):
        async with Dtm(fake.url) as dtm, dtm.tcc() as tcc:
            await tcc.call_branch({}, url, "http://b/confirm", "http://b/cancel")
    assert fake.names()[-1] == "abort"


async def test_a_transaction_that_outlives_its_client_opens_no_connection(fake: Fake, bank: str) -> None:
    async with Dtm(fake.url) as dtm:
        tcc = dtm.tcc("g1")
        nested = dtm.nested_tcc(BranchContext("g1", "tcc", "02", "try"))
    with pytest.raises(InvalidUse, match="this Dtm is closed"):
        await nested.call_branch({}, f"{bank}/b.B/Try", f"{bank}/b.B/Confirm", f"{bank}/b.B/Cancel")
    with pytest.raises(InvalidUse, match="this Dtm is closed"):
        async with tcc:
            pass
