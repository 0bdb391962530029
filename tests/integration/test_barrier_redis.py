"""The barrier in Redis: repeated, empty, dangling, concurrent, refused (PROTOCOL §12)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis as blocking
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from coordinator.client import (
    BarrierError,
    BranchContext,
    Failure,
    InvalidUse,
    Outcome,
    RedisBarrier,
    RedisCommands,
    barrier,
    redis_query_prepared,
)
from tests.support.servers import RedisServer

ACCOUNT = "balance:ann"


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_server.url)
    await client.flushall()
    yield client
    await client.aclose()


def branch(op: str, gid: str = "g1") -> BranchContext:
    return BranchContext(gid, "saga", "01", op)


async def call(redis: Redis, op: str, amount: int, gid: str = "g1") -> Outcome | None:
    async with RedisBarrier(branch(op, gid), redis) as commands:
        commands.execute("INCRBY", ACCOUNT, amount)
    return commands.outcome


async def balance(redis: Redis) -> int:
    return int(await redis.get(ACCOUNT) or 0)


async def test_the_first_call_runs_and_leaves_its_key(redis: Redis) -> None:
    async with RedisBarrier(branch("action"), redis) as commands:
        commands.execute("INCRBY", ACCOUNT, 30)
        commands.execute("GET", ACCOUNT)
    assert (commands.outcome, commands.answers) == (Outcome.RUN, [30, b"30"])
    assert await redis.get("g1-01-action-01") == b"action"
    assert 0 < await redis.ttl("g1-01-action-01") <= 7 * 24 * 3600


async def test_a_repeated_call_does_nothing(redis: Redis) -> None:
    assert [await call(redis, "action", 30) for _ in range(2)] == [Outcome.RUN, Outcome.REPEATED]
    assert await balance(redis) == 30


async def test_a_compensation_undoes_once(redis: Redis) -> None:
    await call(redis, "action", 30)
    assert [await call(redis, "compensate", -30) for _ in range(2)] == [Outcome.RUN, Outcome.REPEATED]
    assert await balance(redis) == 0


async def test_an_empty_compensation_undoes_nothing_and_shuts_the_action_out(redis: Redis) -> None:
    assert await call(redis, "compensate", -30) is Outcome.EMPTY
    assert await call(redis, "compensate", -30) is Outcome.REPEATED
    assert await call(redis, "action", 30) is Outcome.REPEATED
    assert await balance(redis) == 0
    assert await redis.get("g1-01-action-01") == b"compensate"


async def test_fifty_calls_at_once_have_one_effect(redis: Redis) -> None:
    outcomes = await asyncio.gather(*(call(redis, "action", 30) for _ in range(50)))
    assert sorted(str(outcome) for outcome in outcomes if outcome is not Outcome.REPEATED) == ["Outcome.RUN"]
    assert await balance(redis) == 30


async def test_adjust_refuses_to_go_below_and_leaves_nothing(redis: Redis) -> None:
    await redis.set(ACCOUNT, 20)
    with pytest.raises(Failure, match="balance:ann would be -10"):
        await RedisBarrier(branch("action"), redis).adjust(ACCOUNT, -30)
    assert await balance(redis) == 20
    assert await redis.exists("g1-01-action-01") == 0
    assert await RedisBarrier(branch("action"), redis).adjust(ACCOUNT, -15) == 5
    assert await RedisBarrier(branch("action"), redis).adjust(ACCOUNT, -15) is None


async def test_a_script_of_one_s_own_gets_its_keys_and_arguments(redis: Redis) -> None:
    script = "redis.call('HSET', KEYS[1], 'owner', ARGV[1]) return {KEYS[1], ARGV[1]}"
    result = await RedisBarrier(branch("action"), redis).call(script, ["seat:7"], ["ann"])
    assert result == [b"seat:7", b"ann"]
    assert await redis.hget("seat:7", "owner") == b"ann"


async def test_an_exception_in_the_block_sends_nothing(redis: Redis) -> None:
    with pytest.raises(LookupError):
        async with RedisBarrier(branch("action"), redis) as commands:
            commands.execute("INCRBY", ACCOUNT, 30)
            raise LookupError
    assert await balance(redis) == 0
    assert await call(redis, "action", 30) is Outcome.RUN


async def test_a_command_that_redis_refuses_leaves_the_barrier_open(redis: Redis) -> None:
    await redis.lpush("a-list", 1)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        async with RedisBarrier(branch("action"), redis) as commands:
            commands.execute("INCRBY", "a-list", 30)
    assert await redis.exists("g1-01-action-01") == 0


async def test_a_command_refused_after_others_were_done_is_not_run_again(redis: Redis) -> None:
    """PROTOCOL §12: one call has its effect once; the coordinator calls again and again after an error."""
    await redis.lpush("a-list", 1)
    says = r"INCRBY after 1 that were done: WRONGTYPE.*SET g1-01-action-01"
    for op in ("action", "action", "compensate"):
        with pytest.raises(BarrierError, match=says):
            async with RedisBarrier(branch(op), redis) as commands:
                commands.execute("INCRBY", ACCOUNT, 30)
                commands.execute("INCRBY", "a-list", 30)
        assert await balance(redis) == 30
    await redis.set("g1-01-action-01", "done")  # an operator has set it right
    assert await call(redis, "action", 30) is Outcome.REPEATED
    assert await call(redis, "compensate", -30) is Outcome.RUN


async def test_a_refused_adjustment_keeps_every_command_undone(redis: Redis) -> None:
    await redis.set(ACCOUNT, 50)

    async def withdraw(*amounts: int, gid: str) -> None:
        async with RedisBarrier(branch("action", gid), redis) as commands:
            for amount in amounts:
                commands.execute("RPUSH", "withdrawals", amount)
                commands.adjust(ACCOUNT, -amount)

    with pytest.raises(Failure, match="balance:ann would be -10"):
        await withdraw(30, 30, gid="g1")  # each alone is covered
    assert (await balance(redis), await redis.llen("withdrawals")) == (50, 0)
    assert await redis.exists("g1-01-action-01") == 0
    await withdraw(30, 20, gid="g2")
    assert (await balance(redis), await redis.llen("withdrawals")) == (0, 2)


async def test_checks_look_before_the_commands_with_keys_and_arguments_of_their_own(redis: Redis) -> None:
    free = """
      if redis.call('HGET', KEYS[1], ARGV[1]) then return redis.error_reply('FAILURE taken ' .. ARGV[1]) end
    """

    async def take(*seats: str, gid: str) -> RedisCommands:
        async with RedisBarrier(branch("action", gid), redis) as commands:
            for seat in seats:
                commands.execute("HSET", "seats", seat, gid)
                commands.check(free, ["seats"], [seat])
        return commands

    assert (await take("a", "b", gid="g1")).answers == [1, 1]
    with pytest.raises(Failure, match="taken b"):
        await take("c", "b", gid="g2")
    assert await redis.hgetall("seats") == {b"a": b"g1", b"b": b"g1"}
    assert (await take("x", "a", gid="g1")).outcome is Outcome.REPEATED, (
        "a repeated call is not checked again"
    )


async def test_a_check_that_fails_for_another_reason_is_no_refusal(redis: Redis) -> None:
    with pytest.raises(BarrierError, match="the business in Redis failed: out of order"):
        async with RedisBarrier(branch("action"), redis) as commands:
            commands.check("return redis.error_reply('out of order')")
    with pytest.raises(ResponseError):
        async with RedisBarrier(branch("action"), redis) as commands:
            commands.check("nonsense(")
    assert await call(redis, "action", 30) is Outcome.RUN


@pytest.mark.parametrize("words", [0, 7001])
async def test_a_command_that_lua_cannot_run_is_refused_when_it_is_queued(redis: Redis, words: int) -> None:
    """A later one would fail after the earlier ones were done, without a trace of them (§12)."""
    with pytest.raises(InvalidUse, match=f"1 to 7000 words, not {words}"):
        async with RedisBarrier(branch("action"), redis) as commands:
            commands.execute("INCRBY", ACCOUNT, 30)
            commands.execute(*["RPUSH"] * words)
    assert await balance(redis) == 0
    async with RedisBarrier(branch("action"), redis) as commands:
        commands.execute("INCRBY", ACCOUNT, 30)
        commands.execute("RPUSH", "list", *range(6998))
    assert commands.answers == [30, 6998]


async def test_a_blocking_client_is_refused_before_anything_is_sent(redis: Redis) -> None:
    with pytest.raises(InvalidUse, match=r"hand in one of redis\.asyncio"):
        RedisBarrier(branch("action"), blocking.Redis())


async def test_two_barriers_in_one_request_are_two(redis: Redis) -> None:
    request = branch("action")
    for _ in range(2):
        assert await RedisBarrier(request, redis).adjust(ACCOUNT, 1) is not None
    assert await balance(redis) == 2


async def test_query_prepared(redis: Redis) -> None:
    sender = BranchContext("g1", "msg", "00", "msg")
    await RedisBarrier(sender, redis).adjust(ACCOUNT, 30)
    await redis_query_prepared(sender, redis)
    other = BranchContext("g2", "msg", "00", "msg")
    for _ in range(2):
        with pytest.raises(Failure, match="never committed"):
            await redis_query_prepared(other, redis)
    assert await RedisBarrier(other, redis).adjust(ACCOUNT, 30) is None, "the sender is shut out"
    assert await balance(redis) == 30


async def test_query_prepared_does_not_know_of_commands_that_were_done_in_part(redis: Redis) -> None:
    sender = BranchContext("g1", "msg", "00", "msg")
    await redis.lpush("a-list", 1)
    with pytest.raises(BarrierError):
        async with RedisBarrier(sender, redis) as commands:
            commands.execute("INCRBY", ACCOUNT, 30)
            commands.execute("INCRBY", "a-list", 30)
    with pytest.raises(BarrierError, match=r"INCRBY after 1 that were done.*SET g1-00-msg-01 to done"):
        await redis_query_prepared(sender, redis)
    await redis.set("g1-00-msg-01", "done")
    await redis_query_prepared(sender, redis)


async def test_the_other_barrier_says_where_redis_is_served(redis: Redis) -> None:
    with pytest.raises(InvalidUse, match="for Redis see RedisBarrier"):
        barrier(branch("action"), redis)
