"""What differs between databases, for the store over them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from coordinator.store.at_once import AtOnce
from coordinator.store.fitting import Columns
from coordinator.store.statements import Statements


@dataclass(frozen=True, slots=True)
class Database:
    """What differs between databases.

    at_once: how a batch is written without a look, where that saves a round trip.
    utc_now: a statement that asks its clock, empty for our own clock. nul_in_text: whether text may hold the
    character NUL. columns: what the columns of text keep, where that was asked. instants: whether its columns
    hold instants, whatever zone they are written in. missing_tables: of our own, those that we may not make,
    each with the SQL that does.
    """

    statements: Statements
    utc_now: str
    skip_locked: bool
    nul_in_text: bool = True
    columns: Columns = field(default_factory=dict)
    instants: bool = False
    missing_tables: Mapping[str, str] = field(default_factory=dict)
    at_once: AtOnce | None = None
