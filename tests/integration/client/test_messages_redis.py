"""Messages whose business is in Redis: both happen, or neither; over HTTP and gRPC (PROTOCOL §8, §12)."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis as blocking
from redis.asyncio import Redis
from redis.exceptions import DataError, ReadOnlyError, ResponseError

from coordinator.client import (
    BarrierError,
    BranchContext,
    Duplicated,
    Failure,
    InvalidUse,
    Msg,
    Outcome,
    RedisBarrier,
    RedisCommands,
    Status,
    redis_query_prepared,
)
from coordinator.testing import Call
from tests.integration.client.conftest import World
from tests.support.servers import RedisServer

MAIL, QUERY = "/mail.Mail/Send", "/shop.Shop/Query"
STOCK = "stock"


def sender() -> BranchContext:
    """A request of its own: barriers are counted within one."""
    return BranchContext("g1", "msg", "00", "msg")


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_server.url)
    await client.flushall()
    await client.set(STOCK, 5)
    yield client
    await client.aclose()


def message(world: World, redis: Redis) -> Msg:
    async def answers(call: Call) -> bytes:
        await redis_query_prepared(call.branch, redis)
        return b""

    world.branches.answer(QUERY, answers)
    msg = world.dtm.msg("g1", query_prepared=world.bank + QUERY, timeout_to_fail=20)
    return msg.add(world.bank + MAIL, {"order": 7})


async def take_one(commands: RedisCommands) -> RedisCommands:
    commands.adjust(STOCK, -1)
    commands.execute("RPUSH", "orders", 7)
    return commands


async def done(redis: Redis) -> tuple[int, int]:
    """What is left, and what was ordered."""
    return int(await redis.get(STOCK) or 0), await redis.llen("orders")


async def test_both_happen(world: World, redis: Redis) -> None:
    commands = await message(world, redis).do_and_submit(redis, take_one)
    assert (commands.outcome, commands.answers) == (Outcome.RUN, [4, 1])
    assert (await world.stored("g1")).status is Status.SUCCEED
    assert (await done(redis), world.branches.ops(MAIL)) == ((4, 1), ["action"])
    assert await redis.get("g1-00-msg-01") == b"msg"


async def test_a_refusal_in_redis_is_a_failure_and_neither_happens(world: World, redis: Redis) -> None:
    await redis.set(STOCK, 0)
    with pytest.raises(Failure, match="stock would be -1"):
        await message(world, redis).do_and_submit(redis, take_one)
    assert (await world.stored("g1")).status is Status.FAILED, "aborted at once"
    assert (await done(redis), world.branches.ops(MAIL)) == ((0, 0), [])
    assert await redis.keys("g1*") == []


@pytest.mark.parametrize("error", [LookupError("no such customer"), Failure("not for sale")])
async def test_an_exception_of_the_business_means_neither(
    world: World, redis: Redis, error: Exception
) -> None:
    async def refuse(commands: RedisCommands) -> None:
        await take_one(commands)
        raise error

    with pytest.raises(type(error), match=str(error)):
        await message(world, redis).do_and_submit(redis, refuse)
    assert (await world.stored("g1")).status is Status.FAILED
    assert await done(redis) == (5, 0)


async def test_the_same_gid_again_does_not_do_the_business_again(world: World, redis: Redis) -> None:
    async with RedisBarrier(sender(), redis) as commands:  # an earlier process, which died after it
        await take_one(commands)
    with pytest.raises(Duplicated, match="done by an earlier call"):
        await message(world, redis).do_and_submit(redis, take_one)
    assert (await world.stored("g1")).status is Status.SUCCEED, "the message is handed in then too"
    assert (await done(redis), world.branches.ops(MAIL)) == ((4, 1), ["action"])


async def test_a_message_that_was_given_up_does_nothing_any_more(world: World, redis: Redis) -> None:
    with pytest.raises(Failure):
        await redis_query_prepared(sender(), redis)
    with pytest.raises(Failure, match="given up before its local transaction"):
        await message(world, redis).do_and_submit(redis, take_one)
    assert (await world.stored("g1")).status is Status.FAILED
    assert (await done(redis), world.branches.ops(MAIL)) == ((5, 0), [])


class Died(BaseException):
    """The sender's process is gone: it says nothing more to anybody."""


class Dying(Redis):
    """Ends the process just before or just after the script."""

    runs_first = True

    async def eval(self, *arguments: Any, **named: Any) -> Any:
        if self.runs_first:
            await super().eval(*arguments, **named)
        raise Died


