"""Messages, over both protocols (PROTOCOL §8, §12)."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from coordinator.client import (
    BranchContext,
    Dtm,
    DtmError,
    Duplicated,
    Failure,
    InvalidUse,
    Ongoing,
    Status,
    Unreachable,
    query_prepared,
)
from tests.unit.client.fake_coordinator import Answer, Fake, custom_data

ROOT = Path(__file__).resolve().parents[3]
QUERY = "http://shop/query-prepared"


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[aiosqlite.Connection]:
    async with aiosqlite.connect(tmp_path / "shop.db") as opened:
        await opened.executescript((ROOT / "sql" / "barrier.sqlite.sql").read_text(encoding="utf-8"))
        await opened.executescript("CREATE TABLE orders (id int)")
        yield opened


async def save_order(connection: aiosqlite.Connection) -> str:
    await connection.execute("INSERT INTO orders VALUES (7)")
    return "saved"


async def orders(connection: aiosqlite.Connection) -> int:
    async with connection.execute("SELECT count(*) FROM orders") as cursor:
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def test_a_message_is_its_calls(fake: Fake) -> None:
    async with Dtm(fake.url) as dtm:
        msg = dtm.msg("g1").add("http://mail/send", {"to": "ann"}).add_topic("orders", {"id": 7})
        submitted = await msg.submit()
    assert submitted.status is Status.SUBMITTED
    body = fake.asked[0].body
    assert body["trans_type"] == "msg"
    assert [step["action"] for step in body["steps"]] == ["http://mail/send", "topic://orders"]
    assert body["payloads"] == ['{"to":"ann"}', '{"id":7}']


async def test_delay_and_concurrent_travel_in_custom_data(fake: Fake) -> None:
    async with Dtm(fake.url) as dtm:
        await dtm.msg(delay=60, concurrent=True).add("http://b/1").submit()
    assert custom_data(fake.asked[0].body) == {"delay": 60, "concurrent": True}


async def test_the_local_transaction_and_the_message_happen_both(
    fake: Fake, connection: aiosqlite.Connection
) -> None:
    async with Dtm(fake.url) as dtm:
        msg = dtm.msg("g1", query_prepared=QUERY).add("http://mail/send")
        assert await msg.do_and_submit(connection, save_order) == "saved"
    assert fake.names() == ["prepare", "submit"]
    assert fake.asked[0].body["query_prepared"] == QUERY
    assert await orders(connection) == 1
    async with connection.execute("SELECT branch_id, op, barrier_id, reason FROM barrier") as cursor:
        assert await cursor.fetchall() == [("00", "msg", "01", "msg")]


async def test_an_exception_of_the_business_means_neither(
    fake: Fake, connection: aiosqlite.Connection
) -> None:
    async def refuse(connection: Any) -> None:
        await save_order(connection)
        raise LookupError("no such customer")

    async with Dtm(fake.url) as dtm:
        with pytest.raises(LookupError, match="no such customer"):
            await dtm.msg(query_prepared=QUERY).add("http://b/1").do_and_submit(connection, refuse)
    assert fake.names() == ["prepare", "abort"]
    assert await orders(connection) == 0


async def test_a_commit_without_an_answer_is_left_to_query_prepared(fake: Fake) -> None:
    class LosesCommits:
        async def begin(self) -> None: ...
        async def insert_ignore(self, row: object) -> bool:
            return True

        async def commit(self) -> None:
            raise ConnectionResetError("gone")

        async def rollback(self) -> None: ...

    async def nothing(connection: Any) -> None: ...

    async with Dtm(fake.url) as dtm:
        with pytest.raises(ConnectionResetError) as caught:
            await dtm.msg("g1", query_prepared=QUERY).do_and_submit(LosesCommits(), nothing)
    assert fake.names() == ["prepare"], "neither submitted nor aborted: nobody knows"
    assert "will ask query_prepared" in caught.value.__notes__[0]


async def test_the_same_message_again_hands_it_in_and_does_not_do_the_business_again(
    fake: Fake, connection: aiosqlite.Connection
) -> None:
    async with Dtm(fake.url, timeout=0.3) as dtm:
        msg = dtm.msg("g1", query_prepared=QUERY)
        fake.script = [Answer.BUSY] * 50
        with pytest.raises(Unreachable, match="not known whether it is submitted"):
            await msg.do_and_submit(connection, save_order)
        fake.script = []
        with pytest.raises(Duplicated, match="done by an earlier call"):
            await msg.do_and_submit(connection, save_order)
    assert await orders(connection) == 1
    assert fake.names()[-1] == "submit"


async def test_query_prepared_says_yes_after_the_commit(fake: Fake, connection: aiosqlite.Connection) -> None:
    async with Dtm(fake.url) as dtm:
        await dtm.msg("g1", query_prepared=QUERY).do_and_submit(connection, save_order)
    for _ in range(2):
        await query_prepared(BranchContext("g1", "msg", "00", "msg"), connection)


async def test_query_prepared_says_no_before_it_and_the_sender_is_shut_out(
    fake: Fake, connection: aiosqlite.Connection
) -> None:
    for _ in range(2):
        with pytest.raises(Failure, match="never committed"):
            await query_prepared(BranchContext("g1", "msg", "00", "msg"), connection)
    async with Dtm(fake.url) as dtm:
        with pytest.raises(Failure, match="given up before its local transaction"):
            await dtm.msg("g1", query_prepared=QUERY).do_and_submit(connection, save_order)
    assert await orders(connection) == 0
    assert fake.names() == ["prepare", "abort"]


async def test_a_prepared_message_needs_query_prepared(fake: Fake, connection: aiosqlite.Connection) -> None:
    async with Dtm(fake.url) as dtm:
        with pytest.raises(InvalidUse, match="needs query_prepared"):
            await dtm.msg().add("http://b/1").do_and_submit(connection, save_order)
    assert fake.asked == []


async def test_a_message_that_is_not_delivered_in_time_is_ongoing(fake: Fake) -> None:
    fake.script = [Answer.STILL_RUNNING, Answer.BRANCH_FAILURE]
    async with Dtm(fake.url) as dtm:
        for _ in range(2):
            with pytest.raises(Ongoing):
                await dtm.msg(wait_result=True).add("http://b/1").submit()


async def test_a_negative_delay_is_refused(fake: Fake) -> None:
    async with Dtm(fake.url) as dtm:
        with pytest.raises(InvalidUse, match="delay=-1"):
            dtm.msg(delay=-1)


async def test_topics(fake: Fake) -> None:
    async with Dtm(fake.url) as dtm:
        await dtm.subscribe("orders", "http://mail/on-order", remark="mail")
        await dtm.unsubscribe("orders", "http://mail/on-order")
        await dtm.delete_topic("orders")
        fake.scripts["subscribe"] = [Answer.REFUSED]
        with pytest.raises(DtmError, match="no gid specified"):
            await dtm.subscribe("orders", "")
    assert fake.names() == ["subscribe", "unsubscribe", "topic", "subscribe"]
    assert fake.asked[0].body == {"topic": "orders", "url": "http://mail/on-order", "remark": "mail"}
    assert json.loads(json.dumps(fake.asked[2].body)) == {"topic": "orders"}
