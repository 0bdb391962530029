"""What an operator sees when the coordinator cannot start: one clear sentence, an exit code, no traceback."""

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import StartCoordinator
from tests.support.ports import HOST, free_port
from tests.support.processes import Process
from tests.support.under_test import ROOT

CANNOT_START = 1
BAD_CONFIG = 2
# The command, with less patience for a database that is away.
IMPATIENT = (
    "import coordinator.server.server as server; server.STORE_WAIT_SECONDS = 1;"
    " from coordinator.cli.main import main; main()"
)


@contextmanager
def _process(folder: Path, environment: Mapping[str, object], *command: str) -> Iterator[Process]:
    """Yield `dtm` with its SQLite file in the folder, on free ports unless the environment says otherwise."""
    defaults = {
        "PYTHONPATH": ROOT,
        "DTM_HOST": HOST,
        "HTTP_PORT": free_port(),
        "GRPC_PORT": free_port(),
        "STORE_DRIVER": "sqlite",
        "STORE_PATH": folder / "dtm.db",
    }
    given = {name: str(value) for name, value in {**defaults, **environment}.items()}
    process = Process(
        [sys.executable, *(command or ("-m", "coordinator"))],
        name="dtm",
        environment={**os.environ, **given},
        folder=folder,
    )
    try:
        yield process
    finally:
        process.close()


def _fails(process: Process, *words: str) -> None:
    """Assert that it ends with one sentence, a hint below it, and nothing else but log lines."""
    process.launch()
    assert process.wait(30) == CANNOT_START
    printed = process.output()
    assert "Traceback" not in printed
    [sentence] = [line for line in printed.splitlines() if line.startswith("dtm: ")]
    for word in words:
        assert word in sentence
    [hint] = [line for line in printed.splitlines() if line.startswith("     ")]
    assert hint.strip()


def _is_refused(process: Process, *words: str) -> None:
    """Assert that the configuration is refused, as `dtm check` would."""
    process.launch()
    assert process.wait(30) == BAD_CONFIG
    printed = process.output()
    assert printed.startswith("dtm: 1 problem in the configuration\n")
    for word in words:
        assert word in printed


@pytest.mark.parametrize("key", ["HTTP_PORT", "GRPC_PORT"])
def test_a_port_in_use(tmp_path: Path, key: str) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with _process(tmp_path, {key: port}) as process:
            _fails(process, "HTTP" if key == "HTTP_PORT" else "gRPC", f"{HOST}:{port}: the port is in use")


def test_a_second_process_on_one_sqlite_file(start_coordinator: StartCoordinator, tmp_path: Path) -> None:
    file = tmp_path / "one.db"
    first = start_coordinator(store=file)
    with _process(tmp_path, {"STORE_PATH": file}) as process:
        _fails(process, f"another process has the SQLite file {file} open")
    assert first.is_running
    first.kill()  # a lock that its owner cannot give back any more holds up nobody
    first.start()


def test_a_sqlite_file_that_cannot_be_made(tmp_path: Path) -> None:
    with _process(tmp_path, {"STORE_PATH": tmp_path / "missing" / "dtm.db"}) as process:
        _is_refused(process, str(tmp_path / "missing" / "dtm.db"), "which does not exist")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "dtm.db").write_text("minutes of the last meeting\n" * 100, encoding="utf-8")
    with _process(tmp_path, {}) as process:
        _is_refused(process, str(tmp_path / "dtm.db"), "not a database")


def test_a_database_that_is_broken_inside(tmp_path: Path) -> None:
    (tmp_path / "dtm.db").write_bytes(b"SQLite format 3\x00" + b"minutes of the last meeting\n" * 100)
    with _process(tmp_path, {}) as process:
        _fails(process, str(tmp_path / "dtm.db"), "not a database")


def test_a_database_that_is_away(tmp_path: Path) -> None:
    port = free_port()
    store = {"STORE_DRIVER": "mysql", "STORE_HOST": HOST, "STORE_PORT": port, "STORE_USER": "root"}
    with _process(tmp_path, store, "-c", IMPATIENT) as process:
        _fails(process, f"root@{HOST}:{port}/dtm", "was not there within 1 s")


def test_a_stop_while_it_waits_for_its_database(tmp_path: Path) -> None:
    port = free_port()
    store = {"STORE_DRIVER": "mysql", "STORE_HOST": HOST, "STORE_PORT": port, "STORE_USER": "root"}
    with _process(tmp_path, store) as process:
        process.launch()
        deadline = time.monotonic() + 20
        while "waiting for the store" not in process.output():
            assert time.monotonic() < deadline, process.output()
            time.sleep(0.02)  # another process has no event for what it prints
        started = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - started < 25
        assert "Traceback" not in process.output()


def test_an_orderly_stop_of_an_idle_coordinator(start_coordinator: StartCoordinator) -> None:
    coordinator = start_coordinator()
    started = time.monotonic()
    assert coordinator.stop() == 0
    assert time.monotonic() - started < 25
    assert "Traceback" not in coordinator.output()
