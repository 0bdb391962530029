"""The tables, declared once (PROTOCOL §14): made when absent, looked over at start, never altered.

`sql/coordinator.*.sql` say the same for those who make their tables by hand; a test compares the two. An
existing database of another coordinator works as it is.
"""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Dialect,
    Index,
    Inspector,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
)
from sqlalchemy.dialects.mysql import BLOB, DATETIME
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import TypeEngine, UserDefinedType

from coordinator.errors import StartError
from coordinator.store.limits import BYTES_MAX, GID_MAX, NAME_MAX, TEXT_MAX

METADATA = MetaData()
_SQL_FILES: Final = {"mysql": "mysql", "mariadb": "mysql", "postgresql": "postgres", "sqlite": "sqlite"}


class _Time(DateTime):
    """A time, also where it is compared with a text: a wall clock's."""

    cache_ok = True

    def coerce_compared_value(self, op: object, value: object) -> TypeEngine[Any]:
        """The type of what is compared with the column."""
        return self


class _PostgresTime(UserDefinedType[str]):
    """Whole seconds of an instant, exchanged as text; parameters take the type that the column really has."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """As it stands in CREATE TABLE."""
        return "TIMESTAMP(0) WITH TIME ZONE"


class _SqliteBytes(UserDefinedType[Any]):
    """Bytes, or whatever else another program put there: a SQLite column takes values of any kind."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """As it stands in CREATE TABLE."""
        return "BLOB"


# SQLite numbers rows by itself only in a column that is exactly INTEGER, and has text for times.
_ID: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
_TIME: TypeEngine[Any] = (
    _Time()
    .with_variant(DATETIME(), "mysql", "mariadb")
    .with_variant(Text(), "sqlite")
    .with_variant(_PostgresTime(), "postgresql")
)
_BYTES: TypeEngine[Any] = (
    LargeBinary().with_variant(BLOB(BYTES_MAX), "mysql", "mariadb").with_variant(_SqliteBytes(), "sqlite")
)
# MySQL compares text without regard to case; SQLite is told to, so that a file can move there. PostgreSQL
# compares exactly.
_GID = String(GID_MAX).with_variant(String(GID_MAX, collation="NOCASE"), "sqlite")
# Two names that differ in case are two coordinators, as they are in owner tokens.
_NODE_NAME: TypeEngine[str] = String(64).with_variant(String(64, collation="utf8mb4_bin"), "mysql", "mariadb")
_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}

TRANS_GLOBAL = Table(
    "trans_global",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("gid", _GID, nullable=False),
    Column("trans_type", String(NAME_MAX), nullable=False),
    Column("status", String(12), nullable=False),
    Column("query_prepared", String(TEXT_MAX), nullable=False),
    Column("protocol", String(NAME_MAX), nullable=False),
    Column("create_time", _TIME),
    Column("update_time", _TIME),
    Column("finish_time", _TIME),
    Column("rollback_time", _TIME),
    Column("options", String(TEXT_MAX), server_default=""),
    Column("custom_data", String(TEXT_MAX), server_default=""),
    Column("next_cron_interval", Integer),
    Column("next_cron_time", _TIME),
    Column("owner", String(GID_MAX), nullable=False, server_default=""),
    Column("ext_data", Text),
    Column("result", String(TEXT_MAX), server_default=""),
    Column("rollback_reason", String(TEXT_MAX), server_default=""),
    UniqueConstraint("gid", name="trans_global_gid"),
    Index("trans_global_owner", "owner"),
    Index("trans_global_status_next_cron_time", "status", "next_cron_time"),
    **_MYSQL,
)

TRANS_BRANCH_OP = Table(
    "trans_branch_op",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("gid", _GID, nullable=False),
    Column("url", String(TEXT_MAX), nullable=False),
    Column("data", Text),  # payload as text: written by older coordinators, only read here
    Column("bin_data", _BYTES),
    Column("branch_id", String(GID_MAX), nullable=False),
    Column("op", String(NAME_MAX), nullable=False),
    Column("status", String(NAME_MAX), nullable=False),
    Column("finish_time", _TIME),
    Column("rollback_time", _TIME),
    Column("create_time", _TIME),
    Column("update_time", _TIME),
    UniqueConstraint("gid", "branch_id", "op", name="trans_branch_op_gid_branch_id_op"),
    **_MYSQL,
)

KV = Table(
    "kv",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("cat", String(NAME_MAX), nullable=False),
    Column("k", String(GID_MAX), nullable=False),
    Column("v", Text),
    Column("version", BigInteger, server_default="0"),
    Column("create_time", _TIME),
    Column("update_time", _TIME),
    UniqueConstraint("cat", "k", name="kv_cat_k"),
    **_MYSQL,
)

# Tables of our own stand apart: where the user may not make them, all else works (PROTOCOL §14).
OWN_METADATA = MetaData()

DTM_NODE = Table(
    "dtm_node",
    OWN_METADATA,
    Column("name", _NODE_NAME, primary_key=True),
    Column("token", String(NAME_MAX), nullable=False),
    Column("address", String(TEXT_MAX), nullable=False),
    Column("version", String(NAME_MAX), nullable=False),
    Column("settings", String(TEXT_MAX), nullable=False),
    Column("started", _TIME, nullable=False),
    Column("last_seen", _TIME, nullable=False),
    **_MYSQL,
)


def make_tables(connection: Connection, *, reset: bool = False) -> None:
    """Make the tables that are absent; with reset, drop the coordinator's first, and what they hold."""
    if reset:
        OWN_METADATA.drop_all(connection)
        METADATA.drop_all(connection)
    METADATA.create_all(connection)


def make_own_tables(connection: Connection) -> None:
    """Make those of our own that are absent. Raises StartError when one of them lacks columns or keys."""
    OWN_METADATA.create_all(connection)
    _check_tables(connection, OWN_METADATA)


def own_tables_sql(dialect: Dialect) -> str:
    """The statements that make the tables of our own, for somebody who may."""
    return "\n".join(
        " ".join(str(CreateTable(table).compile(dialect=dialect)).split()) + ";"
        for table in OWN_METADATA.sorted_tables
    )


def check_tables(connection: Connection) -> None:
    """Raise StartError, naming every column and unique key that the tables of the database lack."""
    _check_tables(connection, METADATA)


def _check_tables(connection: Connection, metadata: MetaData) -> None:
    inspector = inspect(connection)
    lacking = [problem for table in metadata.sorted_tables for problem in _lacking(inspector, table)]
    if lacking:
        raise StartError(
            "; ".join(lacking),
            "tables are made when absent but never altered: add "
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
