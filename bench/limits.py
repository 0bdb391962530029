"""What the machine itself can do: commits of the store, calls of the branch, no coordinator between."""

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from bench.branch import BranchProcess
from bench.databases import DatabaseServer
from bench.findings import Limit
from bench.load import grpc_load, http_load
from bench.sample import BenchError
from bench.transactions import BRANCH_ONLY
from tests.support.servers import Database

_COMMITTING = (1, 16)  # connections
_ROW = "x" * 200  # characters
_BLOCK = bytes(4096)
# The database loops by itself, so that what asks it costs nothing.
_MARIADB_LOOP = f"""\
CREATE TABLE committed (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, v varchar(200));
CREATE PROCEDURE commits(IN seconds int)
BEGIN
  DECLARE done int DEFAULT 0;
  DECLARE ends datetime(6) DEFAULT SYSDATE(6) + INTERVAL seconds SECOND;
  WHILE SYSDATE(6) < ends DO
    INSERT INTO committed (v) VALUES ('{_ROW}');
    SET done = done + 1;
  END WHILE;
  SELECT done;
END"""
_POSTGRES_LOOP = f"""\
CREATE TABLE committed (id bigserial PRIMARY KEY, v varchar(200));
CREATE PROCEDURE commits(IN seconds int, INOUT done int DEFAULT 0) LANGUAGE plpgsql AS $$
DECLARE
  ends timestamptz := clock_timestamp() + seconds * interval '1 second';
BEGIN
  WHILE clock_timestamp() < ends LOOP
    INSERT INTO committed (v) VALUES ('{_ROW}');
    COMMIT;
    done := done + 1;
  END LOOP;
END $$"""


def store_limits(store: str, database: DatabaseServer, folder: Path, seconds: int) -> list[Limit]:
    """Commits a second of one row each, all on the disk. folder: where an embedded store's file lies."""
    match store:
        case "mariadb":
            name, loop = "MariaDB: one-row commits", _MARIADB_LOOP
        case "postgres":
            name, loop = "PostgreSQL: one-row commits", _POSTGRES_LOOP
        case _:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                path = Path(scratch)
                return [
                    Limit("fdatasync, 4 KiB added to a file", {1: _synced(path / "more", seconds)}),
                    Limit(
                        "fdatasync, 4 KiB overwritten", {1: _synced(path / "same", seconds, overwrite=True)}
                    ),
                    Limit("SQLite: one-row commits", {1: _sqlite_commits(path / "bench.db", seconds)}),
                ]
    made = database.create_database("limits")
    made.execute(loop)
    return [Limit(name, {it: _commits(made, it, seconds) for it in _COMMITTING})]


def branch_limit(branch: BranchProcess, protocol: str, at_a_time: tuple[int, ...], seconds: int) -> Limit:
    """Calls of the branch a second, by the load generator. Raises BenchError when one fails."""
    drive = grpc_load if protocol == "grpc" else http_load
    rates = {}
    for clients in at_a_time:
        load = drive(
            branch.address,
            branch.address,
            "branch",
            pattern=BRANCH_ONLY,
            at_a_time=clients,
            seconds=seconds,
        )
        if load.errors:
            raise BenchError(f"{branch.name}: {load.errors} errors\n{branch.output()}")
        rates[clients] = load.rate
    return Limit(f"calls of the {protocol} branch ({branch.name}) by the load generator", rates)


def _commits(database: Database, connections: int, seconds: int) -> float:
    def loop(_: int) -> int:
        with closing(database.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"CALL commits({seconds})")
            [done] = cursor.fetchone() or [0]
            return int(str(done))

    with ThreadPoolExecutor(connections) as threads:
        return sum(threads.map(loop, range(connections))) / seconds


def _synced(path: Path, seconds: float, *, overwrite: bool = False) -> float:
    """A file that grows has its length written too, in the file system's journal."""
    with path.open("wb", buffering=0) as file:

        def write() -> None:
            if overwrite:
                file.seek(0)
            file.write(_BLOCK)
            os.fdatasync(file.fileno())

        return _rate(write, seconds)


def _sqlite_commits(path: Path, seconds: float) -> float:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE committed (id integer PRIMARY KEY, v text)")
        return _rate(lambda: connection.execute("INSERT INTO committed (v) VALUES (?)", (_ROW,)), seconds)


def _rate(once: Callable[[], object], seconds: float) -> float:
    done, began = 0, time.perf_counter()
    while (lasted := time.perf_counter() - began) < seconds:
        once()
        done += 1
    return done / lasted
