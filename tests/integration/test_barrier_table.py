"""`dtm barrier-table --url …` on each database (PROTOCOL §12)."""

import contextlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from coordinator.cli.main import main
from coordinator.client.barriers import table
from tests.support.servers import Database, PostgresDatabase


def barrier_table(url: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["barrier-table", "--url", url])
    return done.exit_code, done.output


def test_sqlite(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    for _ in range(2):
        assert barrier_table(f"sqlite:///{file}") == (0, f"ok: barrier in {file}\n")


def test_mariadb(mariadb_database: Database) -> None:
    one = mariadb_database
    one.execute("DROP DATABASE IF EXISTS dtm_barrier")
    for _ in range(2):
        code, said = barrier_table(f"mysql+aiomysql://{one.user}:@{one.host}:{one.port}/{one.name}")
        assert (code, said.startswith("ok: dtm_barrier.barrier in mysql+aiomysql://root@")) == (0, True), said
    assert one.execute("SELECT count(*) FROM dtm_barrier.barrier") == [(0,)]


def test_postgres(postgres_database: PostgresDatabase) -> None:
    one = postgres_database
    for _ in range(2):
        code, said = barrier_table(f"postgresql://{one.user}@{one.host}:{one.port}/{one.name}")
        assert (code, said.startswith("ok: dtm_barrier.barrier in postgresql://root@")) == (0, True), said
    assert one.execute("SELECT count(*) FROM dtm_barrier.barrier") == [(0,)]


@pytest.mark.timeout(30)
def test_mariadb_while_somebody_holds_its_tables(
    mariadb_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = mariadb_database
    monkeypatch.setattr(table, "_MAKE_SECONDS", 0.5)
    with contextlib.closing(one.connect()) as other, other.cursor() as cursor:
        cursor.execute("FLUSH TABLES WITH READ LOCK")
        code, said = barrier_table(f"mysql://{one.user}@{one.host}:{one.port}/")
    assert (code, said.endswith(": it did not answer in time\n")) == (1, True), said


@pytest.mark.timeout(30)
def test_postgres_while_somebody_holds_its_tables(
    postgres_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = postgres_database
    monkeypatch.setattr(table, "_MAKE_SECONDS", 0.5)
    with contextlib.closing(one.connect()) as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("CREATE SCHEMA dtm_barrier")
        code, said = barrier_table(f"postgresql://{one.user}@{one.host}:{one.port}/{one.name}")
    assert (code, said.endswith(": it did not answer in time\n")) == (1, True), said


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://h", "write mysql://user:password@host:3306/"),
        ("sqlite:///", "name the file"),
        ("sqlite:////no/such/folder/shop.db", "cannot create the barrier table in sqlite://"),
        (
            "mysql://u:secret@127.0.0.1:1/",
            "cannot create the barrier table in mysql://u@127.0.0.1",
        ),
        (
            "postgres://u:secret@127.0.0.1:1/d",
            "cannot create the barrier table in postgres://u@",
        ),
    ],
)
def test_a_database_that_does_not_take_it_is_named_without_its_password(url: str, sentence: str) -> None:
    code, said = barrier_table(url)
    assert code == 1
    assert sentence in said
    assert "secret" not in said and "Traceback" not in said
