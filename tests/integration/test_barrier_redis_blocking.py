"""The barrier in Redis for blocking code, with threads (PROTOCOL §12): the rules of the async one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis.asyncio
from redis import Redis
from redis.exceptions import ResponseError
from werkzeug import Request  # that of Flask is one
from werkzeug.test import EnvironBuilder

from coordinator.client import BarrierError, BranchContext, Failure, InvalidUse, NoBranchContext, Outcome
from coordinator.client.sync import RedisBarrier, barrier, redis_query_prepared
from tests.support.servers import RedisServer

ACCOUNT = "balance:ann"
CONCURRENT_CALLS = 50


@pytest.fixture(params=[False, True], ids=["bytes", "text"])
def client(redis_server: RedisServer, request: pytest.FixtureRequest) -> Iterator[Redis]:
    """decode_responses: both are in use."""
    with Redis.from_url(redis_server.url, decode_responses=request.param) as client:
        client.flushall()
        yield client


def branch(op: str, gid: str = "g1") -> BranchContext:
    return BranchContext(gid, "saga", "01", op)


def call(client: Redis, op: str, amount: int, gid: str = "g1") -> Outcome | None:
    with RedisBarrier(branch(op, gid), client) as commands:
        commands.execute("INCRBY", ACCOUNT, amount)
    return commands.outcome


def balance(client: Redis) -> int:
    return int(client.get(ACCOUNT) or 0)


def test_the_first_call_runs_and_a_repeated_one_does_nothing(client: Redis) -> None:
    assert [call(client, "action", 30) for _ in range(2)] == [Outcome.RUN, Outcome.REPEATED]
    assert [call(client, "compensate", -10) for _ in range(2)] == [Outcome.RUN, Outcome.REPEATED]
    assert balance(client) == 20


def test_an_empty_compensation_undoes_nothing_and_shuts_the_late_action_out(client: Redis) -> None:
    assert call(client, "compensate", -30) is Outcome.EMPTY
    assert call(client, "action", 30) is Outcome.REPEATED
    assert balance(client) == 0


def test_fifty_threads_at_once_have_one_effect(client: Redis) -> None:
    with ThreadPoolExecutor(CONCURRENT_CALLS) as threads:
        outcomes = list(threads.map(lambda _: call(client, "action", 30), range(CONCURRENT_CALLS)))
    assert sorted(str(one) for one in outcomes) == sorted(
        ["Outcome.RUN", *["Outcome.REPEATED"] * (CONCURRENT_CALLS - 1)]
    )
    assert balance(client) == 30


def test_a_refusal_leaves_nothing(client: Redis) -> None:
    client.set(ACCOUNT, 20)
    refused = RedisBarrier(branch("action"), client)
    with pytest.raises(Failure, match="balance:ann would be -10"):
        refused.adjust(ACCOUNT, -30)
    assert (refused.refused, refused.outcome, refused.own_reason()) == (True, None, "")
    with pytest.raises(Failure), RedisBarrier(branch("action"), client) as commands:
        commands.execute("RPUSH", "log", 30)
        commands.adjust(ACCOUNT, -30)
    assert (balance(client), client.keys("*")) == (20, client.keys(ACCOUNT))
    done = RedisBarrier(branch("action"), client)
    assert (done.adjust(ACCOUNT, -15), done.outcome, done.own_reason()) == (5, Outcome.RUN, "action")
    assert RedisBarrier(branch("action"), client).adjust(ACCOUNT, -15) is None


def test_an_exception_in_the_block_sends_nothing(client: Redis) -> None:
    with pytest.raises(LookupError), RedisBarrier(branch("action"), client) as commands:
        commands.execute("INCRBY", ACCOUNT, 30)
        raise LookupError
    assert call(client, "action", 30) is Outcome.RUN
    assert balance(client) == 30


def test_what_redis_refuses(client: Redis) -> None:
    client.lpush("a-list", 1)
    with pytest.raises(ResponseError, match="WRONGTYPE"), RedisBarrier(branch("action"), client) as commands:
        commands.execute("INCRBY", "a-list", 30)
    for _ in range(2):
        with (
            pytest.raises(BarrierError, match="after 1 that were done"),
            RedisBarrier(branch("action"), client) as commands,
        ):
            commands.execute("INCRBY", ACCOUNT, 30)
            commands.execute("INCRBY", "a-list", 30)
        assert balance(client) == 30, "not run again"


def test_a_script_of_one_s_own(client: Redis) -> None:
    script = "redis.call('HSET', KEYS[1], 'owner', ARGV[1]) return 7"
    assert RedisBarrier(branch("action"), client).call(script, ["seat:7"], ["ann"]) == 7
    assert RedisBarrier(branch("action"), client).call(script, ["seat:7"], ["bob"]) is None
    assert client.hget("seat:7", "owner") in ("ann", b"ann")


def test_a_request_of_flask_is_one_request_with_two_barriers(client: Redis) -> None:
    query = "gid=g1&trans_type=saga&branch_id=01&op=action"
    request = Request(EnvironBuilder(query_string=query).get_environ())
    assert [RedisBarrier(request, client).adjust(ACCOUNT, 1) for _ in range(2)] == [1, 2]
    with pytest.raises(NoBranchContext):
        RedisBarrier(Request(EnvironBuilder().get_environ()), client)


def test_query_prepared(client: Redis) -> None:
    def sender(gid: str) -> BranchContext:
        return BranchContext(gid, "msg", "00", "msg")

    RedisBarrier(sender("g1"), client).adjust(ACCOUNT, 30)
    redis_query_prepared(sender("g1"), client)
    for _ in range(2):
        with pytest.raises(Failure, match="never committed"):
            redis_query_prepared(sender("g2"), client)
    assert RedisBarrier(sender("g2"), client).adjust(ACCOUNT, 30) is None, "the sender is shut out"
    assert balance(client) == 30


def test_the_wrong_client_and_the_wrong_barrier_are_explained(client: Redis) -> None:
    asynchronous: Any = redis.asyncio.Redis()
    for use in (
        lambda: RedisBarrier(branch("action"), asynchronous),
        lambda: redis_query_prepared(branch("msg"), asynchronous),
    ):
        with pytest.raises(InvalidUse, match=r"hand in a blocking redis\.Redis"):
            use()
    with pytest.raises(InvalidUse, match="for Redis see RedisBarrier"):
        barrier(branch("action"), client)
