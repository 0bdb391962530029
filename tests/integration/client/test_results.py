"""What one step of a saga answers, in the payload of another: over HTTP and gRPC, kept until it is purged."""

import json

import pytest

from coordinator.client import Failure, InvalidUse, Status, from_result
from coordinator.client.sync import Dtm
from coordinator.results import RESULT_BYTES_MAX
from coordinator.testing import FakeBranches, Says
from tests.integration.client.conftest import World

BOOK, CANCEL, PAY, PAY_BACK = "/hotel.Hotel/Book", "/hotel.Hotel/Cancel", "/bank.Bank/Pay", "/bank.Bank/Back"
ROOM = {"id": "b-7", "price": {"cents": 12345678901234567}, "nights": ["mon", "tue"]}


async def test_a_later_step_gets_what_an_earlier_one_answered(world: World) -> None:
    world.branches.answer(BOOK, ROOM)
    saga = world.dtm.saga(wait_result=True)
    saga.add(world.bank + BOOK, world.bank + CANCEL, {"nights": 2}, keep_result=True)
    payload = {"booking": from_result(0, "$.id"), "lines": [1, from_result(0, "$.nights[1]")]}
    saga.add(world.bank + PAY, world.bank + PAY_BACK, payload)
    done = await saga.submit()
    assert done.status is Status.SUCCEED
    assert (done.results.keys(), done.result(0)) == ({0}, ROOM)
    assert [call.json() for call in world.branches.calls] == [
        {"nights": 2},
        {"booking": "b-7", "lines": [1, "tue"]},
    ]


async def test_a_whole_answer_can_be_a_whole_payload(world: World) -> None:
    raw = b"\x0a\x03abc, no JSON" if world.bank.startswith("http") else b"\x0a\x03\xff\xfe\x01"
    world.branches.answer(BOOK, raw)
    saga = world.dtm.saga(wait_result=True)
    saga.add(world.bank + BOOK, payload={}, keep_result=True).add(world.bank + PAY, payload=from_result(0))
    done = await saga.submit()
    assert done.results == {0: raw}
    assert world.branches.calls[1].payload == raw
    with pytest.raises(InvalidUse, match="the result of step 0 is no JSON"):
        done.result(0)


async def test_what_was_done_is_undone_with_what_it_answered(world: World) -> None:
    world.branches.answer(BOOK, ROOM)
    world.branches.answer(PAY, Says.FAILURE)
    saga = world.dtm.saga(wait_result=True)
    undo = {"id": from_result(0, "$.id"), "why": "rolled back"}
    saga.add(world.bank + BOOK, world.bank + CANCEL, {"nights": 2}, keep_result=True, compensate_payload=undo)
    saga.add(world.bank + PAY, world.bank + PAY_BACK, {"cents": from_result(0, "$.price.cents")})
    with pytest.raises(Failure):
        await saga.submit()
    cents = {"cents": 12345678901234567}
    assert [(call.path, call.json()) for call in world.branches.calls] == [
        (BOOK, {"nights": 2}),
        (PAY, cents),
        (PAY_BACK, cents),
        (CANCEL, {"id": "b-7", "why": "rolled back"}),
    ]


async def test_what_cannot_be_kept_rolls_back_its_step_as_well(world: World) -> None:
    world.branches.answer(BOOK, b'"' + b"x" * RESULT_BYTES_MAX + b'"')
    saga = world.dtm.saga(wait_result=True)
    saga.add(world.bank + BOOK, world.bank + CANCEL, {}, keep_result=True).add(world.bank + PAY)
    with pytest.raises(Failure, match="bytes; at most 16384 are kept") as failure:
        await saga.submit()
    assert (failure.value.branch_id, failure.value.url) == ("01", world.bank + BOOK)
    assert [call.path for call in world.branches.calls] == [BOOK, CANCEL]


async def test_submitted_again_it_tells_the_same(world: World) -> None:
    world.branches.answer(BOOK, ROOM)
    gid = "again"
    for _ in range(2):
        saga = world.dtm.saga(gid, wait_result=True).add(world.bank + BOOK, payload={}, keep_result=True)
        assert (await saga.submit()).result(0) == ROOM
    assert len(world.branches.calls) == 1


async def test_who_does_not_wait_has_none(world: World) -> None:
    done = await world.dtm.saga().add(world.bank + BOOK, payload={}, keep_result=True).submit()
    assert done.results == {}
    with pytest.raises(InvalidUse, match="no result of step 0: give the step keep_result=True"):
        done.result(0)


async def test_with_concurrent_a_step_waits_for_those_that_it_uses(world: World) -> None:
    world.branches.answer(BOOK, Says.ONGOING, ROOM)
    saga = world.dtm.saga(concurrent=True, retry_limit=3, wait_result=True)
    saga.add(world.bank + BOOK, payload={}, keep_result=True)
    saga.add(world.bank + PAY, payload=[from_result(0, "$.id")])
    await saga.submit()
    assert [call.json() for call in world.branches.calls] == [{}, {}, ["b-7"]]


async def test_a_stored_saga_says_what_only_this_server_calls(world: World) -> None:
    saga = world.dtm.saga(wait_result=True).add(world.bank + BOOK, payload={}, keep_result=True)
    saga.add(world.bank + PAY, world.bank + PAY_BACK, [from_result(0)])
    world.branches.answer(BOOK, b"1")
    await saga.submit()
    urls = [one.url for one in (await world.stored(saga.gid)).branches]
    assert urls == [
        "",
        f"result+{world.bank}{BOOK}",
        f"from-result+{world.bank}{PAY_BACK}",
        f"from-result+{world.bank}{PAY}",
    ]


async def test_no_other_pattern_takes_them(world: World) -> None:
    with pytest.raises(InvalidUse, match="nowhere else"):
        world.dtm.msg().add(world.bank + BOOK, {"a": from_result(0)})


async def test_operators_are_shown_them(world: World) -> None:
    world.branches.answer(BOOK, ROOM)
    await (
        world.dtm.saga("shown", wait_result=True)
        .add(world.bank + BOOK, payload={}, keep_result=True)
        .submit()
    )
    kept = await world.dtm.coordinator._transport.kept_results("shown", 5.0)
    assert {name: json.loads(content) for name, content in kept.items()} == {"01": ROOM}


def test_in_blocking_code(dtm: Dtm, branches: FakeBranches) -> None:
    branches.answer("/book", ROOM)
    url = branches.http_url
    saga = dtm.saga(wait_result=True).add(f"{url}/book", payload={}, keep_result=True)
    done = saga.add(f"{url}/pay", payload={"booking": from_result(0, "$.id")}).submit()
    assert done.result(0) == ROOM
    assert branches.calls[1].json() == {"booking": "b-7"}
