"""Messages of blocking code whose business is in Redis, over HTTP and gRPC (PROTOCOL §8, §12)."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis.asyncio
from redis import Redis
from redis.exceptions import ResponseError

from coordinator.client import (
    BranchContext,
    Duplicated,
    Failure,
    InvalidUse,
    Outcome,
    RedisCommands,
    Status,
)
from coordinator.client.sync import Dtm, Msg, RedisBarrier, redis_query_prepared
from coordinator.testing import Call, Kit
from tests.integration.client.conftest import OwnLoop
from tests.support.servers import RedisServer

MAIL, QUERY = "/mail.Mail/Send", "/shop.Shop/Query"
STOCK = "stock"


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
        client.set(STOCK, 5)
        yield client


@pytest.fixture
def msg(dtm: Dtm, kit: Kit, client: Redis) -> Msg:
    async def answers(call: Call) -> bytes:
        redis_query_prepared(call.branch, client)  # a moment on the kit's loop: the server is here
        return b""

    kit.branches.answer(QUERY, answers)
    over_http = dtm.inner.url.startswith("http")
    bank = kit.branches.http_url if over_http else kit.branches.grpc_url
    return dtm.msg("g1", query_prepared=bank + QUERY, timeout_to_fail=20).add(bank + MAIL, {"order": 7})


def take_one(commands: RedisCommands) -> tuple[RedisCommands, str]:
    commands.adjust(STOCK, -1)
    return commands, threading.current_thread().name


def status(kit: Kit, loop: OwnLoop) -> Status:
    loop.run(kit.settle())
    found = loop.run(kit.dtm.query("g1"))
    assert found is not None
    return found.status


def stock(client: Redis) -> int:
    return int(client.get(STOCK) or 0)


def test_both_happen_and_the_same_gid_again_does_nothing(
    msg: Msg, client: Redis, kit: Kit, loop: OwnLoop
) -> None:
    commands, thread = msg.do_and_submit(client, take_one)
    assert (commands.outcome, commands.answers) == (Outcome.RUN, [4])
    assert thread == threading.current_thread().name
    assert status(kit, loop) is Status.SUCCEED
    with pytest.raises((Duplicated, Failure)):
        msg.do_and_submit(client, take_one)
    assert (stock(client), kit.branches.ops(MAIL)) == (4, ["action"])


def test_an_earlier_process_has_done_the_business(msg: Msg, client: Redis, kit: Kit, loop: OwnLoop) -> None:
    with RedisBarrier(BranchContext("g1", "msg", "00", "msg"), client) as commands:
        take_one(commands)
    with pytest.raises(Duplicated):
        msg.do_and_submit(client, take_one)
    assert status(kit, loop) is Status.SUCCEED
    assert stock(client) == 4


def test_a_refusal_in_redis_or_in_the_business_means_neither(
    msg: Msg, client: Redis, kit: Kit, loop: OwnLoop
) -> None:
    client.set(STOCK, 0)
    with pytest.raises(Failure, match="stock would be -1"):
        msg.do_and_submit(client, take_one)
    assert status(kit, loop) is Status.FAILED
    assert (stock(client), client.keys("g1*"), kit.branches.ops(MAIL)) == (0, [], [])


def test_an_exception_of_the_business_means_neither(msg: Msg, client: Redis, kit: Kit, loop: OwnLoop) -> None:
    def refuse(commands: RedisCommands) -> None:
        take_one(commands)
        raise LookupError("no such customer")

    with pytest.raises(LookupError):
        msg.do_and_submit(client, refuse)
    assert (status(kit, loop), stock(client)) == (Status.FAILED, 5)


def test_a_command_that_redis_refuses_gives_the_message_up(
    msg: Msg, client: Redis, kit: Kit, loop: OwnLoop
) -> None:
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        msg.do_and_submit(client, lambda commands: commands.execute("RPUSH", STOCK, 7))
    assert (status(kit, loop), stock(client)) == (Status.FAILED, 5)


class Died(BaseException):
    """The sender's process is gone."""


class Dying(Redis):
    runs_first = True

    def eval(self, *arguments: Any, **named: Any) -> Any:
        if self.runs_first:
            super().eval(*arguments, **named)
        raise Died


@pytest.mark.parametrize("ran", [True, False], ids=["after-the-script", "before-it"])
def test_a_sender_that_died_around_its_script_has_both_or_neither(
    msg: Msg, client: Redis, kit: Kit, loop: OwnLoop, redis_server: RedisServer, ran: bool
) -> None:
    with Dying.from_url(redis_server.url) as dying:
        dying.runs_first = ran
        with pytest.raises(Died):
            msg.do_and_submit(dying, take_one)
    assert status(kit, loop) is Status.PREPARED
    loop.run(kit.advance(22))
    assert status(kit, loop) is (Status.SUCCEED if ran else Status.FAILED)
    assert (stock(client), len(kit.branches.ops(MAIL))) == ((4, 1) if ran else (5, 0))


def test_wrong_use_is_refused_before_anything_is_sent(
    msg: Msg, client: Redis, kit: Kit, loop: OwnLoop
) -> None:
    asynchronous: Any = redis.asyncio.Redis()
    with pytest.raises(InvalidUse, match=r"hand in a blocking redis\.Redis"):
        msg.do_and_submit(asynchronous, take_one)
    with pytest.raises(InvalidUse, match="table='orders': Redis has none"):
        msg.do_and_submit(client, take_one, table="orders")
    assert loop.run(kit.dtm.query("g1")) is None
