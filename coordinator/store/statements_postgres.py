"""The statements of the hot path for PostgreSQL; see coordinator.store.statements for what each promises.

Each is the same text every time, so that it is parsed once a connection and then costs one round trip for
however many rows: columns travel as arrays. Times are texts that the database reads as its column's type.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Final

from coordinator.store.own_tables import OwnType, own_column_type, own_key
from coordinator.store.statements import SELECT_BRANCHES, SELECT_GLOBALS, Cursor, Looked, Values, Wanted

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
WHERE TRUE
ORDER BY position"""

# Ids are drawn in the order of the result, so ORDER BY keeps the order of registration.
_INSERT_BRANCHES: Final = """
INSERT INTO trans_branch_op
  (gid, url, bin_data, branch_id, op, status, create_time, update_time)
SELECT gid, url, bin_data, branch_id, op, status, $7, $8
FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY AS new
  (gid, url, bin_data, branch_id, op, status, position)
WHERE TRUE
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

# Each column has one type in all rows; what a text means is said, since an array tells nothing of the column.
_INSERT_OWN: Final = """
INSERT INTO {table} ({columns})
SELECT {values}
FROM unnest({arrays}) WITH ORDINALITY AS new ({columns}, position)
WHERE TRUE
ORDER BY position"""
_ARRAYS: Final = {OwnType.NUMBER: "bigint", OwnType.BYTES: "bytea"}
_REPLACE_OWN: Final = """
ON CONFLICT ({key}) DO UPDATE SET {assignments}"""
_DELETE_OWN: Final = """
DELETE FROM {table}
WHERE gid = ANY($1::text[])"""

_UPDATE_EACH: Final = """
UPDATE trans_global AS stored
SET {assignments}update_time = $2
FROM unnest($1::text[], {arrays}) AS new (gid, {columns})
WHERE stored.gid = new.gid"""

# By the unique keys that begin with gid; nobody adds branches without the lock on their global row.
_WHOLE_GLOBALS: Final = f"{SELECT_GLOBALS} = ANY($1::text[])"
_WHOLE_BRANCHES: Final = f"{SELECT_BRANCHES} = ANY($1::text[]) ORDER BY id"


class PostgresStatements:
    """For PostgreSQL. time_type: of the column next_cron_time, with or without time zone."""

    def __init__(self, *, time_type: str) -> None:
        self._time_type = time_type
        self._insert_globals = _INSERT_GLOBALS.format(time_type=time_type)

    def look(self, cursor: Cursor, wanted: Wanted, *, wait: bool) -> Looked:
        """See Statements."""
        locked = _read(cursor, _LOCK if wait else _LOCK_FREE, wanted.gids)
        branches: Sequence[Sequence[Any]] = ()
        if wanted.branches:
            branches = _read(cursor, _STORED_BRANCHES, *zip(*wanted.branches, strict=True))
        if not wanted.whole:
            return Looked(locked, branches)
        return Looked(
            locked,
            branches,
            _read(cursor, _WHOLE_GLOBALS, wanted.whole),
            _read(cursor, _WHOLE_BRANCHES, wanted.whole),
        )

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

    def insert_own_rows(
        self, cursor: Cursor, table: str, columns: Sequence[str], rows: Sequence[Values], *, replace: bool
    ) -> None:
        """See Statements."""
        cursor.execute(_insert_own(table, tuple(columns), replace=replace), tuple(zip(*rows, strict=True)))

    def delete_own_rows(self, cursor: Cursor, table: str, gids: Sequence[str]) -> None:
        """See Statements."""
        cursor.execute(_DELETE_OWN.format(table=table), (gids,))

    def _cast(self, column: str) -> str:
        return f"::{self._time_type}" if column.endswith("_time") else ""


@cache
def _insert_own(table: str, columns: tuple[str, ...], *, replace: bool) -> str:
    types = [own_column_type(table, column) for column in columns]
    arrays = [f"${number}::{_ARRAYS.get(kind, 'text')}[]" for number, kind in enumerate(types, start=1)]
    values = [
        f"new.{column}{'::timestamptz' if kind is OwnType.TIME else ''}"
        for column, kind in zip(columns, types, strict=True)
    ]
    key = own_key(table) if replace else ()
    names = {"table": table, "columns": ", ".join(columns), "values": ", ".join(values)}
    statement = _INSERT_OWN.format(**names, arrays=", ".join(arrays))
    if not replace:
        return statement
    assignments = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in key)
    return statement + _REPLACE_OWN.format(key=", ".join(key), assignments=assignments)


def _read(cursor: Cursor, statement: str, *parameters: Sequence[str]) -> Sequence[Sequence[Any]]:
    cursor.execute(statement, parameters)
    return cursor.fetchall()
