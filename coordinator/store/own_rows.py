"""Rows of the coordinator's own tables (PROTOCOL §14) that travel in the commit of something else."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from coordinator.store.statements import Cursor, Statements, Values
from coordinator.store.wall_clock import WallClock


@dataclass(frozen=True, slots=True)
class OwnRow:
    """A row to write. table: its name. columns, values: in one order: texts, bytes, numbers, aware times.

    replaces: the columns are all that there are, and a row of the same primary key makes room for this one.
    must_stand: the change stands with it or not at all, also a driver's.
    """

    table: str
    columns: tuple[str, ...]
    values: Values
    replaces: bool = False
    must_stand: bool = False

    @property
    def size(self) -> int:
        """Characters and bytes, about."""
        return sum([len(value) for value in self.values if isinstance(value, (str, bytes))])


@dataclass(frozen=True, slots=True)
class OwnRowGone:
    """The rows of a table that are of this gid, to be deleted; there may be none."""

    table: str
    gid: str

    @property
    def size(self) -> int:
        """Characters, about."""
        return len(self.gid)


OwnWrite = OwnRow | OwnRowGone
OwnRowsOfCount = Callable[[int], Sequence[OwnRow]]  # how many rows were changed → what is to be added


def indispensable(writes: Sequence[OwnWrite]) -> tuple[OwnWrite, ...]:
    """Those without which their change must not stand."""
    return tuple([it for it in writes if isinstance(it, OwnRow) and it.must_stand])


def with_text_times(rows: Iterable[OwnRow], clock: WallClock) -> tuple[OwnRow, ...]:
    """The rows with times as the database takes them. clock: writes UTC."""
    return tuple(
        [
            OwnRow(
                row.table,
                row.columns,
                tuple([clock.text(it) if isinstance(it, datetime) else it for it in row.values]),
                row.replaces,
                row.must_stand,
            )
            for row in rows
        ]
    )


def written_with_text_times(writes: Iterable[OwnWrite], clock: WallClock) -> tuple[OwnWrite, ...]:
    """The same of whatever a change brings along."""
    return tuple([it if isinstance(it, OwnRowGone) else with_text_times([it], clock)[0] for it in writes])


def write_own_rows(cursor: Cursor, statements: Statements, writes: Sequence[OwnWrite]) -> None:
    """Delete and insert, many of a kind at once: no change deletes what it writes."""
    kinds: dict[tuple[str, tuple[str, ...], bool], list[Values]] = {}
    gone: dict[str, list[str]] = {}
    for it in writes:
        if isinstance(it, OwnRowGone):
            gone.setdefault(it.table, []).append(it.gid)
        else:
            kinds.setdefault((it.table, it.columns, it.replaces), []).append(it.values)
    for table, gids in gone.items():
        statements.delete_own_rows(cursor, table, gids)
    for (table, columns, replaces), values in kinds.items():
        statements.insert_own_rows(cursor, table, columns, values, replace=replaces)
