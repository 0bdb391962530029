"""The tables, declared once (PROTOCOL §14): made when absent, looked over at start, never altered.

`sql/coordinator.*.sql` say the same for those who make their tables by hand; a test compares the two. An
existing database of another coordinator works as it is.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    Index,
    Inspector,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    insert,
    inspect,
)
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from coordinator.errors import StartError
from coordinator.store.column_types import BYTES, GID, ID, MYSQL, TIME
from coordinator.store.limits import GID_MAX, NAME_MAX, TEXT_MAX
from coordinator.store.own_rows import OwnRow
from coordinator.store.own_tables import OWN_METADATA

METADATA = MetaData()
_SQL_FILES: Final = {"mysql": "mysql", "mariadb": "mysql", "postgresql": "postgres", "sqlite": "sqlite"}

TRANS_GLOBAL = Table(
    "trans_global",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("gid", GID, nullable=False),
    Column("trans_type", String(NAME_MAX), nullable=False),
    Column("status", String(12), nullable=False),
    Column("query_prepared", String(TEXT_MAX), nullable=False),
    Column("protocol", String(NAME_MAX), nullable=False),
    Column("create_time", TIME),
    Column("update_time", TIME),
    Column("finish_time", TIME),
    Column("rollback_time", TIME),
    Column("options", String(TEXT_MAX), server_default=""),
    Column("custom_data", String(TEXT_MAX), server_default=""),
    Column("next_cron_interval", Integer),
    Column("next_cron_time", TIME),
    Column("owner", String(GID_MAX), nullable=False, server_default=""),
    Column("ext_data", Text),
    Column("result", String(TEXT_MAX), server_default=""),
    Column("rollback_reason", String(TEXT_MAX), server_default=""),
    UniqueConstraint("gid", name="trans_global_gid"),
    Index("trans_global_owner", "owner"),
    Index("trans_global_status_next_cron_time", "status", "next_cron_time"),
    **MYSQL,
)

TRANS_BRANCH_OP = Table(
    "trans_branch_op",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("gid", GID, nullable=False),
    Column("url", String(TEXT_MAX), nullable=False),
    Column("data", Text),  # payload as text: written by older coordinators, only read here
    Column("bin_data", BYTES),
    Column("branch_id", String(GID_MAX), nullable=False),
    Column("op", String(NAME_MAX), nullable=False),
    Column("status", String(NAME_MAX), nullable=False),
    Column("finish_time", TIME),
    Column("rollback_time", TIME),
    Column("create_time", TIME),
    Column("update_time", TIME),
    UniqueConstraint("gid", "branch_id", "op", name="trans_branch_op_gid_branch_id_op"),
    **MYSQL,
)

KV = Table(
    "kv",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("cat", String(NAME_MAX), nullable=False),
    Column("k", String(GID_MAX), nullable=False),
    Column("v", Text),
    Column("version", BigInteger, server_default="0"),
    Column("create_time", TIME),
    Column("update_time", TIME),
    UniqueConstraint("cat", "k", name="kv_cat_k"),
    **MYSQL,
)


def make_tables(connection: Connection, *, reset: bool = False) -> bool:
    """Make the tables that are absent; with reset, drop the coordinator's first, and what they hold.

    Returns whether there was none for transactions.
    """
    if reset:
        OWN_METADATA.drop_all(connection)
        METADATA.drop_all(connection)
    were_absent = not inspect(connection).has_table(TRANS_GLOBAL.name)
    METADATA.create_all(connection)
    return were_absent


def make_own_table(connection: Connection, table: Table) -> None:
    """Make one of our own if it is absent. Raises StartError when it lacks columns or keys."""
    table.create(connection, checkfirst=True)
    _check(connection, [table])


def own_table_sql(table: Table, dialect: Dialect) -> str:
    """The statements that make one of our own, for somebody who may."""
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    statements: list[ExecutableDDLElement] = [CreateTable(table), *map(CreateIndex, indexes)]
    return " ".join(" ".join(str(it.compile(dialect=dialect)).split()) + ";" for it in statements)


def how_to_make(sql: str) -> str:
    """What to do where a table of our own is missing, behind `run`. sql: what makes it."""
    return f"`dtm migrate` as a user who may make tables, or: {sql}"


def add_own_rows(connection: Connection, rows: Iterable[OwnRow]) -> None:
    """Insert rows of our own beside the hot path."""
    for row in rows:
        values: dict[str, Any] = dict(zip(row.columns, row.values, strict=True))
        connection.execute(insert(OWN_METADATA.tables[row.table]).values(values))


def check_tables(connection: Connection) -> None:
    """Raise StartError, naming every column and unique key that the tables of the database lack."""
    _check(connection, METADATA.sorted_tables)


def _check(connection: Connection, tables: Iterable[Table]) -> None:
    inspector = inspect(connection)
    lacking = [problem for table in tables for problem in _lacking(inspector, table)]
    if lacking:
        raise StartError(
            "; ".join(lacking),
            "tables are made when absent but never altered by a start: run `dtm migrate`, or add "
            + ("it" if len(lacking) == 1 else "all of it")
            + f" as in sql/coordinator.{_SQL_FILES[connection.dialect.name]}.sql",
        )


def _lacking(inspector: Inspector, table: Table) -> Iterator[str]:
    present = {column["name"].lower() for column in inspector.get_columns(table.name)}
    missing = [column.name for column in table.columns if column.name not in present]
    if missing:
        yield f"table {table.name} of the store has no column {', '.join(missing)}"
    # Two submits of one gid are told apart by this key alone.
    # SQLite keeps a unique constraint as an index that it hides unless asked for.
    indexes = inspector.get_indexes(table.name, include_auto_indexes=True)
    keys = [index["column_names"] for index in indexes if index["unique"]]
    unique = {frozenset([column.lower() for column in key if column]) for key in keys}
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            wanted = [column.name for column in constraint.columns]
            if frozenset(wanted) not in unique:
                yield f"table {table.name} of the store has no unique key on ({', '.join(wanted)})"
