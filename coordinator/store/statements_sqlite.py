"""The statements of the hot path for SQLite; see coordinator.store.statements.

No round trips: one prepared statement, run row by row inside the library. BEGIN IMMEDIATE has locked the
file.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from coordinator.store.statements import SELECT_BRANCHES, SELECT_GLOBALS, Cursor, Looked, Values, Wanted

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
_INSERT_OWN: Final = "{verb} INTO {table} ({columns}) VALUES ({places})"
_DELETE_OWN: Final = "DELETE FROM {table} WHERE gid = ?"
_UPDATE_GLOBAL: Final = "UPDATE trans_global SET {assignments}update_time = ? WHERE gid = ?"

_WHOLE_GLOBALS: Final = f"{SELECT_GLOBALS} IN (%s)"
_WHOLE_BRANCHES: Final = f"{SELECT_BRANCHES} IN (%s) ORDER BY id"


class SqliteStatements:
    """For SQLite."""

    def look(self, cursor: Cursor, wanted: Wanted, *, wait: bool) -> Looked:
        """See Statements. The whole file is locked already."""
        locked = _read(cursor, _LOCK, wanted.gids)
        branches = [row for key in wanted.branches for row in _read(cursor, _STORED_BRANCH, key)]
        if not wanted.whole:
            return Looked(locked, branches)
        return Looked(
            locked,
            branches,
            _read(cursor, _WHOLE_GLOBALS, wanted.whole),
            _read(cursor, _WHOLE_BRANCHES, wanted.whole),
        )

    def existing(self, cursor: Cursor, gids: Sequence[str]) -> Collection[str]:
        """See Statements. The lock found all there are."""
        return ()

    def insert_globals(self, cursor: Cursor, rows: Sequence[Values], now: str) -> None:
        """See Statements."""
        cursor.executemany(_INSERT_GLOBALS, [(*row, now, now) for row in rows])

    def insert_branches(self, cursor: Cursor, rows: Sequence[Values], now: str) -> None:
        """See Statements."""
        cursor.executemany(_INSERT_BRANCHES, [(*row, now, now) for row in rows])

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

    def insert_own_rows(
        self, cursor: Cursor, table: str, columns: Sequence[str], rows: Sequence[Values], *, replace: bool
    ) -> None:
        """See Statements."""
        verb, places = "REPLACE" if replace else "INSERT", ", ".join("?" * len(columns))
        statement = _INSERT_OWN.format(verb=verb, table=table, columns=", ".join(columns), places=places)
        cursor.executemany(statement, rows)

    def delete_own_rows(self, cursor: Cursor, table: str, gids: Sequence[str]) -> None:
        """See Statements."""
        cursor.executemany(_DELETE_OWN.format(table=table), [(gid,) for gid in gids])


def _read(cursor: Cursor, statement: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
    cursor.execute(statement.replace("%s", ",".join("?" * len(values))), values)
    return cursor.fetchall()
