"""The statements of the hot path for PostgreSQL; see coordinator.store.statements for what each promises.

Each is the same text every time, so that it is parsed once a connection and then costs one round trip for
however many rows: columns travel as arrays. Times are texts that the database reads as its column's type.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from coordinator.store.statements import BRANCH_COLUMNS, GLOBAL_COLUMNS, Cursor, Values

# By the unique key on gid. With SKIP LOCKED a gid that somebody else holds is not returned, nor waited for.
_LOCK: Final = (
    "SELECT gid, status, owner, trans_type FROM trans_global WHERE gid = ANY($1::text[]) FOR UPDATE"
)
_LOCK_FREE: Final = f"{_LOCK} SKIP LOCKED"

# Rare: for changes whose gid the lock did not find.
_EXISTING: Final = "SELECT gid FROM trans_global WHERE gid = ANY($1::text[])"

# Plain INSERT. Should another coordinator be inserting the same gid, this waits for its commit and fails
# (23505); the batch is then run again and finds the row.
_INSERT_GLOBALS: Final = """
INSERT INTO trans_global
  (gid, trans_type, status, query_prepared, protocol, options, custom_data, next_cron_interval,
   next_cron_time, owner, ext_data, create_time, update_time)
SELECT gid, trans_type, status, query_prepared, protocol, options, custom_data, next_cron_interval,
  next_cron_time::{time_type}, owner, ext_data, $12, $13
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[],
  $9::text[], $10::text[], $11::text[]) WITH ORDINALITY AS new
  (gid, trans_type, status, query_prepared, protocol, options, custom_data, next_cron_interval,
   next_cron_time, owner, ext_data, position)
ORDER BY position"""

# Ids are drawn in the order of the result, so ORDER BY keeps the order of registration.
_INSERT_BRANCHES: Final = """
INSERT INTO trans_branch_op
  (gid, url, bin_data, branch_id, op, status, create_time, update_time)
SELECT gid, url, bin_data, branch_id, op, status, $7, $8
FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY AS new
  (gid, url, bin_data, branch_id, op, status, position)
ORDER BY position"""

# By the unique key; a plain read, since nobody adds branches without the lock on their global row.
_STORED_BRANCHES: Final = """
SELECT branch.gid, branch.url, branch.bin_data, branch.branch_id, branch.op, branch.status
FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (gid, branch_id, op)
JOIN trans_branch_op AS branch
  ON branch.gid = asked.gid AND branch.branch_id = asked.branch_id AND branch.op = asked.op"""

# By the unique key (gid, branch_id, op), row by row.
_RECORD_RESULTS: Final = """
UPDATE trans_branch_op AS branch
SET status = $1, finish_time = $2, update_time = $3
FROM unnest($4::text[], $5::text[], $6::text[]) AS result (gid, branch_id, op)
WHERE branch.gid = result.gid AND branch.branch_id = result.branch_id AND branch.op = result.op"""

# By the unique key on gid; the rows are locked by then and were compared.
_UPDATE_GLOBALS: Final = """
UPDATE trans_global
SET {assignments}update_time = $2
WHERE gid = ANY($1::text[])"""

_UPDATE_EACH: Final = """
UPDATE trans_global AS stored
SET {assignments}update_time = $2
FROM unnest($1::text[], {arrays}) AS new (gid, {columns})
WHERE stored.gid = new.gid"""

# By the unique keys that begin with gid; nobody adds branches without the lock on their global row.
_FULL_GLOBALS: Final = "SELECT {columns} FROM trans_global WHERE gid = ANY($1::text[])"
_FULL_BRANCHES: Final = "SELECT {columns} FROM trans_branch_op WHERE gid = ANY($1::text[]) ORDER BY id"


class PostgresStatements:
    """For PostgreSQL. time_type: of the column next_cron_time, with or without time zone."""

    def __init__(self, *, time_type: str) -> None:
        self._time_type = time_type
        self._insert_globals = _INSERT_GLOBALS.format(time_type=time_type)

    def lock_globals(self, cursor: Cursor, gids: Sequence[str], *, wait: bool) -> Sequence[Sequence[str]]:
        """See Statements."""
        cursor.execute(_LOCK if wait else _LOCK_FREE, (gids,))
        return cursor.fetchall()

    def existing(self, cursor: Cursor, gids: Sequence[str]) -> Collection[str]:
        """See Statements."""
        cursor.execute(_EXISTING, (gids,))
        return [row[0] for row in cursor.fetchall()]

    def insert_globals(self, cursor: Cursor, rows: Sequence[Values], now: str) -> None:
        """See Statements."""
        cursor.execute(self._insert_globals, (*zip(*rows, strict=True), now, now))

    def insert_branches(self, cursor: Cursor, rows: Sequence[Values], now: str) -> None:
        """See Statements."""
        cursor.execute(_INSERT_BRANCHES, (*zip(*rows, strict=True), now, now))

    def stored_branches(self, cursor: Cursor, keys: Sequence[Values]) -> Sequence[Sequence[Any]]:
        """See Statements."""
        cursor.execute(_STORED_BRANCHES, tuple(zip(*keys, strict=True)))
        return cursor.fetchall()

    def record_results(self, cursor: Cursor, status: str, keys: Sequence[Values], now: str) -> None:
        """See Statements."""
        cursor.execute(_RECORD_RESULTS, (status, now, now, *zip(*keys, strict=True)))

    def update_globals(
        self, cursor: Cursor, values: Mapping[str, Any], gids: Sequence[str], now: str
    ) -> None:
        """See Statements."""
        own = {column: value for column, value in values.items() if isinstance(value, list)}
        assignments, parameters = [], [gids, now]
        for column, value in values.items():
            parameters.append(value)
            mine = f"new.{column}{self._cast(column)}" if column in own else f"${len(parameters)}"
            assignments.append(f"{column} = {mine}, ")
        if not own:
            cursor.execute(_UPDATE_GLOBALS.format(assignments="".join(assignments)), tuple(parameters))
            return
        arrays = [
            f"${number}::{'int' if column == 'next_cron_interval' else 'text'}[]"
            for number, column in enumerate(values, start=3)
            if column in own
        ]
        statement = _UPDATE_EACH.format(
            assignments="".join(assignments), arrays=", ".join(arrays), columns=", ".join(own)
        )
        cursor.execute(statement, tuple(parameters))

    def full_globals(self, cursor: Cursor, gids: Sequence[str]) -> Sequence[Sequence[Any]]:
        """See Statements."""
        cursor.execute(_FULL_GLOBALS.format(columns=",".join(GLOBAL_COLUMNS)), (gids,))
        return cursor.fetchall()

    def full_branches(self, cursor: Cursor, gids: Sequence[str]) -> Sequence[Sequence[Any]]:
        """See Statements."""
        cursor.execute(_FULL_BRANCHES.format(columns=",".join(BRANCH_COLUMNS)), (gids,))
        return cursor.fetchall()

    def _cast(self, column: str) -> str:
        return f"::{self._time_type}" if column.endswith("_time") else ""
