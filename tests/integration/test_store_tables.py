"""Tables: what the coordinator makes, what sql/ says, and what is missed in a database made by others."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest

from coordinator.clock import SystemClock
from coordinator.errors import StartError
from coordinator.store.open import StoreConfig, open_store
from tests.support.servers import Database, MariaDBServer
from tests.support.store_config import config_of

SQL = Path(__file__).resolve().parents[2] / "sql"
TABLES = (
    "trans_global",
    "trans_branch_op",
    "kv",
    "dtm_node",
    "dtm_token",
    "dtm_user",
    "dtm_session",
    "dtm_audit",
    "dtm_attempt",
    "dtm_stuck",
    "dtm_bulk",
    "dtm_bulk_item",
    "dtm_bulk_result",
    "dtm_shared",
    "dtm_hold",
    "dtm_result",
)


async def open_and_close(config: StoreConfig) -> None:
    store = await open_store(config, clock=SystemClock(), zone=None, wait_seconds=5.0)
    await store.close()


def mysql(database: Database) -> StoreConfig:
    return StoreConfig(
        driver="mysql", host=database.host, port=database.port, database=database.name, user=database.user
    )


def columns_and_keys(database: Database) -> Iterable[tuple[object, ...]]:
    columns = database.execute(
        "SELECT table_name, column_name, column_type, is_nullable, column_default, extra, collation_name"
        " FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY table_name, column_name"
    )
    keys = database.execute(
        "SELECT table_name, index_name, seq_in_index, column_name, non_unique"
        " FROM information_schema.statistics WHERE table_schema = DATABASE() ORDER BY 1, 2, 3"
    )
    return [*columns, *keys]


async def test_the_mysql_file_says_what_the_coordinator_makes(mariadb: MariaDBServer) -> None:
    by_hand = mariadb.create_database(schema=SQL / "coordinator.mysql.sql")
    made = mariadb.create_database()
    await open_and_close(mysql(made))
    assert columns_and_keys(made) == columns_and_keys(by_hand)
    await open_and_close(mysql(by_hand))


async def test_the_sqlite_file_says_what_the_coordinator_makes(tmp_path: Path) -> None:
    by_hand, made = tmp_path / "by_hand.db", tmp_path / "made.db"
    sqlite3.connect(by_hand).executescript((SQL / "coordinator.sqlite.sql").read_text(encoding="utf-8"))
    await open_and_close(StoreConfig(path=str(made)))

    def shape(path: Path) -> list[object]:
        connection = sqlite3.connect(path)
        found: list[object] = []
        for table in TABLES:
            found += [row[1:] for row in connection.execute(f"PRAGMA table_info({table})")]
            for index in sorted(
                connection.execute(f"PRAGMA index_list({table})"), key=lambda row: str(row[1])
            ):
                found.append((table, index[2], list(connection.execute(f"PRAGMA index_xinfo({index[1]})"))))
        return found

    assert shape(made) == shape(by_hand)
    await open_and_close(StoreConfig(path=str(by_hand)))


async def test_tables_are_made_where_the_database_is_absent(mariadb: MariaDBServer) -> None:
    database = mariadb.database("made_at_start")
    await open_and_close(mysql(database))
    assert {row[0] for row in database.execute("SHOW TABLES")} == set(TABLES)
    database.execute("DROP DATABASE made_at_start")


async def test_a_table_of_another_program_is_left_alone(mariadb_database: Database) -> None:
    mariadb_database.execute("CREATE TABLE theirs (id int); INSERT INTO theirs VALUES (7)")
    config = mysql(mariadb_database)
    store = await open_store(config, clock=SystemClock(), zone=None, reset=True, wait_seconds=5.0)
    await store.close()
    assert mariadb_database.execute("SELECT id FROM theirs") == [(7,)]


async def test_a_missing_column_is_named(mariadb_database: Database) -> None:
    await open_and_close(mysql(mariadb_database))
    mariadb_database.execute("ALTER TABLE trans_global DROP COLUMN rollback_reason")
    with pytest.raises(StartError, match="table trans_global of the store has no column rollback_reason"):
        await open_and_close(mysql(mariadb_database))


async def test_a_missing_column_is_named_in_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "dtm.db"
    sqlite3.connect(path).execute("CREATE TABLE kv (id INTEGER PRIMARY KEY, cat TEXT, k TEXT)")
    with pytest.raises(StartError, match="table kv of the store has no column v"):
        await open_and_close(StoreConfig(path=str(path)))


async def test_a_missing_unique_key_is_named(mariadb_database: Database) -> None:
    await open_and_close(mysql(mariadb_database))
    mariadb_database.execute("ALTER TABLE trans_global DROP KEY trans_global_gid")
    with pytest.raises(StartError, match=r"no unique key on \(gid\)"):
        await open_and_close(mysql(mariadb_database))


# As an older server may have made them, before there were results, reasons and payloads in bytes.
OLDER = """
CREATE TABLE trans_global (
  id bigint NOT NULL PRIMARY KEY, gid varchar(128) NOT NULL, trans_type varchar(45) NOT NULL,
  status varchar(12) NOT NULL, query_prepared varchar(128) NOT NULL, protocol varchar(45) NOT NULL,
  create_time timestamp, update_time timestamp, finish_time timestamp, rollback_time timestamp,
  options varchar(256) DEFAULT '', custom_data varchar(256) DEFAULT '', next_cron_interval int,
  next_cron_time timestamp, owner varchar(128) NOT NULL DEFAULT '');
CREATE TABLE trans_branch_op (
  id bigint NOT NULL PRIMARY KEY, gid varchar(128) NOT NULL, url varchar(128) NOT NULL, data text,
  branch_id varchar(128) NOT NULL, op varchar(45) NOT NULL, status varchar(45) NOT NULL,
  finish_time timestamp, rollback_time timestamp);
"""


@pytest.mark.parametrize("kind", ["sqlite", "mariadb", "postgres"])
async def test_all_that_older_tables_lack_is_named_at_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if kind == "sqlite":
        config = StoreConfig(path=str(tmp_path / "dtm.db"))
        sqlite3.connect(config.path).executescript(OLDER)
    else:
        database: Database = request.getfixturevalue(f"{kind}_database")
        database.execute(OLDER.replace("timestamp", "datetime") if kind == "mariadb" else OLDER)
        config = config_of(database)
    with pytest.raises(StartError) as refused:
        await open_and_close(config)
    assert refused.value.message == (
        "table trans_branch_op of the store has no column bin_data, create_time, update_time;"
        " table trans_branch_op of the store has no unique key on (gid, branch_id, op);"
        " table trans_global of the store has no column ext_data, result, rollback_reason;"
        " table trans_global of the store has no unique key on (gid)"
    )
    name = {"mariadb": "mysql"}.get(kind, kind)
    assert f"run `dtm migrate`, or add all of it as in sql/coordinator.{name}.sql" in refused.value.hint


async def test_more_columns_and_other_names_of_keys_do_not_disturb(mariadb_database: Database) -> None:
    await open_and_close(mysql(mariadb_database))
    mariadb_database.execute(
        "ALTER TABLE trans_global"
        " ADD COLUMN theirs int DEFAULT 7, DROP KEY trans_global_gid, ADD UNIQUE KEY g (gid)"
    )
    await open_and_close(mysql(mariadb_database))
