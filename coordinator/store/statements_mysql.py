"""The statements of the hot path for MySQL, MariaDB and TiDB; see coordinator.store.statements.

Many rows are one statement, because each statement is a round trip. Values are written into the text here:
the driver's way, a placeholder for each, was a quarter of the CPU of a saga.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from coordinator.model import BranchKey
from coordinator.store.statements import SELECT_BRANCHES, SELECT_GLOBALS, Cursor, Looked, Values, Wanted


def text_literal(value: str) -> str:
    """Return the value as it stands in a statement.

    Whatever could end or bend a quoted string is written in hexadecimal digits, so that no setting of the
    session decides what is text and what is statement.
    """
    if "'" in value or "\\" in value:
        return f"_utf8mb4 x'{value.encode().hex()}'"
    return f"'{value}'"


def bytes_literal(value: bytes) -> str:
    """Return the value as it stands in a statement."""
    return f"x'{value.hex()}'"


def text_list(values: Sequence[str]) -> str:
    """Return the values as they stand between parentheses."""
    return ",".join([text_literal(value) for value in values])


# Locks the rows but no gaps (READ COMMITTED), by the unique key on gid. A gid that is not there is not
# returned; nor, with SKIP LOCKED, one that somebody else holds: a whole batch must not wait for that.
_LOCK: Final = (
    "SELECT gid, status, owner, trans_type FROM trans_global WHERE gid IN ({gids}) FOR UPDATE{skip_locked}"
)

# Rare: for changes whose gid the lock did not find.
_EXISTING: Final = "SELECT gid FROM trans_global WHERE gid IN ({gids})"

# Plain INSERT. Should another coordinator be inserting the same gid, this waits for its commit and fails
# (1062); the batch is then run again and finds the row. INSERT IGNORE would cut values silently.
_INSERT_GLOBALS: Final = """
INSERT INTO trans_global
  (gid, trans_type, status, query_prepared, protocol, options, custom_data, next_cron_interval,
   next_cron_time, owner, ext_data, create_time, update_time)
VALUES {rows}"""
_INSERT_BRANCHES: Final = """
INSERT INTO trans_branch_op
  (gid, url, bin_data, branch_id, op, status, create_time, update_time)
