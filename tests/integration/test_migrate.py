"""`dtm migrate` on each database: what is missing is said, added, and found no more."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from coordinator.cli.main import main
from coordinator.store.open import StoreConfig
from tests.support.ports import HOST
from tests.support.servers import Database
from tests.support.store_config import config_of, opened

KINDS = ("sqlite", "mariadb", "postgres")


class Place:
    """A database that a coordinator made, spoken to from outside, and its configuration."""

    def __init__(self, folder: Path, config: StoreConfig, database: Database | None) -> None:
        self.config = config
        self.database = database
        self.file = folder / "conf.yml"
        store: dict[str, Any] = {"Driver": config.driver, "Path": config.path}
        if database is not None:
            store |= {"Host": config.host, "Port": config.port, "User": config.user, "Db": config.database}
        self.file.write_text(yaml.safe_dump({"TimeZoneOffset": "+0", "Store": store}), encoding="utf-8")

    def execute(self, *statements: str) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = ()
        if self.database is not None:
            for statement in statements:
                rows = self.database.execute(statement)
            return rows
        connection = sqlite3.connect(self.config.path)
        with connection:
            for statement in statements:
                rows = connection.execute(statement).fetchall()
        connection.close()
        return rows

    def migrate(self, *words: str) -> Result:
        return CliRunner().invoke(main, ["migrate", "-c", str(self.file), *words])


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(tmp_path, StoreConfig(path=str(tmp_path / "dtm.db")), None)
    database: Database = request.getfixturevalue(f"{request.param}_database")
    return Place(tmp_path, config_of(database), database)


def said(done: Result) -> list[str]:
    assert done.exit_code == 0, done.output
    return [line for line in done.stdout.splitlines() if not line.startswith("   ")]


def make(place: Place) -> None:
    """Start what makes the tables, and end it."""

    async def run() -> None:
        async with opened(place.config):
            pass

    asyncio.run(run())


def key_gone(place: Place) -> str:
    on = " ON trans_global" if place.config.driver == "mysql" else ""
    return f"DROP INDEX trans_global_status_next_cron_time{on}"


STEPS = [
    "1. add the column rollback_reason to trans_global",
    "2. make the key trans_global_status_next_cron_time on trans_global (status, next_cron_time)",
    "3. make the table dtm_hold",
    "4. add the column settings to dtm_node",
]


def test_what_is_missing_is_said_then_added_and_nothing_twice(place: Place) -> None:
    make(place)
    assert said(place.migrate())[0].endswith("lacks nothing, version 1")
    place.execute(
        "DROP TABLE dtm_hold",
        "ALTER TABLE trans_global DROP COLUMN rollback_reason",
        "ALTER TABLE dtm_node DROP COLUMN settings",
        key_gone(place),
        "INSERT INTO dtm_node (name, token, address, version, started, last_seen) VALUES"
        " ('one', '', '', '', '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
    )
    tried = place.migrate("--dry-run")
    assert said(tried)[:-1] == STEPS
    assert said(tried)[-1].endswith("lacks 4 steps to version 1; nothing was done")
    assert "   ALTER TABLE trans_global ADD COLUMN " in tried.stdout
    assert said(place.migrate("--dry-run")) == said(tried)
    doctor = CliRunner().invoke(main, ["doctor", "-c", str(place.file), "--url", f"http://{HOST}:1"])
    assert f"dtm migrate -c {place.file}" in doctor.output
    done = said(place.migrate())
    assert (done[:-1], done[-1].endswith("is at version 1, 4 steps done")) == (STEPS, True)
    assert said(place.migrate())[0].endswith("lacks nothing, version 1")
    assert list(place.execute("SELECT settings FROM dtm_node")[0]) == [""]  # rows that were there
    make(place)  # and a start finds nothing wrong


def test_tables_of_before_are_noted_as_such(place: Place) -> None:
    make(place)
    place.execute("DELETE FROM dtm_shared")
    assert said(place.migrate())[0].endswith("is at version 1, 0 steps done")
    [[value]] = place.execute("SELECT value FROM dtm_shared")
    assert json.loads(value) == {"made": False, "version": 1}


def test_a_table_in_use_is_waited_for_not_long(mariadb_database: Database, tmp_path: Path) -> None:
    place = Place(tmp_path, config_of(mariadb_database), mariadb_database)
    make(place)
    place.execute("ALTER TABLE trans_global DROP COLUMN rollback_reason", "DROP TABLE dtm_hold")
    with contextlib.closing(mariadb_database.connect()) as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT gid FROM trans_global")
        refused = place.migrate()
    assert (refused.exit_code, "a table is in use by a long transaction" in refused.stderr) == (1, True)
    assert said(place.migrate())[-1].endswith("2 steps done")


def test_a_key_that_cannot_be_unique_is_begun_anew_next_time(
    postgres_database: Database, tmp_path: Path
) -> None:
    place = Place(tmp_path, config_of(postgres_database), postgres_database)
    make(place)
    place.execute(
        "ALTER TABLE kv DROP CONSTRAINT kv_cat_k",
        "INSERT INTO kv (cat, k) VALUES ('c', 'twice'), ('c', 'twice')",
    )
    refused = place.migrate()
    assert (refused.exit_code, "twice" in refused.stderr or "kv_cat_k" in refused.stderr) == (1, True)
    place.execute("DELETE FROM kv")
    done = place.migrate()
    assert said(done)[0] == "1. make the unique key kv_cat_k on kv (cat, k)"
    assert "   DROP INDEX CONCURRENTLY kv_cat_k;" in done.stdout
    assert said(place.migrate())[0].endswith("lacks nothing, version 1")


def test_a_user_who_may_make_tables_does_so_for_one_who_may_not(
    mariadb_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = Place(tmp_path, config_of(mariadb_database), mariadb_database)
    make(maker)
    user = f"poor_{mariadb_database.name}"
    maker.execute("DROP TABLE dtm_hold", f"CREATE USER {user}@'%'")
    maker.execute(f"GRANT SELECT ON {mariadb_database.name}.* TO {user}@'%'")
    poor = Place(tmp_path, replace(maker.config, user=user), mariadb_database)
    assert poor.migrate().exit_code == 1
    monkeypatch.setenv("DTM_MIGRATE_PASSWORD", mariadb_database.password)
    assert said(poor.migrate("--user", mariadb_database.user))[-1].endswith("1 steps done")


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    place = Place(tmp_path, StoreConfig(path=str(tmp_path / "none.db")), None)
    refused = place.migrate()
    assert (refused.exit_code, "is not there yet" in refused.stderr) == (1, True)
    assert not (tmp_path / "none.db").exists()
