"""What a branch said reaches the caller: over both protocols, for every pattern, at once and later."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coordinator.client import (
    BranchContext,
    Dtm,
    Failure,
    InvalidUse,
    Ongoing,
    Status,
    Workflow,
    Workflows,
    workflow,
)
from coordinator.testing import Call, Kit, Says
from tests.integration.client.conftest import World
from tests.support.ports import free_port

TAKE, BACK = "/pears.Pears/Take", "/pears.Pears/Back"


class Refusing:
    """A branch that says no in its own words."""

    def __init__(self, words: str) -> None:
        self._words = words

    async def __call__(self, call: Call) -> bytes:
        raise Failure(self._words)


def says_no_pear_left(world: World, path: str = TAKE) -> None:
    world.branches.answer(path, Refusing("no pear left"))


def is_what_the_branch_said(
    world: World, failure: Failure, branch_id: str, op: str, path: str = TAKE
) -> None:
    assert failure.reason == "no pear left"
    assert (failure.url, failure.branch_id, failure.op) == (world.bank + path, branch_id, op)
    over_http = world.bank.startswith("http")
    assert failure.status == (409 if over_http else 10)
    assert "no pear left" in failure.raw
    assert failure.raw.startswith("{" if over_http else "no pear")


async def test_of_a_saga(world: World) -> None:
    says_no_pear_left(world)
    saga = world.dtm.saga(wait_result=True).add(world.bank + "/b.B/Pay", world.bank + "/b.B/PayBack")
    with pytest.raises(Failure) as caught:
        await saga.add(world.bank + TAKE, world.bank + BACK).submit()
    is_what_the_branch_said(world, caught.value, "02", "action")


async def test_of_a_saga_whose_steps_have_one_url(world: World) -> None:
    world.branches.answer(TAKE, Says.SUCCESS, Refusing("no pear left"))
    saga = (
        world.dtm.saga(wait_result=True).add(world.bank + TAKE).add(world.bank + TAKE).add(world.bank + TAKE)
    )
    with pytest.raises(Failure) as caught:
        await saga.submit()
    is_what_the_branch_said(world, caught.value, "02", "action")


async def test_of_a_saga_that_is_looked_at_later_or_submitted_again(world: World) -> None:
    says_no_pear_left(world)
    saga = world.dtm.saga("g1").add(world.bank + "/b.B/Pay").add(world.bank + TAKE)
    await saga.submit()
    stored = await world.dtm.wait("g1")
    for failure in (stored.failure, await raised(saga.submit())):
        assert failure is not None
        assert (failure.reason, failure.url) == ("no pear left", world.bank + TAKE)
        assert (failure.branch_id, failure.op, failure.status) == ("02", "action", None)


async def raised(pending: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        await pending
    return caught.value


async def test_a_time_limit_is_a_reason_of_no_branch(world: World) -> None:
    world.branches.answer(TAKE, Says.ONGOING)
    await world.dtm.saga("g1", timeout_to_fail=20).add(world.bank + TAKE).submit()
    await world.kit.advance(25)
    failure = (await world.dtm.wait("g1")).failure
    assert failure is not None
    assert (failure.reason, failure.url, failure.raw) == ("Timeout after 20 seconds", "", "")
    again = world.dtm.saga("g1", timeout_to_fail=20).add(world.bank + TAKE)
    assert (await raised(again.submit())).reason == "Timeout after 20 seconds"


async def test_of_a_tcc_and_what_is_stored_of_it(world: World) -> None:
    says_no_pear_left(world)
    with pytest.raises(Failure) as caught:
        async with world.dtm.tcc("g1") as tcc:
            await tcc.call_branch({}, world.bank + TAKE, world.bank + "/b.B/Confirm", world.bank + BACK)
    is_what_the_branch_said(world, caught.value, "01", "try")
    failure = (await world.dtm.wait("g1")).failure
    assert failure is not None
    assert (failure.reason, failure.url) == ("no pear left", world.bank + TAKE)


async def test_of_an_xa(world: World) -> None:
    says_no_pear_left(world)
    with pytest.raises(Failure) as caught:
        async with world.dtm.xa() as xa:
            await xa.call_branch(world.bank + TAKE)
    is_what_the_branch_said(world, caught.value, "01", "action")


async def test_of_a_confirm_that_says_no_and_is_called_again(world: World) -> None:
    says_no_pear_left(world, "/b.B/Confirm")
    with pytest.raises(Ongoing) as caught:
        async with world.dtm.tcc("g1", wait_result=True) as tcc:
            await tcc.call_branch({}, world.bank + TAKE, world.bank + "/b.B/Confirm", world.bank + BACK)
    error = caught.value
    assert (error.reason, error.url, error.branch_id) == ("no pear left", world.bank + "/b.B/Confirm", "01")


@pytest.mark.parametrize("wait_result", [True, False])
async def test_of_a_message_that_is_called_again(world: World, wait_result: bool) -> None:
    says_no_pear_left(world)
    msg = world.dtm.msg("g1", wait_result=wait_result).add(world.bank + TAKE)
    if wait_result:
        with pytest.raises(Ongoing) as caught:
            await msg.submit()
        assert (caught.value.reason, caught.value.url) == ("no pear left", world.bank + TAKE)
    else:
        await msg.submit()
        with pytest.raises(Ongoing):
            await world.dtm.wait("g1", timeout=1)


async def test_of_a_workflow_then_and_whenever_it_is_asked_again(world: World) -> None:
    @workflow("buy")
    async def buy(wf: Workflow, data: Any) -> None:
        await wf.saga(world.bank + "/b.B/Pay", world.bank + "/b.B/PayBack")
        await wf.saga(world.bank + TAKE, world.bank + BACK)

    says_no_pear_left(world)
    callback = "http://me/workflow" if world.bank.startswith("http") else "me:1/workflow.Workflow/Execute"
    workflows = Workflows(world.dtm, [buy], callback=callback)
    is_what_the_branch_said(world, await raised(workflows.execute(buy, gid="g1")), "02", "action")
    again = await raised(workflows.execute(buy, gid="g1"))
    assert (again.reason, again.branch_id, again.op) == ("no pear left", "02", "action")
    stored = (await world.dtm.wait("g1")).failure
    assert stored is not None and stored.reason == "no pear left"


async def test_of_a_step_that_is_remembered_as_failed(world: World) -> None:
    seen: list[Failure] = []

    @workflow("buy")
    async def buy(wf: Workflow, data: Any) -> None:
        try:
            await wf.saga(world.bank + TAKE, world.bank + BACK)
        except Failure as failure:
            seen.append(failure)
        await wf.do(broken)

    async def broken(branch: BranchContext) -> None:
        if len(seen) == 1:
            raise LookupError("once")

    says_no_pear_left(world)
    callback = "http://me/workflow" if world.bank.startswith("http") else "me:1/workflow.Workflow/Execute"
    workflows = Workflows(world.dtm, [buy], callback=callback)
    with pytest.raises(LookupError):
        await workflows.execute(buy, gid="g1")
    await workflows.execute(buy, gid="g1")
    first, again = seen
    assert (again.reason, again.url, again.branch_id, again.op, again.raw) == (
        *(first.reason, first.url, first.branch_id, first.op, first.raw),
    )


# ---- statuses that count as FAILURE


async def test_a_branch_whose_framework_refuses_the_request_is_told_at_once(world: World) -> None:
    world.branches.answer(TAKE, Says.BROKEN)
    with pytest.raises(
        Ongoing, match=r"where action 01 \(.*Take\) answered (500|13): .*told to break"
    ) as caught:
        await world.dtm.saga(wait_result=True).add(world.bank + TAKE).submit()
    assert caught.value.status in (500, 13)


async def test_a_named_status_rolls_back(world: World) -> None:
    url = f"{world.kit.http_url}/not-there"  # 404
    saga = world.dtm.saga(wait_result=True, failure_statuses={422, 404})
    with pytest.raises(Failure) as caught:
        await saga.add(world.bank + "/b.B/Pay", world.bank + "/b.B/PayBack").add(url).submit()
    assert (caught.value.status, caught.value.branch_id) == (404, "02")
    assert caught.value.reason == "404 page not found"
    assert (await world.stored(saga.gid)).status is Status.FAILED
    assert world.branches.ops() == ["action", "compensate"]


# ---- headers


async def test_a_step_has_headers_of_its_own(world: World) -> None:
    saga = world.dtm.saga(wait_result=True, branch_headers={"x-user": "all", "x-team": "blue"})
    saga.add(world.bank + "/b.B/One", headers={"X-User": "7"}).add(world.bank + "/b.B/Two")
    await saga.submit()
    await world.dtm.msg(wait_result=True).add(world.bank + "/b.B/Three", headers={"x-user": "9"}).submit()
    async with world.dtm.tcc(branch_headers={"x-user": "all"}) as tcc:
        urls = [world.bank + f"/b.B/{name}" for name in ("Try", "Confirm", "Cancel")]
        await tcc.call_branch({}, *urls, headers={"x-user": "8"})
    await world.kit.settle()
    found = {
        call.path: (call.headers.get("x-user"), call.headers.get("x-team")) for call in world.branches.calls
    }
    assert found == {
        "/b.B/One": ("7", "blue"),
        "/b.B/Two": ("all", "blue"),
        "/b.B/Three": ("9", None),
        "/b.B/Try": ("8", None),
        "/b.B/Confirm": ("all", None),
    }


async def test_headers_of_an_execution_go_with_its_calls_after_a_crash_too(world: World) -> None:
    times = 0

    @workflow("buy")
    async def buy(wf: Workflow, data: Any) -> None:
        nonlocal times
        times += 1
        await wf.saga(world.bank + "/b.B/One", headers={"x-step": "1"})
        if times == 1:
            raise LookupError("crash")
        await wf.saga(world.bank + "/b.B/Two")

    callback = "http://me/workflow" if world.bank.startswith("http") else "me:1/workflow.Workflow/Execute"
    workflows = Workflows(world.dtm, [buy], callback=callback)
    with pytest.raises(LookupError):
        await workflows.execute(buy, gid="g1", headers={"x-user": "7"})
    await workflows.resume(BranchContext("g1", "workflow", "00", "buy"), b"")
    found = [(call.headers.get("x-user"), call.headers.get("x-step")) for call in world.branches.calls]
    assert found == [("7", "1"), ("7", None)]


# ---- looking, stopping, retrying, over every protocol


async def test_query_says_the_same_over_both(world: World) -> None:
    saga = world.dtm.saga("g1", wait_result=True, branch_headers={"x-team": "blue"})
    await saga.add(world.bank + TAKE, payload={"pears": 3}).submit()
    shown = [await Dtm.query(one, "g1") for one in (world.dtm, world.kit.dtm)]
    assert shown[0] == shown[1]
    assert shown[0] is not None
    assert [branch.payload for branch in shown[0].branches] == [b'{"pears":3}'] * 2
    assert await world.dtm.query("nobody") is None


async def test_a_list_in_pages(world: World) -> None:
    for number in range(3):
        await world.dtm.saga(f"g{number}", wait_result=True).add(world.bank + TAKE).submit()
    await world.dtm.msg("g3", delay=60).add(world.bank + TAKE).submit()
    first = await world.dtm.list(status=Status.SUCCEED, limit=2)
    assert [one.gid for one in first.transactions] == ["g2", "g1"]
    second = await world.dtm.list(status=Status.SUCCEED, limit=2, position=first.next_position)
    assert ([one.gid for one in second.transactions], second.next_position) == (["g0"], "")
    assert [one.gid for one in (await world.dtm.list(trans_type="msg")).transactions] == ["g3"]
    tomorrow = datetime.now(UTC) + timedelta(days=100)
    assert (await world.dtm.list(created_from=tomorrow)).transactions == ()
    assert len((await world.dtm.list(created_until=tomorrow)).transactions) == 4


async def test_one_is_stopped_and_one_is_tried_again_now(world: World) -> None:
    world.branches.answer(TAKE, Says.BROKEN, Says.SUCCESS)
    await world.dtm.saga("g1").add(world.bank + TAKE).submit()
    await world.kit.settle()
    await world.dtm.retry("g1")
    await world.kit.advance(1)
    assert (await world.dtm.wait("g1")).status is Status.SUCCEED
    await world.dtm.msg("g2", delay=60).add(world.bank + TAKE).submit()
    await world.dtm.stop("g2")
    assert (await world.dtm.wait("g2")).status is Status.FAILED
    with pytest.raises(Failure, match="force stop error"):
        await world.dtm.stop("g2")


# ---- several coordinators


async def test_of_several_urls_one_that_is_away_does_no_harm(world: World) -> None:
    scheme, _, here = (world.kit.http_url if world.bank.startswith("http") else world.kit.grpc_url).partition(
        "://"
    )
    away = f"{scheme}://127.0.0.1:{free_port()}"
    for urls in ([away, f"{scheme}://{here}"], f"{away}, {scheme}://{here}"):
        async with Dtm(urls) as dtm:
            for _ in range(3):
                submitted = await dtm.saga(wait_result=True).add(world.bank + TAKE).submit()
                assert submitted.status is Status.SUCCEED
                assert await dtm.query(submitted.gid) is not None


@pytest.mark.parametrize(
    "url",
    [[], ["http://a", "grpc://b"], "http://a,grpc://b", ["etcd://a:1/x", "etcd://b:1/x"], ["http://a", 7]],
)
def test_several_urls_are_all_of_one_protocol(url: Any) -> None:
    with pytest.raises(InvalidUse, match="url"):
        Dtm(url)


async def test_of_several_that_all_stop_or_are_full_the_caller_hears_it_in_its_time(kit_url: str) -> None:
    async with Dtm([kit_url, kit_url.replace("127.0.0.1", "localhost")], timeout=0.5) as dtm:
        started = asyncio.get_running_loop().time()
        assert await dtm.new_gid()
        assert asyncio.get_running_loop().time() - started < 5


@pytest.fixture
async def kit_url() -> Any:
    async with Kit() as kit:
        yield kit.http_url
