"""Every pattern over HTTP and gRPC with the real coordinator: success, rollback, ongoing (PROTOCOL §5–8)."""

import asyncio

import pytest

from coordinator.client import DtmError, Failure, InvalidUse, Ongoing, Status
from coordinator.testing import Call, Kit, Says
from tests.integration.client.conftest import World

OUT, OUT_BACK, IN, IN_BACK = "/bank.Bank/Out", "/bank.Bank/OutBack", "/bank.Bank/In", "/bank.Bank/InBack"


# ---- saga


async def test_a_saga_succeeds(world: World) -> None:
    saga = world.dtm.saga(wait_result=True)
    saga.add(world.bank + OUT, world.bank + OUT_BACK, {"amount": 30}).add(world.bank + IN)
    assert (await saga.submit()).status is Status.SUCCEED
    assert world.branches.calls[0].json() == {"amount": 30}


async def test_a_saga_rolls_back(world: World) -> None:
    world.branches.answer(IN, Says.FAILURE)
    saga = world.dtm.saga(wait_result=True)
    saga.add(world.bank + OUT, world.bank + OUT_BACK).add(world.bank + IN, world.bank + IN_BACK)
    with pytest.raises(Failure, match="told to say failure"):
        await saga.submit()
    assert (await world.stored(saga.gid)).status is Status.FAILED
    assert [call.path for call in world.branches.calls] == [OUT, IN, IN_BACK, OUT_BACK]


async def test_a_saga_that_is_ongoing_succeeds_later(world: World) -> None:
    world.branches.answer(OUT, Says.ONGOING, Says.BROKEN, Says.SUCCESS)
    saga = world.dtm.saga(wait_result=True).add(world.bank + OUT)
    with pytest.raises(Ongoing):
        await saga.submit()
    await world.kit.advance(9)
    assert (await world.stored(saga.gid)).status is Status.SUBMITTED
    await world.kit.advance(60)
    assert (await world.stored(saga.gid)).status is Status.SUCCEED


async def test_a_client_that_died_while_it_waited_for_its_saga_changes_nothing(world: World) -> None:
    world.branches.answer(IN, Says.ONGOING, Says.FAILURE)
    saga = world.dtm.saga("g1", wait_result=True).add(world.bank + OUT, world.bank + OUT_BACK)
    hanging, go_on = asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> bytes:
        hanging.set()
        await go_on.wait()
        return b""

    world.branches.answer(OUT, slow)
    waiting = asyncio.create_task(saga.add(world.bank + IN).submit())
    await hanging.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    await world.kit.advance(12)
    assert (await world.stored("g1")).status is Status.FAILED
    assert world.branches.ops() == ["action", "action", "action", "compensate"]


async def test_a_saga_that_was_never_submitted_is_nowhere(world: World) -> None:
    world.dtm.saga("g1").add(world.bank + OUT)  # and the client died
    await world.kit.advance(60)
    assert await world.kit.dtm.query("g1") is None
    assert world.branches.calls == []


# ---- tcc


async def trying(world: World, gid: str, **options: int) -> None:
    bank = world.bank
    async with world.dtm.tcc(gid, **options) as tcc:  # type: ignore[arg-type] # a TypedDict of its own
        for way in ("Out", "In"):
            urls = [f"{bank}/bank.Bank/{phase}{way}" for phase in ("Try", "Confirm", "Cancel")]
            await tcc.call_branch({"amount": 30}, *urls)


async def test_a_tcc_confirms_last_registered_first(world: World) -> None:
    await trying(world, "g1")
    assert (await world.stored("g1")).status is Status.SUCCEED
    assert [call.path.rpartition("/")[2] for call in world.branches.calls] == [
        *("TryOut", "TryIn", "ConfirmIn", "ConfirmOut")
    ]
    assert [call.json() for call in world.branches.calls] == [{"amount": 30}] * 4


async def test_a_tcc_cancels_what_was_tried_and_what_said_no(world: World) -> None:
    world.branches.answer("/bank.Bank/TryIn", Says.FAILURE)
    with pytest.raises(Failure, match="told to say failure"):
        await trying(world, "g1")
    stored = await world.stored("g1")
    assert stored.status is Status.FAILED
    assert "told to say failure" in stored.rollback_reason
    assert world.branches.ops() == ["try", "try", "cancel", "cancel"]


@pytest.mark.parametrize("says", [Says.BROKEN, Says.LOST])
async def test_a_confirm_that_nobody_knows_about_leaves_the_tcc_accepted(world: World, says: Says) -> None:
    world.branches.answer("/bank.Bank/ConfirmIn", says, says, Says.SUCCESS)
    with pytest.raises(Ongoing, match="transaction g1 is accepted, but a branch has not succeeded yet"):
        await trying(world, "g1", wait_result=True)
    await world.kit.advance(60)
    assert (await world.stored("g1")).status is Status.SUCCEED


