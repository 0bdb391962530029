"""The statements of the hot path for SQLite; see coordinator.store.statements.

No round trips: one prepared statement, run row by row inside the library. BEGIN IMMEDIATE has locked the
file.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from coordinator.store.statements import BRANCH_COLUMNS, GLOBAL_COLUMNS, Cursor, Values

_LOCK: Final = "SELECT gid, status, owner, trans_type FROM trans_global WHERE gid IN (%s)"
_INSERT_GLOBALS: Final = """
INSERT INTO trans_global
  (gid, trans_type, status, query_prepared, protocol, options, custom_data, next_cron_interval,
   next_cron_time, owner, ext_data, create_time, update_time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_INSERT_BRANCHES: Final = """
INSERT INTO trans_branch_op
  (gid, url, bin_data, branch_id, op, status, create_time, update_time)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_STORED_BRANCH: Final = """
SELECT gid, url, bin_data, branch_id, op, status FROM trans_branch_op
WHERE gid = ? AND branch_id = ? AND op = ?"""
_RECORD_RESULT: Final = """
UPDATE trans_branch_op
SET status = ?, finish_time = ?, update_time = ?
WHERE gid = ? AND branch_id = ? AND op = ?"""
_UPDATE_GLOBAL: Final = "UPDATE trans_global SET {assignments}update_time = ? WHERE gid = ?"

_FULL_GLOBALS: Final = "SELECT {columns} FROM trans_global WHERE gid IN ({gids})"
_FULL_BRANCHES: Final = "SELECT {columns} FROM trans_branch_op WHERE gid IN ({gids}) ORDER BY id"


class SqliteStatements:
    """For SQLite."""

    def lock_globals(self, cursor: Cursor, gids: Sequence[str], *, wait: bool) -> Sequence[Sequence[str]]:
        """See Statements. The whole file is locked already."""
        cursor.execute(_LOCK % ",".join("?" * len(gids)), gids)
        return cursor.fetchall()

    def existing(self, cursor: Cursor, gids: Sequence[str]) -> Collection[str]:
        """See Statements. The lock found all there are."""
        return ()

    def insert_globals(self, cursor: Cursor, rows: Sequence[Values], now: str) -> None:
        """See Statements."""
        cursor.executemany(_INSERT_GLOBALS, [(*row, now, now) for row in rows])

    def insert_branches(self, cursor: Cursor, rows: Sequence[Values], now: str) -> None:
        """See Statements."""
        cursor.executemany(_INSERT_BRANCHES, [(*row, now, now) for row in rows])

    def stored_branches(self, cursor: Cursor, keys: Sequence[Values]) -> Sequence[Sequence[Any]]:
        """See Statements."""
        rows: list[Sequence[Any]] = []
        for key in keys:
            cursor.execute(_STORED_BRANCH, key)
            rows += cursor.fetchall()
        return rows

    def record_results(self, cursor: Cursor, status: str, keys: Sequence[Values], now: str) -> None:
        """See Statements."""
        cursor.executemany(_RECORD_RESULT, [(status, now, now, *key) for key in keys])

    def update_globals(
        self, cursor: Cursor, values: Mapping[str, Any], gids: Sequence[str], now: str
    ) -> None:
        """See Statements."""
        statement = _UPDATE_GLOBAL.format(assignments="".join([f"{column} = ?, " for column in values]))
        columns = [value if isinstance(value, list) else [value] * len(gids) for value in values.values()]
        cursor.executemany(statement, [(*row[:-1], now, row[-1]) for row in zip(*columns, gids, strict=True)])

    def full_globals(self, cursor: Cursor, gids: Sequence[str]) -> Sequence[Sequence[Any]]:
        """See Statements."""
        places = ",".join("?" * len(gids))
        cursor.execute(_FULL_GLOBALS.format(columns=",".join(GLOBAL_COLUMNS), gids=places), gids)
        return cursor.fetchall()

    def full_branches(self, cursor: Cursor, gids: Sequence[str]) -> Sequence[Sequence[Any]]:
        """See Statements."""
        places = ",".join("?" * len(gids))
        cursor.execute(_FULL_BRANCHES.format(columns=",".join(BRANCH_COLUMNS), gids=places), gids)
        return cursor.fetchall()
