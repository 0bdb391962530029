"""A batch without a look, for PostgreSQL: one statement that compares, writes, and is its own transaction.

Its parts are those that PostgresStatements writes with, each of which has a line that begins with WHERE.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Final

import asyncpg

from coordinator.store.at_once import Collected, Fence
from coordinator.store.gathered import Gathered
from coordinator.store.statements_postgres import PostgresStatements

Statement = tuple[str, tuple[Any, ...]]  # the text, its parameters

# Locks the rows that are as expected; those of somebody else count as not expected. All parts of a statement
# see the rows as they stood before it, so each of the others asks `standing`, and thereby runs after it.
_HOLD: Final = """held AS MATERIALIZED (
  SELECT 1
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS expected (gid, status, owner, trans_type)
  JOIN trans_global AS stored
    ON stored.gid = expected.gid AND stored.status = expected.status
    AND (expected.owner IS NULL OR stored.owner = expected.owner)
    AND (expected.trans_type = '' OR stored.trans_type = expected.trans_type)
  FOR UPDATE OF stored SKIP LOCKED
), standing AS MATERIALIZED (
  SELECT count(*) = $5::int AND clock_timestamp() < $6::timestamptz AS so FROM held
)"""
_NO_FENCE: Final = "standing AS MATERIALIZED (SELECT clock_timestamp() < $1::timestamptz AS so)"
_COMPARED: Final = 4  # of a fence's values
_IF_STANDING: Final = "(SELECT so FROM standing)"
_SHAPES_MAX: Final = 256  # of texts; a shape is which parts there are, a few dozen occur
_PARAMETER: Final = re.compile(r"\$(\d+)")


class PostgresAtOnce:
    """See coordinator.store.at_once.AtOnce.

    It does not count branches: one registered just before the row is held would be overlooked, as all of a
    statement sees what stood when it began.
    """

    counts = False

    def __init__(self, statements: PostgresStatements) -> None:
        self._statements = statements

    def built(self, fences: Sequence[Fence], gathered: Gathered, now: str, latest: datetime) -> Statement:
        """See AtOnce: the text and its parameters."""
        collected = Collected()
        if fences:
            columns = [[fence[column] for fence in fences] for column in range(_COMPARED)]
            collected.execute(_HOLD, (*columns, len(fences), latest.isoformat()))
        else:
            collected.execute(_NO_FENCE, (latest.isoformat(),))
        gathered.write(collected, self._statements, now)
        return _text(tuple(collected.statements)), tuple(collected.parameters)

    async def sent(self, connection: Any, statement: Statement) -> bool:
        """See AtOnce."""
        text, parameters = statement
        try:
            return bool(await connection.fetchval(text, *parameters))
        except asyncpg.UniqueViolationError:
            return False


@lru_cache(maxsize=_SHAPES_MAX)
def _text(texts: tuple[str, ...]) -> str:
    """One statement of these, whose parameters follow each other; each begins with its first as $1."""
    parts: list[str] = []
    before = 0
    for number, text in enumerate(texts):
        numbers = [int(found) for found in _PARAMETER.findall(text)]
        moved = _PARAMETER.sub(partial(_moved, by=before), text)
        before += max(numbers, default=0)
        if number == 0:
            parts.append(moved)
            continue
        moved = moved.replace("\nWHERE ", f"\nWHERE {_IF_STANDING} AND ", 1)
        parts.append(f"written_{number} AS ({moved})")
    return f"WITH {', '.join(parts)} SELECT {_IF_STANDING}"


def _moved(parameter: re.Match[str], *, by: int) -> str:
    return f"${int(parameter[1]) + by}"