VALUES {rows}"""

# By the unique key; a plain read, since nobody adds branches without the lock on their global row.
_STORED_BRANCHES: Final = """
SELECT gid, url, bin_data, branch_id, op, status FROM trans_branch_op
WHERE {branches}"""

# A range on the unique key (gid, branch_id, op) that touches exactly the rows meant (EXPLAIN on MariaDB
# 10.11: type range, all three columns, as many rows as keys). UPDATE, not an upsert: that takes an id from
# the sequence for every row.
_RECORD_RESULTS: Final = """
UPDATE trans_branch_op
SET status = '{status}', finish_time = '{now}', update_time = '{now}'
WHERE {branches}"""
_BRANCH: Final = "(branch_id = {branch_id} AND op = {op} AND gid IN ({gids}))"

# REPLACE, since servers do not agree on how an upsert names the new values; the primary key is the only one.
_INSERT_OWN: Final = "{verb} INTO {table} ({columns}) VALUES {rows}"
_DELETE_OWN: Final = "DELETE FROM {table} WHERE gid IN ({gids})"

# By the unique key on gid; the rows are locked by then and were compared.
_UPDATE_GLOBALS: Final = """
UPDATE trans_global
SET {assignments}update_time = '{now}'
WHERE gid IN ({gids})"""

# By the unique keys that begin with gid; nobody adds branches without the lock on their global row.
_WHOLE_GLOBALS: Final = f"{SELECT_GLOBALS} IN ({{gids}})"
_WHOLE_BRANCHES: Final = f"{SELECT_BRANCHES} IN ({{gids}}) ORDER BY id"

# One statement stays below 4 MiB, the smallest usual max_allowed_packet, although bytes become two digits
# each.
_ROWS_MAX: Final = 256
_ASSIGNED_MAX: Final = 64  # rows with values of their own, each found by comparing gids
_KEYS_MAX: Final = 1024  # of branches
_BYTES_MAX: Final = 524_288  # of payloads or ext_data


class MySQLStatements:
    """For MySQL and what speaks its protocol.

    skip_locked: the database knows SKIP LOCKED. packets: it takes several statements in a packet.
    """

    def __init__(self, *, skip_locked: bool, packets: bool) -> None:
        self._skip_locked = " SKIP LOCKED" if skip_locked else ""
        self._packets = packets

    def look(self, cursor: Cursor, wanted: Wanted, *, wait: bool) -> Looked:
        """See Statements."""
        skip_locked = "" if wait else self._skip_locked
        statements = {"locked": _LOCK.format(gids=text_list(wanted.gids), skip_locked=skip_locked)}
        if wanted.branches:
            statements["branches"] = _STORED_BRANCHES.format(branches=_these_branches(wanted.branches))
        if wanted.whole:
            gids = text_list(wanted.whole)
            statements["whole_globals"] = _WHOLE_GLOBALS.format(gids=gids)
            statements["whole_branches"] = _WHOLE_BRANCHES.format(gids=gids)
        read = _read_together if self._packets else _read_each
        return Looked(**dict(zip(statements, read(cursor, list(statements.values())), strict=True)))

    def existing(self, cursor: Cursor, gids: Sequence[str]) -> Collection[str]:
        """See Statements."""
        if not self._skip_locked:
            return ()  # the lock waited for all there are
        _run(cursor, _EXISTING.format(gids=text_list(gids)))
        return [row[0] for row in cursor.fetchall()]

    def insert_globals(self, cursor: Cursor, rows: Sequence[Values], now: str) -> None:
        """See Statements."""
        for chunk in _chunks(rows, heavy=10):
            values = [
                f"({text_list(row[:7])},{row[7]},{text_list(row[8:])},'{now}','{now}')"  # 7: the interval
                for row in chunk
            ]
            _run(cursor, _INSERT_GLOBALS.format(rows=",".join(values)))

    def insert_branches(self, cursor: Cursor, rows: Sequence[Values], now: str) -> None:
        """See Statements."""
        for chunk in _chunks(rows, heavy=2):
            values = [
                f"({text_literal(gid)},{text_literal(url)},{bytes_literal(payload)},{text_literal(branch_id)},"
                f"{text_literal(op)},'{status}','{now}','{now}')"
                for gid, url, payload, branch_id, op, status in chunk
            ]
            _run(cursor, _INSERT_BRANCHES.format(rows=",".join(values)))

    def record_results(self, cursor: Cursor, status: str, keys: Sequence[Values], now: str) -> None:
        """See Statements."""
        for start in range(0, len(keys), _KEYS_MAX):
            branches = _these_branches(keys[start : start + _KEYS_MAX])
            _run(cursor, _RECORD_RESULTS.format(status=status, now=now, branches=branches))

    def update_globals(
        self, cursor: Cursor, values: Mapping[str, Any], gids: Sequence[str], now: str
    ) -> None:
        """See Statements."""
        for start in range(0, len(gids), _ASSIGNED_MAX):
            some = slice(start, start + _ASSIGNED_MAX)
            assignments = []
            for column, value in values.items():
                own = _cases(gids[some], value[some]) if isinstance(value, list) else _literal(value)
                assignments.append(f"{column} = {own}, ")
            _run(
                cursor,
                _UPDATE_GLOBALS.format(assignments="".join(assignments), now=now, gids=text_list(gids[some])),
            )

    def insert_own_rows(
        self, cursor: Cursor, table: str, columns: Sequence[str], rows: Sequence[Values], *, replace: bool
    ) -> None:
        """See Statements."""
        verb = "REPLACE" if replace else "INSERT"
        for start in range(0, len(rows), _ROWS_MAX):
            values = ",".join(
                [f"({','.join(map(_nullable, row))})" for row in rows[start : start + _ROWS_MAX]]
            )
            _run(cursor, _INSERT_OWN.format(verb=verb, table=table, columns=",".join(columns), rows=values))

    def delete_own_rows(self, cursor: Cursor, table: str, gids: Sequence[str]) -> None:
        """See Statements."""
        _run(cursor, _DELETE_OWN.format(table=table, gids=text_list(gids)))


def _these_branches(keys: Sequence[Values]) -> str:
    gids_of: defaultdict[BranchKey, list[str]] = defaultdict(list)
    for gid, branch_id, op in keys:
        gids_of[branch_id, op].append(gid)
    branches = [
        _BRANCH.format(branch_id=text_literal(branch_id), op=text_literal(op), gids=text_list(gids))
        for (branch_id, op), gids in gids_of.items()
    ]
    return " OR ".join(branches)


def _literal(value: str | int) -> str:
    return text_literal(value) if isinstance(value, str) else str(int(value))


def _nullable(value: str | bytes | int | None) -> str:
    if isinstance(value, bytes):
        return bytes_literal(value)
    return "NULL" if value is None else _literal(value)


def _cases(gids: Sequence[str], values: Sequence[str | int]) -> str:
    cases = zip(gids, values, strict=True)
    return "CASE gid" + "".join([f" WHEN {text_literal(g)} THEN {_literal(v)}" for g, v in cases]) + " END"


def _read_each(cursor: Cursor, statements: Sequence[str]) -> Iterator[Sequence[Sequence[Any]]]:
    for statement in statements:
        _run(cursor, statement)
        yield cursor.fetchall()


def _read_together(cursor: Any, statements: Sequence[str]) -> Iterator[Sequence[Sequence[Any]]]:
    """In one round trip. cursor: one that goes on to the next result, as every driver's of MySQL does."""
    _run(cursor, ";".join(statements))
    yield cursor.fetchall()
    for _ in statements[1:]:
        cursor.nextset()
        yield cursor.fetchall()


def _run(cursor: Cursor, statement: str) -> None:
    # As bytes: the driver would let text that is not Unicode pass in a way of its own.
    cursor.execute(statement.encode())


def _chunks(rows: Sequence[Values], heavy: int) -> Iterator[Sequence[Values]]:
    """Cut rows into statements of bounded size; heavy: index of the column that may be long."""
    if len(rows) <= _ROWS_MAX and sum([len(row[heavy]) for row in rows]) <= _BYTES_MAX:
        yield rows
        return
    chunk: list[Values] = []
    length = 0
    for row in rows:
        length += len(row[heavy])
        if chunk and (len(chunk) >= _ROWS_MAX or length > _BYTES_MAX):
            yield chunk
            chunk, length = [], len(row[heavy])
        chunk.append(row)
    yield chunk
