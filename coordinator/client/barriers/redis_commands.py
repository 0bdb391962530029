"""The business in Redis: checks, then commands, all of them in one Lua script (PROTOCOL §12). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from coordinator.client.barriers.rules import Outcome
from coordinator.client.errors import InvalidUse

Word: TypeAlias = str | bytes | int | float


class RedisClient(Protocol):
    """A client of redis-py, async or blocking, as far as types tell it from a connection of a database."""

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script."""
        ...


WORDS_MAX: Final = 7000  # of one command: Lua unpacks no more than 8,000 values at once

# ARGV: how many checks' keys and arguments follow, then those; after the checks, for each command the number
# of its words, then the words. When a check says no or the first command fails, nothing is done. When a later
# command fails, those before it stay done: they must not be run again as if it were the first time.
_BUSINESS: Final = """
  local key, at = 1, 1
  local function refused(body)
    local keys, words = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    local verdict = body({unpack(KEYS, key, key + keys - 1)}, {unpack(ARGV, at + 2, at + 1 + words)})
    key, at = key + keys, at + 2 + words
    return type(verdict) == 'table' and verdict.err and verdict
  end
  local no
  %s
  local answers = {}
  while at <= #ARGV do
    local words = tonumber(ARGV[at])
    local run = #answers == 0 and redis.call or redis.pcall
    local answer = run(unpack(ARGV, at + 1, at + words))
    if type(answer) == 'table' and answer.err then
      return {partly = ARGV[at + 1] .. ' after ' .. #answers .. ' that were done: ' .. answer.err}
    end
    answers[#answers + 1] = answer
    at = at + 1 + words
  end
  return answers
"""

ENOUGH: Final = """
  local after = tonumber(redis.call('GET', KEYS[1]) or '0') + tonumber(ARGV[1])
  if after < tonumber(ARGV[2]) then
    return redis.error_reply('FAILURE ' .. KEYS[1] .. ' would be ' .. after)
  end
"""


@dataclass(frozen=True, slots=True)
class _Check:
    body: str
    keys: tuple[str, ...]
    arguments: tuple[Word, ...]


@dataclass
class RedisCommands:
    """Commands that run together at the block's end, if the call is the first of its kind (PROTOCOL §12).

    outcome: known after the block. answers: of the commands, in order, after the block. A command that Redis
    refuses (a key of another type) after others were done is a BarrierError, then and in every later call:
    Redis takes nothing back. What may be refused belongs in a `check`, which runs before all commands.
    """

    outcome: Outcome | None = None
    answers: list[Any] = field(default_factory=list)
    _checks: list[_Check] = field(default_factory=list)
    _queued: list[tuple[Word, ...]] = field(default_factory=list)
    _adjusted: dict[str, int] = field(default_factory=dict)

    def execute(self, *words: Word) -> None:
        """Queue one command: `execute("INCRBY", "balance", -30)`.

        Raises InvalidUse for an empty one, and for more than 7,000 words.
        """
        if not 0 < len(words) <= WORDS_MAX:
            raise InvalidUse(
                f"a Redis command has 1 to {WORDS_MAX} words, not {len(words)}: "
                "execute('INCRBY', 'balance', -30)"
            )
        self._queued.append(words)

    def check(self, body: str, keys: Sequence[str] = (), arguments: Sequence[Word] = ()) -> None:
        """Queue a Lua body with KEYS and ARGV that looks before any command runs, and writes nothing.

        One that returns `redis.error_reply('FAILURE …')` says no: nothing is done, and the block raises
        Failure.
        """
        self._checks.append(_Check(body, tuple(keys), tuple(arguments)))

    def adjust(self, key: str, amount: int, *, least: int = 0) -> None:
        """Queue adding to an integer; the block raises Failure, and nothing is done, below `least`.

        Looks at what is there before the commands, and at the other adjustments of that key.
        """
        self._adjusted[key] = self._adjusted.get(key, 0) + amount
        self.check(ENOUGH, [key], [self._adjusted[key], least])
        self.execute("INCRBY", key, amount)

    def body(self) -> str:
        """The Lua body that does all of it."""
        checks = (
            f"no = refused(function(KEYS, ARGV)\n{check.body}\nend) if no then return no end"
            for check in self._checks
        )
        return _BUSINESS.replace("%s", "\n".join(checks))

    def keys(self) -> list[str]:
        """Its KEYS."""
        return [key for check in self._checks for key in check.keys]

    def arguments(self) -> list[Word]:
        """Its ARGV."""
        checks = (
            word
            for check in self._checks
            for word in (len(check.keys), len(check.arguments), *check.arguments)
        )
        return [*checks, *(word for words in self._queued for word in (len(words), *words))]
