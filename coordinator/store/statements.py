"""What the hot path asks of a database: every submit, branch result and end runs through these.

Each database has them in a module of its own, side by side, as they go to the driver: built with SQLAlchemy's
expressions they would cost twice the CPU of the whole write. Each is for many rows at once. Tables are
touched in the same order always, and rows in order of gid, so that two batches may wait for each other but do
not deadlock.

Times are text (see wall_clock); `now` is the second in which the batch is written.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

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

    def lock_globals(self, cursor: Cursor, gids: Sequence[str], *, wait: bool) -> Sequence[Sequence[str]]:
        """Return (gid, status, owner, trans_type) of the rows that exist, unchangeable until the commit.

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

    def stored_branches(self, cursor: Cursor, keys: Sequence[Values]) -> Sequence[Sequence[Any]]:
        """Return the branch rows that exist of these (gid, branch_id, op), whose globals are locked."""
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

    def full_globals(self, cursor: Cursor, gids: Sequence[str]) -> Sequence[Sequence[Any]]:
        """Return the rows, which are locked, with the columns of GLOBAL_COLUMNS."""
        ...

    def full_branches(self, cursor: Cursor, gids: Sequence[str]) -> Sequence[Sequence[Any]]:
        """Return the branch rows of these transactions, first registered first, as BRANCH_COLUMNS."""
        ...
