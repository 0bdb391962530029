"""What the tables of a database lack of those declared here, and the statements that add it (PROTOCOL §14).

Additive: nothing is dropped or changed but an index that an earlier attempt left half made. Online: beside
coordinators that run, each statement by itself, without keeping writers waiting while a key is made.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Dialect,
    Index,
    Inspector,
    Integer,
    String,
    Table,
    UniqueConstraint,
    inspect,
)
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from coordinator.errors import StartError
from coordinator.store.own_tables import DTM_SHARED, OWN_METADATA
from coordinator.store.shared_table import VERSION, read_tables, write_tables
from coordinator.store.tables import METADATA, TRANS_GLOBAL
from coordinator.store.wall_clock import WallClock

_MYSQL_ONLINE: Final = ", ALGORITHM=INPLACE, LOCK=NONE"
# How long a statement waits for others to let go of a table: whoever comes after it waits as long.
_PATIENCE: Final[Mapping[str, tuple[str, ...]]] = {
    "mysql": ("SET SESSION lock_wait_timeout = 5",),
    "postgresql": ("SET lock_timeout = '5s'", "SET statement_timeout = 0"),
    "sqlite": ("PRAGMA busy_timeout = 5000",),
}
# A key that is made beside writers waits for transactions that are older; nobody waits for it.
_PATIENCE_OF_KEYS: Final = ("SET lock_timeout = 0", "SET statement_timeout = 0")
_INVALID: Final = (
    "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
    " WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace"
)


@dataclass(frozen=True, slots=True)
class Step:
    """said: what it does, for people. statements: one after the other, each its own transaction."""

    said: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lacking:
    """steps: in the order in which they are done. noted: the version that the database says it is at.

    makes_all: whether there is no table of transactions yet.
    """

    steps: Sequence[Step]
    noted: int
    makes_all: bool

    @property
    def is_complete(self) -> bool:
        """Whether nothing is to be done."""
        return not self.steps and self.noted >= VERSION


def what_is_lacking(connection: Connection) -> Lacking:
    """Compare the database with what is declared. Raises StartError for what cannot be added."""
    inspector, dialect = inspect(connection), connection.dialect
    present = set(inspector.get_table_names())
    invalid = _invalid_indexes(connection)
    steps: list[Step] = []
    for table in (*METADATA.sorted_tables, *OWN_METADATA.sorted_tables):
        if table.name in present:
            steps += _columns(inspector, table, dialect)
            steps += _keys(inspector, table, dialect, invalid)
        else:
            steps.append(_whole_table(table, dialect))
    noted = read_tables(connection).version if DTM_SHARED.name in present else 0
    return Lacking(steps, noted, makes_all=TRANS_GLOBAL.name not in present)


def do_step(connection: Connection, step: Step) -> None:
    """Do it; the connection commits each statement by itself. Raises an error of the database."""
    for statement in step.statements:
        is_patient = " INDEX CONCURRENTLY " in statement
        patience = _PATIENCE_OF_KEYS if is_patient else _PATIENCE[_kind(connection.dialect)]
        for each in (*patience, statement):
            connection.exec_driver_sql(each)


def note_version(connection: Connection, now: datetime, *, offsets: bool, made: bool) -> None:
    """Note that the database is at this version. now: aware. made: whether all tables were made by us."""
    values = {"version": VERSION} | ({"made": True} if made else {})
    write_tables(connection, lambda _: now, WallClock(UTC, offsets=offsets), **values)


def _kind(dialect: Dialect) -> str:
    return "mysql" if dialect.name == "mariadb" else dialect.name


def _invalid_indexes(connection: Connection) -> frozenset[str]:
    """Those that PostgreSQL began and did not end."""
    if connection.dialect.name != "postgresql":
        return frozenset()
    return frozenset(connection.exec_driver_sql(_INVALID).scalars())


def _whole_table(table: Table, dialect: Dialect) -> Step:
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    made: list[ExecutableDDLElement] = [CreateTable(table, if_not_exists=True), *map(CreateIndex, indexes)]
    statements = tuple(" ".join(str(it.compile(dialect=dialect)).split()) for it in made)
    return Step(f"make the table {table.name}", statements)


def _columns(inspector: Inspector, table: Table, dialect: Dialect) -> Iterator[Step]:
    present = {column["name"].lower() for column in inspector.get_columns(table.name)}
    for column in table.columns:
        if column.name in present:
            continue
        if column.primary_key:
            raise StartError(
                f"table {table.name} of the store has no {column.name}, a part of its primary key",
                "that cannot be added to a table: is it another program's?",
            )
        added = f"ALTER TABLE {table.name} ADD COLUMN {_specified(column, dialect)}"
        online = _MYSQL_ONLINE if _kind(dialect) == "mysql" else ""
        yield Step(f"add the column {column.name} to {table.name}", (added + online,))


def _specified(column: Column[Any], dialect: Dialect) -> str:
    """As it stands in ADD COLUMN: one that rows which are there can have."""
    specified = f"{dialect.identifier_preparer.quote(column.name)} {column.type.compile(dialect=dialect)}"
    default: Any = getattr(column.server_default, "arg", None)
    if default is None and not column.nullable:
        default = "0" if isinstance(column.type, Integer) else "" if isinstance(column.type, String) else None
    if default is None:
        return specified
    not_null = "" if column.nullable else "NOT NULL "
    value = default if isinstance(column.type, Integer) else f"'{default}'"
    return f"{specified} {not_null}DEFAULT {value}"


def _keys(inspector: Inspector, table: Table, dialect: Dialect, invalid: frozenset[str]) -> Iterator[Step]:
    # SQLite keeps a unique constraint as an index that it hides unless asked for.
    found = inspector.get_indexes(table.name, include_auto_indexes=True)
    keys = [
        ([str(name).lower() for name in key["column_names"]], bool(key["unique"]))
        for key in found
        if key["name"] not in invalid
    ]
    for wanted in [*table.constraints, *sorted(table.indexes, key=lambda index: str(index.name))]:
        if not isinstance(wanted, UniqueConstraint | Index):
            continue
        columns, unique = [column.name for column in wanted.columns], isinstance(wanted, UniqueConstraint)
        if any(_serves(key, columns, unique=unique, is_unique=is_unique) for key, is_unique in keys):
            continue
        kind = "unique key" if unique else "key"
        said = f"make the {kind} {wanted.name} on {table.name} ({', '.join(columns)})"
        yield Step(said, tuple(_made(str(wanted.name), table.name, columns, unique, dialect, invalid)))


def _serves(key: Sequence[str], columns: Sequence[str], *, unique: bool, is_unique: bool) -> bool:
    if unique:
        return is_unique and set(key) == set(columns)
    return list(key[: len(columns)]) == list(columns)


def _made(
    name: str, table: str, columns: Sequence[str], unique: bool, dialect: Dialect, invalid: frozenset[str]
) -> Iterator[str]:
    word, on = "UNIQUE " if unique else "", f"({', '.join(columns)})"
    match _kind(dialect):
        case "mysql":
            yield f"ALTER TABLE {table} ADD {word}KEY {name} {on}{_MYSQL_ONLINE}"
        case "postgresql":
            if name in invalid:
                yield f"DROP INDEX CONCURRENTLY {name}"
            yield f"CREATE {word}INDEX CONCURRENTLY {name} ON {table} {on}"
        case _:
            yield f"CREATE {word}INDEX {name} ON {table} {on}"
