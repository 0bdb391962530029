"""What is to be written of a batch, gathered by statement: a handful however many transactions there are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from coordinator.light import light
from coordinator.model import Status
from coordinator.store.base import Change
from coordinator.store.own_rows import OwnWrite, write_own_rows
from coordinator.store.statements import AssignedValues, Cursor, Statements, Values

# The columns that a change may assign, in the order of AssignedValues. finish_time and rollback_time follow
# status.
ASSIGNED_COLUMNS: Final = (
    "status", "owner", "next_cron_interval", "next_cron_time", "rollback_reason", "result", "options",
    "custom_data", "ext_data",
)  # fmt: skip


@light
@dataclass(frozen=True, slots=True)
class Insertion:
    """A new transaction as it will be stored."""

    gid: str
    owner: str  # tells a repeat of this insertion from another's; "" never does
    row: Values  # see Statements
    branch_rows: tuple[Values, ...]


@light
@dataclass(frozen=True, slots=True)
class Update:
    """A change, with the values it assigns as they will be stored."""

    gid: str
    change: Change
    values: AssignedValues
    branch_rows: tuple[Values, ...] = ()  # of the branches it adds


@dataclass(slots=True)
class Gathered:
    """What is left to write once every verdict is known, gathered by statement."""

    rows: list[Values] = field(default_factory=list)
    branch_rows: list[Values] = field(default_factory=list)
    results: dict[str, list[Values]] = field(default_factory=dict)  # by branch status
    # Gids and their values, by the columns that they assign and the status.
    assignments: dict[tuple[Any, ...], list[tuple[str, AssignedValues]]] = field(default_factory=dict)
    own_rows: list[OwnWrite] = field(default_factory=list)

    def add_insertion(self, work: Insertion) -> None:
        """A new transaction."""
        self.rows.append(work.row)
        self.branch_rows.extend(work.branch_rows)

    def add_update(self, work: Update, branch_rows: Sequence[Values]) -> None:
        """A change that stands; branch_rows: those of its rows that are not stored yet."""
        self.branch_rows.extend(branch_rows)
        self.own_rows.extend(work.change.own_rows)
        for (branch_id, op), status in work.change.results:
            self.results.setdefault(status, []).append((work.gid, branch_id, op))
        if work.values:
            self.assign(work.gid, work.values)

    def assign(self, gid: str, values: AssignedValues) -> None:
        """New values for one global row."""
        kind = (values[0], *[value is None for value in values])
        self.assignments.setdefault(kind, []).append((gid, values))

    def write(self, cursor: Cursor, statements: Statements, now: str) -> None:
        """Run the statements; the global rows are locked and compared, or will be before the commit."""
        if self.rows:
            statements.insert_globals(cursor, self.rows, now)
        if self.branch_rows:
            statements.insert_branches(cursor, self.branch_rows, now)
        for status, keys in self.results.items():
            statements.record_results(cursor, status, keys, now)
        for assigned in self.assignments.values():
            values = _assignments([values for _, values in assigned], now)
            statements.update_globals(cursor, values, [gid for gid, _ in assigned], now)
        if self.own_rows:
            write_own_rows(cursor, statements, self.own_rows)


def _assignments(rows: Sequence[AssignedValues], now: str) -> dict[str, Any]:
    """The values by column: one for all rows, or a list where they differ."""
    columns = zip(ASSIGNED_COLUMNS, zip(*rows, strict=True), strict=True)
    assignments: dict[str, Any] = {
        column: values[0] if values.count(values[0]) == len(values) else list(values)
        for column, values in columns
        if values[0] is not None
    }
    match assignments.get("status"):
        case Status.SUCCEED:
            assignments["finish_time"] = now
        case Status.FAILED:
            assignments["rollback_time"] = now
    return assignments
