"""The barrier in Redis: its rules and the business are one Lua script, which runs as one (PROTOCOL §12)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from coordinator.client._barrier_rules import BarrierRow, Outcome, plan, plan_query
from coordinator.client._errors import FAILURE_WORD, BarrierError, Failure, InvalidUse
from coordinator.client._request import Source, branch_of

EXPIRE_SECONDS: Final = 7 * 24 * 3600
GIVEN_UP: Final = "rollback"

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

# ARGV: for each command the number of its words, then the words. When the first one fails, nothing is done.
# When a later one does, those before it stay done: they must not be run again as if it were the first time.
_QUEUED: Final = """
  local answers, at = {}, 1
  while at <= #ARGV do
    local words = tonumber(ARGV[at])
    local run = at == 1 and redis.call or redis.pcall
    local answer = run(unpack(ARGV, at + 1, at + words))
    if type(answer) == 'table' and answer.err then
      return {partly = ARGV[at + 1] .. ' after ' .. #answers .. ' that were done: ' .. answer.err}
    end
    answers[#answers + 1] = answer
    at = at + 1 + words
  end
  return answers
"""

_ADJUST: Final = """
  local after = tonumber(redis.call('GET', KEYS[1]) or '0') + tonumber(ARGV[1])
  if after < tonumber(ARGV[2]) then
    return redis.error_reply('FAILURE ' .. KEYS[1] .. ' would be ' .. after)
  end
  return redis.call('INCRBY', KEYS[1], ARGV[1])
"""


@dataclass
class RedisCommands:
    """Commands that run together at the block's end, if the call is the first of its kind (PROTOCOL §12).

    One that Redis refuses (a key of another type) after others were done is a BarrierError, then and in every
    later call: Redis takes nothing back.
    """

    outcome: Outcome | None = None  # known after the block
    answers: list[Any] = field(default_factory=list)  # of the commands, after the block
    _queued: list[tuple[Any, ...]] = field(default_factory=list)

    def execute(self, *words: str | bytes | int | float) -> None:
        """Queue one command: `execute("INCRBY", "balance", -30)`. Raises InvalidUse for an empty one."""
        if not words:
            raise InvalidUse("a Redis command needs its words: execute('INCRBY', 'balance', -30)")
        self._queued.append(words)

    def flattened(self) -> list[Any]:
        """The commands as arguments of the script."""
        return [word for words in self._queued for word in (len(words), *words)]


class RedisBarrier:
    """One barrier on a client of `redis.asyncio` (PROTOCOL §12).

    source: as `barrier` takes it. redis: of a single Redis, or of a primary with replicas. expire_seconds:
    how long a repeated call is recognised; longer than any transaction may take. Raises NoBranchContext,
    BarrierError.

    Example:
        async with RedisBarrier(request, redis) as commands:
            commands.execute("INCRBY", "balance:ann", -30)

        await RedisBarrier(request, redis).adjust("balance:ann", -30)  # Failure rather than below zero
    """

    def __init__(self, source: Source, redis: Any, *, expire_seconds: int = EXPIRE_SECONDS) -> None:
        branch = branch_of(source)
        self._plan = plan(branch, branch.next_barrier_id())
        self._redis = redis
        self._expire_seconds = expire_seconds
        self._commands = RedisCommands()
        self.outcome: Outcome | None = None

    async def call(
        self, business: str, keys: Sequence[str] = (), arguments: Sequence[str | bytes | int | float] = ()
    ) -> Any:
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
            text = _text(answer[1])
            if FAILURE_WORD in text:
                raise Failure(text.replace(FAILURE_WORD, "").strip(), gid=own.gid)
            raise BarrierError(f"the business in Redis failed: {text}", gid=own.gid)
        if word == "broken":
            raise BarrierError(
                f"a command failed, and Redis does not take back those before it: {_text(answer[2])}. "
                f"Nothing is run again: set it right by hand, then SET {_text(answer[1])} to done, or DEL it "
                "to have all of them run again",
                gid=own.gid,
            )
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
        answers = await self.call(_QUEUED, (), self._commands.flattened())
        self._commands.outcome = self.outcome
        self._commands.answers = answers or []


async def redis_query_prepared(source: Source, redis: Any, *, expire_seconds: int = EXPIRE_SECONDS) -> None:
    """`query_prepared` of a message whose sender's barrier is in Redis (PROTOCOL §8, §12). Raises Failure."""
    row = plan_query(branch_of(source))
    key = row_key(row)
    await redis.set(key, row.reason, nx=True, ex=expire_seconds)
    if _text(await redis.get(key)) == GIVEN_UP:
        raise Failure("the local transaction was never committed", gid=row.gid)


def row_key(row: BarrierRow) -> str:
    """The key of one barrier row (§12)."""
    return f"{row.gid}-{row.branch_id}-{row.op}-{row.barrier_id}"


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
