"""Ready means: takes work. A store that can be read and not written is not ready (PROTOCOL §14)."""

import contextlib
import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import StartCoordinator
from tests.support.looking import readiness, until
from tests.support.servers import Database

SAGA = {"trans_type": "saga", "steps": [{"action": "", "compensate": ""}], "payloads": ["{}"]}
NOTICED_SECONDS = 12  # a beat is written every five
WELL_AGAIN_SECONDS = 25


def test_a_file_that_is_deleted_under_a_running_coordinator(
    start_coordinator: StartCoordinator, tmp_path: Path
) -> None:
    file = tmp_path / "one.db"
    coordinator = start_coordinator(store=file)
    assert coordinator.post("submit", {"gid": "before", **SAGA})[0] == 200
    file.rename(tmp_path / "away.db")
    started = time.monotonic()
    status, answer = coordinator.post("submit", {"gid": "into-nowhere", **SAGA})
    assert status == 500
    assert f"{file} was deleted or replaced while it was open" in answer["message"]
    assert "refused" not in answer["message"]  # nothing was, and reads fail as well
    assert time.monotonic() - started < 15
    until(lambda: not readiness(coordinator)["ready"], 5)
    assert "was deleted or replaced" in readiness(coordinator)["problems"]["store"]
    until(lambda: "writes" in readiness(coordinator)["problems"], NOTICED_SECONDS)
    assert "grant" not in str(readiness(coordinator))  # a right that nobody lacks
    (tmp_path / "away.db").rename(file)
    until(lambda: readiness(coordinator)["ready"], 10)
    assert coordinator.post("submit", {"gid": "after", **SAGA})[0] == 200
    assert coordinator.stop() == 0
    again = start_coordinator(store=file)
    assert [again.query(gid)["transaction"] is not None for gid in ("before", "after")] == [True, True]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("mount not found")
    if done.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted, which needs root: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(b"x" * 512):
            pass


def test_a_disk_that_is_full(start_coordinator: StartCoordinator, small_disk: Path) -> None:
    coordinator = start_coordinator(store=small_disk / "dtm.db")
    assert coordinator.post("submit", {"gid": "before", **SAGA})[0] == 200
    fill(small_disk / "filler")
    # What the log beside the file has room for is still taken; then nothing is.
    answers = []
    for number in range(20):
        saga = {**SAGA, "payloads": [json.dumps("x" * 30_000)]}
        answers.append(coordinator.post("submit", {"gid": f"big-{number}", **saga}))
        if answers[-1][0] != 200:
            break
    status, answer = answers[-1]
    assert (status, "disk is full" in answer["message"]) == (500, True)
    assert readiness(coordinator)["problems"]["writes"].endswith("disk is full")
    (small_disk / "filler").unlink()
    until(lambda: readiness(coordinator)["ready"], WELL_AGAIN_SECONDS)
    assert coordinator.post("submit", {"gid": "after", **SAGA})[0] == 200
    for gid in ("before", *(f"big-{number}" for number in range(len(answers) - 1)), "after"):
        assert coordinator.query(gid)["transaction"]["status"] == "succeed"


def test_a_database_that_only_reads_is_noticed_without_a_request(
    start_coordinator: StartCoordinator, postgres_database: Database
) -> None:
    coordinator = start_coordinator(store=postgres_database)
    name = postgres_database.name
    postgres_database.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    postgres_database.end_connections()
    until(lambda: "writes" in readiness(coordinator).get("problems", {}), NOTICED_SECONDS)
    assert "read-only transaction" in readiness(coordinator)["problems"]["writes"]
    postgres_database.execute(  # a session that began since only reads as well
        "SET default_transaction_read_only = off; BEGIN READ WRITE;"
        f'ALTER DATABASE "{name}" SET default_transaction_read_only = off; COMMIT'
    )
    postgres_database.end_connections()
    until(lambda: readiness(coordinator)["ready"], WELL_AGAIN_SECONDS)
    assert coordinator.post("submit", {"gid": "after", **SAGA})[0] == 200


def test_a_primary_that_was_demoted_is_noticed_without_a_request(
    start_coordinator: StartCoordinator, mariadb_database: Database
) -> None:
    user = f"plain_{mariadb_database.name}"  # root may write all the same
    mariadb_database.execute(f"CREATE USER {user}@'%'; GRANT ALL ON `{mariadb_database.name}`.* TO {user}")
    coordinator = start_coordinator(store=replace(mariadb_database, user=user))
    mariadb_database.execute("SET GLOBAL read_only = ON")
    try:
        until(lambda: "writes" in readiness(coordinator).get("problems", {}), NOTICED_SECONDS)
        assert "read-only" in readiness(coordinator)["problems"]["writes"]
    finally:
        mariadb_database.execute("SET GLOBAL read_only = OFF")
    until(lambda: readiness(coordinator)["ready"], WELL_AGAIN_SECONDS)
    assert coordinator.post("submit", {"gid": "after", **SAGA})[0] == 200


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE trans_branch_op",
        "ALTER TABLE trans_global DROP COLUMN ext_data",
        "ALTER TABLE trans_branch_op RENAME TO elsewhere",
    ],
)
@pytest.mark.parametrize("kind", ["mariadb", "postgres", "sqlite"])
def test_a_database_that_lacks_what_is_needed_takes_no_work(
    kind: str,
    damage: str,
    start_coordinator: StartCoordinator,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """Every submit is refused, whatever is in it: so it is not ready, and says what is missing."""
    store = tmp_path / "one.db" if kind == "sqlite" else request.getfixturevalue(f"{kind}_database")
    coordinator = start_coordinator(store=store)
    if isinstance(store, Path):
        with contextlib.closing(sqlite3.connect(store)) as connection:
            connection.execute(damage)
    else:
        store.execute(damage)

    def refused_and_not_ready() -> bool:
        status, answer = coordinator.post("submit", {"gid": "a", **SAGA})
        assert status == 500 and "the store refused the write" in answer["message"]
        return not readiness(coordinator)["ready"]

    until(refused_and_not_ready, NOTICED_SECONDS)
    problem = readiness(coordinator)["problems"]["writes"]
    assert "ext_data" in problem or "trans_branch_op" in problem
