"""`dtm purge`: what it counts, what it deletes, what it refuses."""

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from coordinator.cli.main import main
from coordinator.clock import SystemClock
from coordinator.store.open import StoreConfig, open_store
from tests.support.store_contract import insert
from tests.support.under_test import CoordinatorProcess

Run = Callable[..., Result]
NOW = datetime.now(UTC)


def plant(path: Path) -> None:
    """Two that ended long ago, one that ended just now, and one that is as old and unfinished."""

    async def run() -> None:
        store = await open_store(StoreConfig(path=str(path)), clock=SystemClock(), zone=UTC, wait_seconds=5.0)
        for gid in ("old-1", "old-2", "young", "unfinished"):
            await insert(store, gid)
        await store.close()

    asyncio.run(run())
    with sqlite3.connect(path) as connection:
        for gid, status, days in (("old-1", "succeed", 8), ("old-2", "failed", 8), ("young", "succeed", 0)):
            ended = f"{NOW - timedelta(days=days):%Y-%m-%d %H:%M:%S}"
            column = "finish_time" if status == "succeed" else "rollback_time"
            connection.execute(
                f"UPDATE trans_global SET status = ?, create_time = ?, {column} = ? WHERE gid = ?",
                (status, ended, ended, gid),
            )
    connection.close()


def gids(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    found = [str(gid) for (gid,) in connection.execute("SELECT gid FROM trans_global ORDER BY gid")]
    connection.close()
    return found


@pytest.fixture
def dtm(tmp_path: Path) -> Run:
    def run(*words: str, **store: str) -> Result:
        section = {"Path": str(tmp_path / "dtm.db"), **store}
        file = tmp_path / "conf.yml"
        file.write_text(yaml.safe_dump({"TimeZoneOffset": "+0", "Store": section}), encoding="utf-8")
        return CliRunner().invoke(main, ["purge", "-c", str(file), *words])

    return run


def test_it_counts_until_it_is_told_to_delete(dtm: Run, tmp_path: Path) -> None:
    path = tmp_path / "dtm.db"
    plant(path)
    said = dtm()
    assert (said.exit_code, said.stdout) == (
        0,
        "2 transactions ended more than 7d ago; --yes deletes them\n",
    )
    assert dtm("--older-than", "30d").stdout.startswith("0 transactions ended more than 30d ago")
    assert len(gids(path)) == 4
    said = dtm("--yes", "--older-than", "7d", ArchivePath=str(tmp_path / "ended.jsonl"))
    assert said.stdout == "deleted 2 transactions with 8 branches that ended more than 7d ago\n"
    assert gids(path) == ["unfinished", "young"]
    assert len((tmp_path / "ended.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT action, target, became FROM dtm_audit").fetchall() == [
        ("purge", "older than 7d", "2 transactions deleted")
    ]
    connection.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--yes",), "say --older-than AGE"),
        (("--older-than", "59m"), "less than an hour"),
        (("--older-than", "soon"), "'soon' is no length of time such as 12h or 7d"),
    ],
)
def test_what_is_not_meant_is_refused(dtm: Run, words: tuple[str, ...], said: str) -> None:
    refused = dtm(*words)
    assert refused.exit_code == 2
    assert said in refused.output


def test_beside_a_running_coordinator(dtm: Run, tmp_path: Path) -> None:
    plant(tmp_path / "dtm.db")
    settings = {"TimeZoneOffset": "+0"}
    store = {"Path": str(tmp_path / "dtm.db"), "Retention": 0}
    coordinator = CoordinatorProcess(tmp_path / "runs", store=store, settings=settings).start()
    try:
        assert dtm("--yes", "--older-than", "7d").stdout.startswith("deleted 2 transactions")
        assert coordinator.query("unfinished")["transaction"]["gid"] == "unfinished"
        assert coordinator.query("old-1")["transaction"] is None
    finally:
        coordinator.close()
