"""What differs between databases, for the store over them."""

from dataclasses import dataclass, field

from coordinator.store.fitting import Columns
from coordinator.store.statements import Statements


@dataclass(frozen=True, slots=True)
class Database:
    """What differs between databases.

    utc_now: a statement that asks its clock, empty for our own clock. nul_in_text: whether text may hold the
    character NUL. columns: what the columns of text keep, where that was asked. instants: whether its columns
    hold instants, whatever zone they are written in. missing_tables: SQL that makes those of our own that we
    may not make; empty when all are there.
    """

    statements: Statements
    utc_now: str
    skip_locked: bool
    nul_in_text: bool = True
    columns: Columns = field(default_factory=dict)
    instants: bool = False
    missing_tables: str = ""
