"""The same client against a Go dtm server, where DTM_REFERENCE_URL names one (`reference_server`)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomysql
import aiosqlite
import pytest

from coordinator.client import (
    Dtm,
    DtmError,
    Failure,
    Ongoing,
    Status,
    Workflow,
    Workflows,
    create_barrier_table,
    workflow,
)
from coordinator.testing import Call, FakeBranches, Says
from tests.support.reference_server import GRPC, HTTP, asks_reference
from tests.support.servers import Database

pytestmark = asks_reference


@dataclass
class World:
    dtm: Dtm  # of this test's protocol
    looking: Dtm  # over HTTP, where alone one can look
    branches: FakeBranches
    bank: str

    async def end(self, gid: str) -> Status:
        return (await self.looking.wait(gid)).status


@pytest.fixture(params=["http", "grpc"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    over_http = request.param == "http"
    async with (
        FakeBranches() as branches,
        Dtm(HTTP if over_http else f"grpc://{GRPC}") as dtm,
        Dtm(HTTP) as looking,
    ):
        yield World(dtm, looking, branches, branches.http_url if over_http else branches.grpc_url)


async def test_a_saga_succeeds_and_another_rolls_back(world: World) -> None:
    world.branches.answer("/bank.Bank/In", Says.SUCCESS, Says.FAILURE)
    urls = [f"{world.bank}/bank.Bank/{method}" for method in ("Out", "OutBack", "In")]
    for expected in (Status.SUCCEED, Status.FAILED):
        saga = world.dtm.saga(wait_result=True).add(urls[0], urls[1], {"amount": 30}).add(urls[2])
        if expected is Status.SUCCEED:
            assert (await saga.submit()).status is Status.SUCCEED
        else:
            with pytest.raises(Failure):
                await saga.submit()
        assert await world.end(saga.gid) is expected
    assert world.branches.ops() == ["action", "action", "action", "action", "compensate"]


async def test_a_tcc_is_confirmed_and_another_is_cancelled(world: World) -> None:
    world.branches.answer("/bank.Bank/TryIn", Says.SUCCESS, Says.FAILURE)
    for expected in (Status.SUCCEED, Status.FAILED):
        tcc = world.dtm.tcc(wait_result=True)
        try:
            async with tcc:
                for way in ("Out", "In"):
                    urls = [f"{world.bank}/bank.Bank/{phase}{way}" for phase in ("Try", "Confirm", "Cancel")]
                    await tcc.call_branch({"amount": 30}, *urls)
        except Failure:
            assert expected is Status.FAILED
        assert await world.end(tcc.gid) is expected
    assert world.branches.ops() == ["try", "try", "confirm", "confirm", "try", "try", "cancel", "cancel"]


async def test_a_confirm_that_nobody_knows_about_leaves_the_tcc_accepted(world: World) -> None:
    world.branches.answer("/bank.Bank/Confirm", Says.BROKEN, Says.SUCCESS)
    tcc = world.dtm.tcc(wait_result=True)
    with pytest.raises(Ongoing, match="is accepted, but a branch has not succeeded yet"):
        async with tcc:
            await tcc.call_branch(
                None, *(f"{world.bank}/bank.Bank/{it}" for it in ("Try", "Confirm", "Cancel"))
            )
    assert await world.end(tcc.gid) is Status.SUCCEED


async def test_a_message_and_its_topic(world: World) -> None:
    topic = f"orders-{await world.dtm.new_gid()}"
    await world.dtm.subscribe(topic, f"{world.bank}/bank.Bank/Mail", remark="mail")
    with pytest.raises(DtmError, match="this url exists"):
        await world.dtm.subscribe(topic, f"{world.bank}/bank.Bank/Mail")
    msg = world.dtm.msg(wait_result=True).add(f"{world.bank}/bank.Bank/In", {"amount": 30})
    assert (await msg.submit()).status is Status.SUCCEED
    assert await world.end(msg.gid) is Status.SUCCEED
    await world.dtm.delete_topic(topic)


async def test_a_local_transaction_and_its_message(world: World, tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    await create_barrier_table(f"sqlite:///{file}")

    async def save(connection: aiosqlite.Connection) -> None:
        await connection.execute("CREATE TABLE orders (id int)")

    async def refuse(connection: aiosqlite.Connection) -> None:
        raise LookupError

    async with aiosqlite.connect(file) as connection:
        msg = world.dtm.msg(query_prepared=f"{world.bank}/shop.Shop/Query", wait_result=True)
        await msg.add(f"{world.bank}/bank.Bank/In").do_and_submit(connection, save)
        assert await world.end(msg.gid) is Status.SUCCEED
        msg = world.dtm.msg(query_prepared=f"{world.bank}/shop.Shop/Query", wait_result=True)
        with pytest.raises(LookupError):
            await msg.add(f"{world.bank}/bank.Bank/In").do_and_submit(connection, refuse)
        assert await world.end(msg.gid) is Status.FAILED
    assert world.branches.ops() == ["action"]


async def test_xa_commits_and_rolls_back(world: World, mariadb_database: Database) -> None:
    one = mariadb_database
    await create_barrier_table(f"mysql://{one.user}@{one.host}:{one.port}/")
    one.execute("CREATE TABLE account (balance int); INSERT INTO account VALUES (0)")

    async def connect() -> aiomysql.Connection:
        return await aiomysql.connect(host=one.host, port=one.port, user=one.user, db=one.name)

    async def serve(call: Call) -> Any:
        async with world.dtm.xa_branch(call.branch, connect) as transaction:
            if transaction.runs:
                await transaction.connection.query("UPDATE account SET balance = balance + 30")
        return b"{}"

    world.branches.answer("/bank.Bank/In", serve)
    xa = world.dtm.xa(wait_result=True)
    async with xa:
        await xa.call_branch(f"{world.bank}/bank.Bank/In", {"amount": 30})
    assert await world.end(xa.gid) is Status.SUCCEED
    xa = world.dtm.xa(wait_result=True)
    with pytest.raises(LookupError):
        async with xa:
            await xa.call_branch(f"{world.bank}/bank.Bank/In", {"amount": 30})
            raise LookupError
    assert await world.end(xa.gid) is Status.FAILED
    assert one.execute("SELECT balance FROM account") == [(30,)]
    assert one.execute("XA RECOVER") == []


async def test_a_workflow_succeeds_goes_on_and_rolls_back(world: World) -> None:
    @workflow("transfer")
    async def transfer(wf: Workflow, data: Any) -> Any:
        await wf.saga(f"{world.bank}/bank.Bank/Out", f"{world.bank}/bank.Bank/OutBack", data)
        await wf.tcc(data, *(f"{world.bank}/bank.Bank/{phase}In" for phase in ("Try", "Confirm", "Cancel")))
        return {"done": data}

    workflows = Workflows(world.dtm, [transfer], callback=f"{world.bank}/workflow.Workflow/Execute")
    assert await workflows.execute(transfer, {"amount": 30}) == {"done": {"amount": 30}}
    assert world.branches.ops() == ["action", "action", "commit"]

    world.branches.answer("/bank.Bank/TryIn", Says.ONGOING, Says.FAILURE)
    gid = await world.dtm.new_gid()
    with pytest.raises(Ongoing):
        await workflows.execute(transfer, {"amount": 30}, gid=gid)
    for _ in range(2):
        with pytest.raises(Failure, match="told to say failure"):
            await workflows.execute(transfer, {"amount": 30}, gid=gid)
    assert await world.end(gid) is Status.FAILED
    assert world.branches.ops()[3:] == ["action", "action", "action", "rollback"]
