"""Blocking clients of Redis, seen as RedisBarrier sees an async one (PROTOCOL §12)."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from coordinator.client.barriers.on_redis import is_async_redis
from coordinator.client.errors import InvalidUse
from coordinator.client.portal import in_caller

Run: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]


class BlockingRedis:
    """What the barrier asks of a client. run: has each question asked, in the thread that it knows.

    Raises InvalidUse for a client of redis.asyncio, before anything is sent.
    """

    def __init__(self, redis: Any, run: Run) -> None:
        if is_async_redis(redis):
            raise InvalidUse(
                "this is a client of redis.asyncio: hand in a blocking redis.Redis, or use coordinator.client"
            )
        self._redis = redis
        self._run = run

    async def eval(self, *arguments: Any) -> Any:
        """Run a script."""
        return await self._run(lambda: self._redis.eval(*arguments))

    async def get(self, key: str) -> Any:
        """Return a value."""
        return await self._run(lambda: self._redis.get(key))

    async def set(self, key: str, value: str, *, nx: bool, ex: int) -> Any:
        """Set a value."""
        return await self._run(lambda: self._redis.set(key, value, nx=nx, ex=ex))


def redis_here(redis: Any) -> BlockingRedis:
    """In the thread that asks, without a loop; for `at_once`."""

    async def run(function: Callable[[], Any]) -> Any:
        return function()

    return BlockingRedis(redis, run)


def redis_in_caller(redis: Any) -> BlockingRedis:
    """From the loop, in the thread that waits for it."""
    return BlockingRedis(redis, in_caller)