async def test_a_message_to_a_service_that_is_away_is_accepted(world: World) -> None:
    msg = world.dtm.msg("g1", wait_result=True).add(world.bank + IN)
    world.branches.answer(IN, Says.LOST, Says.LOST, Says.SUCCESS)
    with pytest.raises(Ongoing, match="it is called again"):
        await msg.submit()
    await world.kit.advance(60)
    assert (await world.stored("g1")).status is Status.SUCCEED


async def test_a_try_that_is_ongoing_is_cancelled_and_another_attempt_confirms(world: World) -> None:
    world.branches.answer("/bank.Bank/TryIn", Says.ONGOING, Says.SUCCESS)
    with pytest.raises(Ongoing, match="TryIn is not finished"):
        await trying(world, "g1")
    await trying(world, "g2")
    assert (await world.stored("g1")).status is Status.FAILED
    assert (await world.stored("g2")).status is Status.SUCCEED


async def test_a_payload_that_cannot_be_written_is_explained_and_undone(world: World) -> None:
    with pytest.raises(InvalidUse, match="a payload of type set cannot be written as JSON"):
        async with world.dtm.tcc("g1") as tcc:
            await tcc.call_branch({1, 2}, world.bank + OUT, world.bank + OUT, world.bank + OUT)  # type: ignore[arg-type]
    with pytest.raises(InvalidUse, match="a payload of type set cannot be written as JSON"):
        async with world.dtm.xa("g2") as xa:
            await xa.call_branch(world.bank + OUT, {1, 2})  # type: ignore[arg-type]
    with pytest.raises(InvalidUse, match=r"step 0 \(.*Out\): a payload of type set"):
        world.dtm.msg().add(world.bank + OUT, {1, 2})  # type: ignore[arg-type]
    assert [(await world.stored(gid)).status for gid in ("g1", "g2")] == [Status.FAILED] * 2
    assert world.branches.calls == []


async def test_a_confirm_that_is_ongoing_then_broken_is_called_until_it_succeeds(world: World) -> None:
    world.branches.answer("/bank.Bank/ConfirmOut", Says.ONGOING, Says.FAILURE, Says.BROKEN, Says.SUCCESS)
    await trying(world, "g1")
    await world.kit.advance(120)
    assert (await world.stored("g1")).status is Status.SUCCEED
    assert world.branches.ops("/bank.Bank/ConfirmOut") == ["confirm"] * 4
    assert world.branches.ops("/bank.Bank/ConfirmIn") == ["confirm"]


async def test_a_client_that_died_in_the_middle_of_a_tcc_is_cancelled_in_time(world: World) -> None:
    block = world.dtm.tcc("g1", timeout_to_fail=35)
    tcc = await block.__aenter__()  # and never left: the process is gone
    await tcc.call_branch({}, f"{world.bank}/b/try", f"{world.bank}/b/confirm", f"{world.bank}/b/cancel")
    await world.kit.advance(34)
    assert (await world.stored("g1")).status is Status.PREPARED
    await world.kit.advance(2)
    assert (await world.stored("g1")).status is Status.FAILED
    assert world.branches.ops() == ["try", "cancel"]


async def test_a_tcc_nested_in_the_try_of_another_ends_with_it(world: World) -> None:
    async def outer(call: Call) -> bytes:
        tcc = world.dtm.nested_tcc(call.branch)
        urls = [f"{world.bank}/b/{phase}-inner" for phase in ("try", "confirm", "cancel")]
        await tcc.call_branch({"inner": True}, *urls)
        return b""

    world.branches.answer("/b/try", outer)
    async with world.dtm.tcc("g1") as tcc:
        await tcc.call_branch({}, f"{world.bank}/b/try", f"{world.bank}/b/confirm", f"{world.bank}/b/cancel")
    assert await world.rows("g1") == [
        "01 cancel prepared",
        "01 confirm succeed",
        "0101 cancel prepared",
        "0101 confirm succeed",
    ]


# ---- msg and topics


async def test_a_message_is_delivered(world: World) -> None:
    msg = world.dtm.msg(wait_result=True).add(world.bank + OUT, {"amount": 30}).add(world.bank + IN)
    assert (await msg.submit()).status is Status.SUCCEED
    assert world.branches.ops() == ["action", "action"]


