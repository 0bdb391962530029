"""`dtm purge-barrier`: on each database, with what one or several coordinators know of its transactions."""

import asyncio
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from click.testing import CliRunner, Result

from coordinator.cli.main import main
from coordinator.client.barriers.table import create_barrier_table
from coordinator.clock import SystemClock
from coordinator.store.open import StoreConfig, open_store
from tests.support.servers import Database, PostgresDatabase
from tests.support.store_contract import insert

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=9)
GIDS = ("old", "just-ended", "unfinished", "elsewhere")
INSERT = "INSERT INTO {} (trans_type, gid, branch_id, op, barrier_id, reason, create_time) VALUES "


def coordinator(folder: Path, *gids: str) -> Path:
    """The configuration of one that stores these transactions."""
    folder.mkdir()

    async def run() -> None:
        config = StoreConfig(path=str(folder / "dtm.db"))
        store = await open_store(config, clock=SystemClock(), zone=UTC, wait_seconds=5.0)
        for gid in gids:
            await insert(store, gid)
        await store.close()

    asyncio.run(run())
    connection = sqlite3.connect(folder / "dtm.db")
    with connection:
        for gid, ended in (("old", OLD), ("just-ended", NOW)):
            connection.execute(
                "UPDATE trans_global SET status = 'succeed', finish_time = ? WHERE gid = ?",
                (f"{ended:%Y-%m-%d %H:%M:%S}", gid),
            )
    connection.close()
    file = folder / "conf.yml"
    section = {"Path": str(folder / "dtm.db"), "Retention": "30d"}
    file.write_text(yaml.safe_dump({"TimeZoneOffset": "+0", "Store": section}), encoding="utf-8")
    return file


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return coordinator(tmp_path / "coordinator", "old", "just-ended", "unfinished")


def purge_barrier(url: str, *words: str) -> Result:
    return CliRunner().invoke(main, ["purge-barrier", "--url", url, *words])


def told(said: str) -> Sequence[str]:
    return [line.strip() for line in said.splitlines()[1:]]


STAY = "stay: 1 of unfinished ones, 1 too young, 1 of transactions that no coordinator asked here stores"
COUNTED = "1 of transactions that ended more than 7d ago"


def rows(*, days: Sequence[int]) -> list[tuple[Any, ...]]:
    ages = zip(GIDS, days, strict=True)
    return [("saga", gid, "01", "action", "01", "action", NOW - timedelta(days=age)) for gid, age in ages]


def check(url: str, conf: Path, left: Any) -> None:
    """Counted first, deleted then, and nothing the second time. left: what gids there are."""
    said = purge_barrier(url, "-c", str(conf))
    assert (said.exit_code, told(said.stdout)[0]) == (0, COUNTED), said.output
    assert told(said.stdout)[2:] == [STAY, "1 rows may go; --yes deletes them"]
    assert left() == sorted(GIDS)
    assert told(purge_barrier(url, "-c", str(conf), "--yes").stdout)[-1] == "deleted 1 rows"
    assert left() == ["elsewhere", "just-ended", "unfinished"]
    assert told(purge_barrier(url, "-c", str(conf), "--yes").stdout)[-1] == "deleted 0 rows"


def test_mariadb(mariadb_database: Database, conf: Path) -> None:
    one = mariadb_database
    one.execute("DROP DATABASE IF EXISTS dtm_barrier")
    url = f"mysql://{one.user}@{one.host}:{one.port}/"
    asyncio.run(create_barrier_table(url))
    for row in rows(days=(9, 9, 9, 9)):
        one.execute(INSERT.format("dtm_barrier.barrier") + str((*row[:-1], f"{row[-1]:%Y-%m-%d %H:%M:%S}")))

    def left() -> list[str]:
        return [str(row[0]) for row in one.execute("SELECT gid FROM dtm_barrier.barrier ORDER BY gid")]

    check(url, conf, left)


def test_postgres(postgres_database: PostgresDatabase, conf: Path) -> None:
    one = postgres_database
    url = f"postgresql://{one.user}@{one.host}:{one.port}/{one.name}"
    asyncio.run(create_barrier_table(url))
    with psycopg.connect(url) as connection:
        for row in rows(days=(9, 9, 9, 9)):
            connection.execute(INSERT.format("dtm_barrier.barrier") + "(%s, %s, %s, %s, %s, %s, %s)", row)

    def left() -> list[str]:
        return sorted(str(row[0]) for row in one.execute("SELECT gid FROM dtm_barrier.barrier"))

    check(url, conf, left)


def sqlite_business(file: Path, *, days: Sequence[int]) -> str:
    url = f"sqlite:///{file}"
    asyncio.run(create_barrier_table(url))
    connection = sqlite3.connect(file)
    with connection:
        values = [(*row[:-1], f"{row[-1]:%Y-%m-%d %H:%M:%S}") for row in rows(days=days)]
        connection.executemany(INSERT.format("barrier") + "(?, ?, ?, ?, ?, ?, ?)", values)
    connection.close()
    return url


def gids_in(file: Path) -> list[str]:
    connection = sqlite3.connect(file)
    found = [str(gid) for (gid,) in connection.execute("SELECT gid FROM barrier ORDER BY gid")]
    connection.close()
    return found


def test_sqlite_and_what_is_stored_no_more(tmp_path: Path, conf: Path) -> None:
    file = tmp_path / "shop.db"
    check(sqlite_business(file, days=(9, 9, 9, 9)), conf, lambda: gids_in(file))
    file.unlink()
    # Kept 30 days, then 7 more, and a day for the zone that the row's time may be written in.
    url = sqlite_business(file, days=(50, 50, 50, 50))
    assert told(purge_barrier(url, "-c", str(conf), "--yes").stdout)[-1] == "deleted 2 rows"
    assert gids_in(file) == ["just-ended", "unfinished"]
    connection = sqlite3.connect(tmp_path / "coordinator" / "dtm.db")
    last = connection.execute("SELECT target, became FROM dtm_audit ORDER BY id DESC").fetchone()
    connection.close()
    assert last == ("barrier, older than 7d", "2 rows deleted")


def test_what_is_unfinished_at_another_coordinator_stays(tmp_path: Path, conf: Path) -> None:
    file = tmp_path / "shop.db"
    url = sqlite_business(file, days=(50, 50, 50, 50))
    other = coordinator(tmp_path / "other", "elsewhere")
    assert purge_barrier(url, "-c", str(conf), "-c", str(other), "--yes").exit_code == 0
    assert gids_in(file) == ["elsewhere", "just-ended", "unfinished"]


@pytest.mark.parametrize(
    ("url", "words", "code", "said"),
    [
        ("redis://h", (), 1, "write mysql://user:password@host:3306/"),
        ("sqlite:///no-such.db", (), 1, "there is no SQLite file"),
        ("mysql://u:secret@127.0.0.1:1/", (), 1, "cannot purge dtm_barrier.barrier in mysql://u@127.0.0.1:1"),
        ("sqlite:///no-such.db", ("--table", "a;b"), 1, "letters, digits and _ only"),
        ("sqlite:///no-such.db", ("--older-than", "59m"), 2, "less than an hour"),
    ],
)
def test_what_is_not_meant_is_refused(
    url: str, words: tuple[str, ...], code: int, said: str, conf: Path
) -> None:
    refused = purge_barrier(url, "-c", str(conf), *words)
    assert (refused.exit_code, said in refused.output) == (code, True), refused.output
    assert "secret" not in refused.output and "Traceback" not in refused.output