@pytest.mark.parametrize("ran", [True, False], ids=["after-the-script", "before-it"])
async def test_a_sender_that_died_around_its_script_has_both_or_neither(
    world: World, redis: Redis, redis_server: RedisServer, ran: bool
) -> None:
    dying = Dying.from_url(redis_server.url)
    dying.runs_first = ran
    with pytest.raises(Died):
        await message(world, redis).do_and_submit(dying, take_one)
    await dying.aclose()
    assert (await world.stored("g1")).status is Status.PREPARED
    await world.kit.advance(22)
    assert (await world.stored("g1")).status is (Status.SUCCEED if ran else Status.FAILED)
    late = await RedisBarrier(sender(), redis).adjust(STOCK, -1)
    assert late is None, "it comes too late and does nothing"
    assert (await done(redis), len(world.branches.ops(MAIL))) == (((4, 1), 1) if ran else ((5, 0), 0))


async def test_a_command_that_redis_refuses_before_any_other_was_done_gives_the_message_up(
    world: World, redis: Redis
) -> None:
    async def wrong(commands: RedisCommands) -> None:
        commands.execute("RPUSH", STOCK, 7)

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await message(world, redis).do_and_submit(redis, wrong)
    assert (await world.stored("g1")).status is Status.FAILED
    assert await done(redis) == (5, 0)


async def test_what_the_client_itself_cannot_send_gives_the_message_up(world: World, redis: Redis) -> None:
    async def wrong(commands: RedisCommands) -> None:
        commands.execute("SET", STOCK, object())  # type: ignore[arg-type]

    with pytest.raises(DataError):
        await message(world, redis).do_and_submit(redis, wrong)
    assert (await world.stored("g1")).status is Status.FAILED


class AnsweredBySecondServer(Redis):
    """The answer is lost; the client repeats by itself, and finds a server that is read-only by now."""

    async def eval(self, *arguments: Any, **named: Any) -> Any:
        await super().eval(*arguments, **named)
        raise ReadOnlyError("READONLY You can't write against a read only replica.")


async def test_an_error_that_answers_a_repeated_attempt_does_not_abort_what_was_done(
    world: World, redis: Redis, redis_server: RedisServer
) -> None:
    client = AnsweredBySecondServer.from_url(redis_server.url)
    with pytest.raises(ReadOnlyError) as caught:
        await message(world, redis).do_and_submit(client, take_one)
    await client.aclose()
    assert "will ask query_prepared" in caught.value.__notes__[-1]
    assert (await world.stored("g1")).status is Status.PREPARED
    await world.kit.advance(22)
    assert (await world.stored("g1")).status is Status.SUCCEED
    assert (await done(redis), world.branches.ops(MAIL)) == ((4, 1), ["action"])


async def test_commands_that_were_done_in_part_wait_for_somebody_who_sets_them_right(
    world: World, redis: Redis
) -> None:
    async def wrong(commands: RedisCommands) -> None:
        await take_one(commands)
        commands.execute("INCR", "orders")

    with pytest.raises(BarrierError, match="INCR after 2 that were done"):
        await message(world, redis).do_and_submit(redis, wrong)
    await world.kit.advance(22)
    assert (await world.stored("g1")).status is Status.PREPARED, "query_prepared does not know either"
    assert world.branches.ops(MAIL) == []
    await redis.set("g1-00-msg-01", "done")
    await world.kit.advance(100)
    assert (await world.stored("g1")).status is Status.SUCCEED
    assert world.branches.ops(MAIL) == ["action"]


async def test_wrong_use_is_refused_before_anything_is_sent(world: World, redis: Redis) -> None:
    msg = message(world, redis)
    with pytest.raises(InvalidUse, match=r"hand in one of redis\.asyncio"):
        await msg.do_and_submit(blocking.Redis(), take_one)
    with pytest.raises(InvalidUse, match="table='orders': Redis has none"):
        await msg.do_and_submit(redis, take_one, table="orders")
    assert await world.kit.dtm.query("g1") is None


async def test_a_script_of_one_s_own_behind_the_sender_s_barrier(world: World, redis: Redis) -> None:
    msg = message(world, redis)
    await msg.prepare()
    barrier = RedisBarrier(msg.sender, redis)
    assert await barrier.call("return redis.call('DECR', KEYS[1])", [STOCK]) == 4
    assert barrier.outcome is Outcome.RUN
    await msg.submit()
    assert (await world.stored("g1")).status is Status.SUCCEED