async def test_a_message_that_is_refused_is_called_again_and_never_rolled_back(world: World) -> None:
    world.branches.answer(OUT, Says.FAILURE, Says.ONGOING, Says.SUCCESS)
    msg = world.dtm.msg(wait_result=True).add(world.bank + OUT)
    with pytest.raises((Ongoing, DtmError)):
        await msg.submit()
    await world.kit.advance(60)
    assert (await world.stored(msg.gid)).status is Status.SUCCEED


async def test_a_delayed_message_waits(world: World) -> None:
    msg = world.dtm.msg(delay=60).add(world.bank + OUT)
    await msg.submit()
    await world.kit.advance(58)
    assert world.branches.calls == []
    await world.kit.advance(20)
    assert world.branches.ops() == ["action"]


@pytest.mark.parametrize(("says", "status"), [(Says.SUCCESS, Status.SUCCEED), (Says.FAILURE, Status.FAILED)])
async def test_a_sender_that_died_after_its_prepare_is_asked_about(
    world: World, says: Says, status: Status
) -> None:
    world.branches.answer("/shop.Shop/Query", says)
    msg = world.dtm.msg(query_prepared=f"{world.bank}/shop.Shop/Query", timeout_to_fail=20)
    await msg.add(world.bank + OUT).prepare()
    await world.kit.advance(22)
    assert (await world.stored(msg.gid)).status is status
    asked = world.branches.calls[0].branch
    assert (asked.branch_id, asked.op) == ("00", "msg")


async def test_a_topic_reaches_every_subscriber_it_has(world: World) -> None:
    await world.dtm.subscribe("orders", world.bank + OUT, remark="mail")
    await world.dtm.subscribe("orders", world.bank + IN)
    with pytest.raises(DtmError, match="this url exists"):
        await world.dtm.subscribe("orders", world.bank + IN)
    await world.dtm.msg(wait_result=True).add_topic("orders", {"id": 7}).submit()
    assert [call.branch.branch_id for call in world.branches.calls] == ["01-01", "01-02"]
    await world.dtm.unsubscribe("orders", world.bank + OUT)
    await world.dtm.msg(wait_result=True).add_topic("orders", {"id": 8}).submit()
    assert [call.path for call in world.branches.calls[2:]] == [IN]
    await world.dtm.delete_topic("orders")
    with pytest.raises(DtmError, match="topic not found"):
        await world.dtm.msg().add_topic("orders").submit()


# ---- the kit itself


async def test_time_travel_takes_no_time(dtm_kit: Kit) -> None:
    dtm_kit.branches.answer("/in", Says.BROKEN)
    saga = dtm_kit.dtm.saga(timeout_to_fail=3600).add(f"{dtm_kit.branches.http_url}/in")
    await saga.submit()
    await dtm_kit.advance(3605)
    stored = await dtm_kit.dtm.query(saga.gid)
    assert stored is not None and stored.status is Status.FAILED
    assert stored.rollback_reason.startswith("Timeout after 3600 seconds")


async def test_an_interval_is_over_when_it_is_travelled_and_not_a_second_before(dtm_kit: Kit) -> None:
    dtm_kit.branches.answer("/in", Says.ONGOING)
    await dtm_kit.dtm.saga().add(f"{dtm_kit.branches.http_url}/in").submit()
    for calls in (1, 2, 3):
        await dtm_kit.advance(9.9)
        assert len(dtm_kit.branches.calls) == calls
        await dtm_kit.advance(0.1)


async def test_the_end_of_a_transaction_can_be_waited_for(dtm_kit: Kit) -> None:
    dtm, url = dtm_kit.dtm, dtm_kit.branches.http_url
    dtm_kit.branches.answer("/in", Says.FAILURE)
    saga = dtm.saga().add(f"{url}/in")
    await saga.submit()
    assert (await dtm.wait(saga.gid)).status is Status.FAILED
    dtm_kit.branches.answer("/in", Says.ONGOING)
    await dtm.saga("g2").add(f"{url}/in").submit()
    with pytest.raises(Ongoing, match=r"g2 is submitted after 0\.2 s"):
        await dtm.wait("g2", timeout=0.2)
    with pytest.raises(DtmError, match="no transaction nobody"):
        await dtm.wait("nobody")


async def test_a_gid_that_belongs_to_another_pattern_is_a_failure(world: World) -> None:
    """PROTOCOL §5: nothing was taken, so this must not look like a message that is on its way."""
    await world.dtm.saga("order-7").add(world.bank + OUT).submit()
    with pytest.raises(Failure, match="gid 'order-7' is of trans type 'saga', not 'msg'"):
        await world.dtm.msg("order-7").add(world.bank + IN).submit()
    assert IN not in [call.path for call in world.branches.calls]
