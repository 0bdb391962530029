"""The barrier in Redis: its rules and the business are one Lua script, which runs as one (PROTOCOL §12)."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final

from coordinator.client.barriers.redis_commands import ENOUGH, RedisCommands, Word
from coordinator.client.barriers.rules import GIVEN_UP, BarrierRow, Outcome, plan, plan_query
from coordinator.client.errors import FAILURE_WORD, BarrierError, Failure, InvalidUse
from coordinator.client.frameworks.request import Source, branch_of

EXPIRE_SECONDS: Final = 7 * 24 * 3600
_BROKEN: Final = "broken:"  # how the value of a key begins whose commands were done in part

# KEYS: own row, origin row, then the business's. ARGV: reason, seconds, 1 where there is an origin, then the
# business's. The business checks before it writes: Redis takes nothing back.
_SCRIPT: Final = """
local function business(KEYS, ARGV)
{business}
end
local function rest(list, from)
  local tail = {{}}
  for i = from, #list do tail[#tail + 1] = list[i] end
  return tail
end
for i = 1, 2 do
  local known = redis.call('GET', KEYS[i])
  if known and string.sub(known, 1, 7) == 'broken:' then return {{'broken', KEYS[i], known}} end
end
if ARGV[3] == '1' and redis.call('SET', KEYS[2], ARGV[1], 'NX', 'EX', ARGV[2]) then
  redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2])
  return {{'empty'}}
end
if redis.call('EXISTS', KEYS[1]) == 1 then return {{'repeated'}} end
local result = business(rest(KEYS, 3), rest(ARGV, 4))
if type(result) == 'table' and result.err then return {{'refused', result.err}} end
if type(result) == 'table' and result.partly then
  redis.call('SET', KEYS[1], 'broken: ' .. result.partly, 'EX', ARGV[2])
  return {{'broken', KEYS[1], result.partly}}
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return {{'run', result}}
"""

_ADJUST: Final = f"{ENOUGH} return redis.call('INCRBY', KEYS[1], ARGV[1])"


class RedisBarrier:
    """One barrier on a client of `redis.asyncio` (PROTOCOL §12).

    source: as `barrier` takes it. redis: of a single Redis, or of a primary with replicas. expire_seconds:
    how long a repeated call is recognised; longer than any transaction may take. outcome: known after the
    call. refused: the business said no, and nothing was kept. Raises NoBranchContext, InvalidUse for a
    blocking client, BarrierError.

    Example:
        async with RedisBarrier(request, redis) as commands:
            commands.adjust("balance:ann", -30)  # Failure rather than below zero
            commands.execute("RPUSH", "withdrawals", 30)

        await RedisBarrier(request, redis).adjust("balance:ann", -30)  # the same alone; returns the balance
    """

    def __init__(self, source: Source, redis: Any, *, expire_seconds: int = EXPIRE_SECONDS) -> None:
        if is_blocking_redis(redis):
            raise InvalidUse(
                "this is a blocking client of Redis: hand in one of redis.asyncio, or use "
                "coordinator.client.sync"
            )
        branch = branch_of(source)
        self._plan = plan(branch, branch.next_barrier_id())
        self._redis = redis
        self._expire_seconds = expire_seconds
        self._commands = RedisCommands()
        self.outcome: Outcome | None = None
        self.refused = False

    async def own_reason(self) -> str:
        """Return the operation that left the key of this call, "" without one."""
        return _text(await self._redis.get(row_key(self._plan.own)) or "")

    async def call(self, business: str, keys: Sequence[str] = (), arguments: Sequence[Word] = ()) -> Any:
        """Run a Lua body with KEYS and ARGV behind the barrier; return its result, None when it was not run.

        A body that returns `redis.error_reply('FAILURE …')` says no: Failure is raised and nothing is kept;
        it must do so before it writes. Raises the client's own errors, BarrierError for another error reply.
        """
        own, origin = self._plan.own, self._plan.origin
        answer = await self._redis.eval(
            _SCRIPT.format(business=business),
            2 + len(keys),
            *(row_key(own), row_key(origin or own), *keys),
            *(own.reason, self._expire_seconds, 1 if origin else 0, *arguments),
        )
        word = _text(answer[0])
        if word == "refused":
            self.refused = True
            text = _text(answer[1])
            if FAILURE_WORD in text:
                raise Failure(text.replace(FAILURE_WORD, "").strip(), gid=own.gid)
            raise BarrierError(f"the business in Redis failed: {text}", gid=own.gid)
        if word == "broken":
            raise _done_in_part(_text(answer[1]), _text(answer[2]), own.gid)
        self.outcome = Outcome(word)
        return answer[1] if len(answer) > 1 else None

    async def adjust(self, key: str, amount: int, *, least: int = 0) -> int | None:
        """Add to an integer, return it; None when it was not done now. Raises Failure below `least`."""
        after = await self.call(_ADJUST, [key], [amount, least])
        return None if after is None else int(after)

    async def __aenter__(self) -> RedisCommands:
        return self._commands

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            return  # nothing was sent
        commands = self._commands
        answers = await self.call(commands.body(), commands.keys(), commands.arguments())
        self._commands.outcome = self.outcome
        self._commands.answers = answers or []


async def redis_query_prepared(source: Source, redis: Any, *, expire_seconds: int = EXPIRE_SECONDS) -> None:
    """`query_prepared` of a message whose sender's barrier is in Redis (PROTOCOL §8, §12).

    expire_seconds: as for RedisBarrier. Raises Failure when the business was never done and never will be,
    BarrierError when a command of it failed after others: asked again, until somebody has set that right.
    """
    row = plan_query(branch_of(source))
    key = row_key(row)
    await redis.set(key, row.reason, nx=True, ex=expire_seconds)
    found = _text(await redis.get(key))
    if found == GIVEN_UP:
        raise Failure("the local transaction was never committed", gid=row.gid)
    if found.startswith(_BROKEN):
        raise _done_in_part(key, found, row.gid)


def is_async_redis(client: object) -> bool:
    """True for a client of redis.asyncio; by name, so that nobody else needs redis-py."""
    return _has_class(client, "redis.asyncio.client")


def is_blocking_redis(client: object) -> bool:
    """True for a blocking client of redis-py."""
    return _has_class(client, "redis.client")


def row_key(row: BarrierRow) -> str:
    """The key of one barrier row (§12)."""
    return f"{row.gid}-{row.branch_id}-{row.op}-{row.barrier_id}"


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _has_class(client: object, module: str) -> bool:
    return any(one.__module__ == module and one.__name__ == "Redis" for one in type(client).__mro__)


def _done_in_part(key: str, what: str, gid: str) -> BarrierError:
    return BarrierError(
        f"a command failed, and Redis does not take back those before it: {what}. "
        f"Nothing is run again: set it right by hand, then SET {key} to done, or DEL it "
        "to have all of them run again",
        gid=gid,
    )
