"""What a program hands over as payload reaches the branch: every kind, both protocols, both clients."""

import json
from typing import Any

from coordinator.client import Dtm, Workflow, Workflows, sync, workflow
from coordinator.testing import FakeBranches, Kit
from tests.integration.client.conftest import World
from tests.support.payloads import MESSAGES, PRICE, VALUES, Line, field

TAKE = "/pears.Pears/Take"
ORDER = {"lines": [Line(PRICE)], "field": field()}
ORDER_ARRIVES = {"lines": [{"price": "1.10"}], "field": {"name": "price", "number": 3, "jsonName": "cost"}}


def arrived(branches: FakeBranches) -> list[Any]:
    return [call.json() for call in branches.calls]


def messages_arrived(branches: FakeBranches, *, over_http: bool) -> bool:
    """Whether these calls brought the messages: their JSON over HTTP, themselves over gRPC."""
    came = [call.payload for call in branches.calls]
    if over_http:
        return [json.loads(one) for one in came] == [arrives for _, arrives in MESSAGES]
    return came == [message.SerializeToString() for message, _ in MESSAGES]


async def test_in_any_place_of_a_payload(world: World) -> None:
    saga = world.dtm.saga(wait_result=True)
    for value, _ in [*VALUES, *MESSAGES]:
        saga.add(world.bank + TAKE, payload={"a": [value]})
    await saga.submit()
    assert arrived(world.branches) == [{"a": [arrives]} for _, arrives in [*VALUES, *MESSAGES]]


async def test_as_the_whole_payload(world: World) -> None:
    saga = world.dtm.saga(wait_result=True)
    for value, _ in VALUES:
        saga.add(world.bank + TAKE, payload=value)
    await saga.submit()
    assert arrived(world.branches) == [arrives for _, arrives in VALUES]


async def test_a_protobuf_message_travels_as_itself_over_grpc(world: World) -> None:
    saga = world.dtm.saga(wait_result=True)
    for message, _ in MESSAGES:
        saga.add(world.bank + TAKE, payload=message)
    await saga.submit()
    assert messages_arrived(world.branches, over_http=world.bank.startswith("http"))


async def of_every_pattern(dtm: Dtm, bank: str, payload: Any) -> None:
    @workflow("buy")
    async def buy(wf: Workflow, data: Any) -> None:
        await wf.saga(bank + "/w.W/Take", bank + "/w.W/Back", payload)
        await wf.tcc(payload, bank + "/w.W/Try", bank + "/w.W/Confirm", bank + "/w.W/Cancel")

    await dtm.saga(wait_result=True).add(bank + "/s.S/Take", payload=payload).submit()
    await dtm.msg(wait_result=True).add(bank + "/m.M/Take", payload).submit()
    async with dtm.tcc(wait_result=True) as tcc:
        await tcc.call_branch(payload, bank + "/t.T/Try", bank + "/t.T/Confirm", bank + "/t.T/Cancel")
    async with dtm.xa(wait_result=True) as xa:
        await xa.call_branch(bank + "/x.X/Take", payload)
    callback = "http://me/workflow" if bank.startswith("http") else "me:1/workflow.Workflow/Execute"
    await Workflows(dtm, [buy], callback=callback).execute(buy)


async def test_of_every_pattern(world: World) -> None:
    await of_every_pattern(world.dtm, world.bank, ORDER)
    came = {call.path: call.json() for call in world.branches.calls if call.payload}
    paths = ["/s.S/Take", "/m.M/Take", "/t.T/Try", "/t.T/Confirm", "/x.X/Take", "/w.W/Take"]
    paths += ["/w.W/Try", "/w.W/Confirm"]
    assert came == dict.fromkeys(paths, ORDER_ARRIVES)


async def test_of_every_pattern_with_another_encoder(world: World) -> None:
    def as_it_shows(value: Any) -> bytes:
        return f"<{value}>".encode()

    async with Dtm(world.dtm.url, encoder=as_it_shows) as dtm:
        await of_every_pattern(dtm, world.bank, PRICE)
    calls = [call for call in world.branches.calls if call.payload]
    assert [call.payload for call in calls] == [b"<1.10>"] * 8


# ---- the blocking twin


def bank_of(dtm: sync.Dtm, branches: FakeBranches) -> str:
    return branches.http_url if dtm.inner.url.startswith("http") else branches.grpc_url


def test_of_blocking_code(dtm: sync.Dtm, branches: FakeBranches) -> None:
    bank = bank_of(dtm, branches)
    saga = dtm.saga(wait_result=True)
    for value, _ in [*VALUES, *MESSAGES]:
        saga.add(bank + TAKE, payload={"a": [value]})
    saga.submit()
    assert arrived(branches) == [{"a": [arrives]} for _, arrives in [*VALUES, *MESSAGES]]
    branches.calls.clear()
    saga = dtm.saga(wait_result=True)
    for message, _ in MESSAGES:
        saga.add(bank + TAKE, payload=message)
    saga.submit()
    assert messages_arrived(branches, over_http=bank.startswith("http"))


def blocking_of_every_pattern(dtm: sync.Dtm, bank: str, payload: Any) -> None:
    @sync.workflow("buy")
    def buy(wf: sync.Workflow, data: Any) -> None:
        wf.saga(bank + "/w.W/Take", bank + "/w.W/Back", payload)
        wf.tcc(payload, bank + "/w.W/Try", bank + "/w.W/Confirm", bank + "/w.W/Cancel")

    dtm.saga(wait_result=True).add(bank + "/s.S/Take", payload=payload).submit()
    dtm.msg(wait_result=True).add(bank + "/m.M/Take", payload).submit()
    with dtm.tcc(wait_result=True) as tcc:
        tcc.call_branch(payload, bank + "/t.T/Try", bank + "/t.T/Confirm", bank + "/t.T/Cancel")
    with dtm.xa(wait_result=True) as xa:
        xa.call_branch(bank + "/x.X/Take", payload)
    callback = "http://me/workflow" if bank.startswith("http") else "me:1/workflow.Workflow/Execute"
    sync.Workflows(dtm, [buy], callback=callback).execute(buy)


def test_of_every_pattern_of_blocking_code(dtm: sync.Dtm, branches: FakeBranches) -> None:
    blocking_of_every_pattern(dtm, bank_of(dtm, branches), ORDER)
    assert [call.json() for call in branches.calls if call.payload] == [ORDER_ARRIVES] * 8


def test_of_blocking_code_with_another_encoder(dtm: sync.Dtm, kit: Kit, branches: FakeBranches) -> None:
    with sync.Dtm(dtm.inner.url, encoder=lambda value: f"<{value}>".encode()) as other:
        blocking_of_every_pattern(other, bank_of(dtm, branches), PRICE)
    assert [call.payload for call in branches.calls if call.payload] == [b"<1.10>"] * 8
