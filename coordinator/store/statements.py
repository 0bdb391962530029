"""What the hot path asks of a database: every submit, branch result and end runs through these.

Each database has them in a module of its own, side by side, as they go to the driver: built with SQLAlchemy's
expressions they would cost twice the CPU of the whole write. Each is for many rows at once. Tables are
touched in the same order always, and rows in order of gid, so that two batches may wait for each other but do
not deadlock.

Times are text (see wall_clock); `now` is the second in which the batch is written.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

Values = tuple[Any, ...]
AssignedValues = tuple[Any, ...]  # as stored, None leaves a column alone; empty: nothing assigned

GLOBAL_COLUMNS: Final = (
    "id", "gid", "trans_type", "status", "query_prepared", "protocol", "options", "custom_data", "result",
    "rollback_reason", "create_time", "update_time", "finish_time", "rollback_time", "next_cron_interval",
    "next_cron_time", "owner", "ext_data",
)  # fmt: skip
BRANCH_COLUMNS: Final = (
    "id", "gid", "url", "data", "bin_data", "branch_id", "op", "status", "finish_time", "rollback_time",
    "create_time", "update_time",
)  # fmt: skip


# Whole rows; which gids follows.
SELECT_GLOBALS: Final = " ".join(("SELECT", ",".join(GLOBAL_COLUMNS), "FROM trans_global WHERE gid"))
SELECT_BRANCHES: Final = " ".join(("SELECT", ",".join(BRANCH_COLUMNS), "FROM trans_branch_op WHERE gid"))


class Wanted(NamedTuple):
    """What a batch must know of what is stored."""

    gids: Sequence[str]
    branches: Sequence[Values] = ()  # (gid, branch_id, op) of branch rows that it wants to add
    whole: Sequence[str] = ()  # gids whose rows are wanted whole


class Looked(NamedTuple):
    """What is stored of it."""

    locked: Sequence[Sequence[str]]  # (gid, status, owner, trans_type), unchangeable until the commit
    branches: Sequence[Sequence[Any]] = ()  # branch rows
    whole_globals: Sequence[Sequence[Any]] = ()  # as GLOBAL_COLUMNS; of rows not locked, too
    whole_branches: Sequence[Sequence[Any]] = ()  # as BRANCH_COLUMNS, first registered first


class Cursor(Protocol):
    """What is used of a DBAPI cursor."""

    def execute(self, statement: Any, parameters: Any = ..., /) -> object:
        """Run one statement, text or, with some drivers, bytes."""
        ...

    def executemany(self, statement: str, parameters: Any, /) -> object:
        """Run one statement for each of many tuples."""
        ...

    def fetchall(self) -> Sequence[Any]:
        """Return all rows of the last statement."""
        ...


class Statements(Protocol):
    """What one batch does, in the order in which it does it.

    A global row is (gid, trans_type, status, query_prepared, protocol, options, custom_data,
    next_cron_interval, next_cron_time, owner, ext_data), a branch row (gid, url, bin_data, branch_id, op,
    status).
    """

    def look(self, cursor: Cursor, wanted: Wanted, *, wait: bool) -> Looked:
        """Lock the global rows that exist, then read what else is wanted.

        Unless told to wait, may leave out rows that somebody else holds.
        """
        ...

    def existing(self, cursor: Cursor, gids: Sequence[str]) -> Collection[str]:
        """Return the gids that exist, without waiting for anybody; asked for those not found by the lock."""
        ...

    def insert_globals(self, cursor: Cursor, rows: Sequence[Values], now: str) -> None:
        """Insert rows; a gid that exists is an integrity error."""
        ...

    def insert_branches(self, cursor: Cursor, rows: Sequence[Values], now: str) -> None:
        """Insert branch rows; their ids follow the order given."""
        ...

    def record_results(self, cursor: Cursor, status: str, keys: Sequence[Values], now: str) -> None:
        """Give the branches (gid, branch_id, op) this status, and now as finish_time."""
        ...

    def update_globals(
        self, cursor: Cursor, values: Mapping[str, Any], gids: Sequence[str], now: str
    ) -> None:
        """Assign values, keyed by column, and now as update_time, to these rows.

        A list has a value for each row; anything else is the value of all.
        """
        ...

    def insert_own_rows(
        self, cursor: Cursor, table: str, columns: Sequence[str], rows: Sequence[Values], *, replace: bool
    ) -> None:
        """Insert rows into one of the coordinator's own tables: texts, bytes, whole numbers and None.

        replace: in the place of one with the same primary key; the columns are all that there are.
        """
        ...

    def delete_own_rows(self, cursor: Cursor, table: str, gids: Sequence[str]) -> None:
        """Delete the rows of these gids, where there are any, from one of the coordinator's own tables."""
        ...
