"""What kinds of columns there are, as each database has them."""

from typing import Any

from sqlalchemy import BigInteger, DateTime, Integer, LargeBinary, String, Text
from sqlalchemy.dialects.mysql import BLOB, DATETIME
from sqlalchemy.types import TypeEngine, UserDefinedType

from coordinator.attempt import ENDPOINT_MAX
from coordinator.store.limits import BYTES_MAX, GID_MAX


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
ID: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
TIME: TypeEngine[Any] = (
    _Time()
    .with_variant(DATETIME(), "mysql", "mariadb")
    .with_variant(Text(), "sqlite")
    .with_variant(_PostgresTime(), "postgresql")
)
BYTES: TypeEngine[Any] = (
    LargeBinary().with_variant(BLOB(BYTES_MAX), "mysql", "mariadb").with_variant(_SqliteBytes(), "sqlite")
)
# MySQL compares text without regard to case; SQLite is told to, so that a file can move there. PostgreSQL
# compares exactly.
GID = String(GID_MAX).with_variant(String(GID_MAX, collation="NOCASE"), "sqlite")
# Two names that differ in case are two coordinators, as they are in owner tokens.
NODE_NAME: TypeEngine[str] = String(64).with_variant(String(64, collation="utf8mb4_bin"), "mysql", "mariadb")
# So are two endpoints: in etcd, names of services are compared exactly.
ENDPOINT: TypeEngine[str] = String(ENDPOINT_MAX).with_variant(
    String(ENDPOINT_MAX, collation="utf8mb4_bin"), "mysql", "mariadb"
)
MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}
