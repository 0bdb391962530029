"""The barrier in Redis for blocking code (PROTOCOL §12). The async one does the work, at once."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from coordinator.client.barriers import on_redis as _barrier_redis
from coordinator.client.barriers.on_redis import EXPIRE_SECONDS
from coordinator.client.barriers.redis_blocking import redis_here
from coordinator.client.barriers.redis_commands import RedisCommands, Word
from coordinator.client.barriers.rules import Outcome
from coordinator.client.frameworks.for_wsgi import blocking_branch_of
from coordinator.client.frameworks.request import Source
from coordinator.client.portal import at_once


class RedisBarrier:
    """One barrier on a blocking client of redis-py (PROTOCOL §12).

    source: as `barrier` takes it. redis: of a single Redis, or of a primary with replicas. expire_seconds:
    how long a repeated call is recognised; longer than any transaction may take. Raises NoBranchContext,
    InvalidUse for a client of redis.asyncio, BarrierError.

    Example:
        with RedisBarrier(flask.request, redis) as commands:
            commands.adjust("balance:ann", -30)  # Failure rather than below zero
            commands.execute("RPUSH", "withdrawals", 30)

        RedisBarrier(flask.request, redis).adjust("balance:ann", -30)  # the same alone; returns the balance
    """

    def __init__(self, source: Source, redis: Any, *, expire_seconds: int = EXPIRE_SECONDS) -> None:
        self._barrier = _barrier_redis.RedisBarrier(
            blocking_branch_of(source), redis_here(redis), expire_seconds=expire_seconds
        )

    @property
    def outcome(self) -> Outcome | None:
        """What this call was; None before it was made."""
        return self._barrier.outcome

    @property
    def refused(self) -> bool:
        """True when the business said no, and nothing was kept."""
        return self._barrier.refused

    def own_reason(self) -> str:
        """Return the operation that left the key of this call, "" without one."""
        return at_once(self._barrier.own_reason())

    def call(self, business: str, keys: Sequence[str] = (), arguments: Sequence[Word] = ()) -> Any:
        """Run a Lua body with KEYS and ARGV behind the barrier; return its result, None when it was not run.

        A body that returns `redis.error_reply('FAILURE …')` says no: Failure is raised and nothing is kept;
        it must do so before it writes. Raises the client's own errors, BarrierError for another error reply.
        """
        return at_once(self._barrier.call(business, keys, arguments))

    def adjust(self, key: str, amount: int, *, least: int = 0) -> int | None:
        """Add to an integer, return it; None when it was not done now. Raises Failure below `least`."""
        return at_once(self._barrier.adjust(key, amount, least=least))

    def __enter__(self) -> RedisCommands:
        return at_once(self._barrier.__aenter__())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        at_once(self._barrier.__aexit__(kind, error, traceback))


def redis_query_prepared(source: Source, redis: Any, *, expire_seconds: int = EXPIRE_SECONDS) -> None:
    """`query_prepared` of a message whose sender's barrier is in Redis (PROTOCOL §8, §12).

    source, expire_seconds: as for RedisBarrier. Raises Failure when the business was never done and never
    will be, BarrierError when a command of it failed after others: asked again, until that is set right.
    """
    at_once(
        _barrier_redis.redis_query_prepared(
            blocking_branch_of(source), redis_here(redis), expire_seconds=expire_seconds
        )
    )
