"""The servers that are measured, started on one store."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from bench.branch import BranchProcess
from bench.databases import AskedRows, DatabaseServer, FileRows, Rows, SqliteRows, SqlRows
from bench.machine import commit_of, version
from bench.matrix import Addresses, Cell
from bench.sample import BenchError
from bench.transactions import PATTERNS
from tests.support.ports import HOST, free_port, is_listening
from tests.support.processes import Process
from tests.support.servers import Database
from tests.support.under_test import ROOT, CoordinatorProcess, store_settings

OURS = "dtm"
_TRACED = "dtm traced"
_ALL = "dtm all"
_YARDSTICK = "yardstick"
_YARDSTICKS = {"http": ("bare_http.py", 36789), "grpc": ("bare_grpc.py", 36890)}  # their ports are fixed
_YARDSTICK_DATABASE = "dtm"  # so is its name
_BOLT_FILE = "dtm.bolt"
_SCHEMAS = ROOT / "sql"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which servers take part beside ours, each by the name that it is given."""

    against: Mapping[str, Path] = field(default_factory=dict)  # checkouts
    references: Mapping[str, Path] = field(default_factory=dict)  # programs
    running: Sequence[Addresses] = ()
    traced: bool = False
    with_tokens: bool = False
    yardstick: Path | None = None
    tolerated: float = 0.0  # share of the answers that may be errors, but not of ours

    def described(self) -> dict[str, str]:
        """What each of them is, ours first. Raises BenchError when two have one name."""
        found = [(OURS, f"this checkout, {commit_of(ROOT)}")]
        found += [(_TRACED, "the same, every transaction traced")] if self.traced else []
        found += [(_ALL, "the same, each call with a token (Access.Mode: all)")] if self.with_tokens else []
        found += [(name, f"another checkout, {commit_of(path)}") for name, path in self.against.items()]
        found += [
            (name, f"Go dtm server {version(str(path), '-v')}, UPDATE_BRANCH_SYNC=1; on BoltDB for SQLite")
            for name, path in self.references.items()
        ]
        found += [(it.name, "already running, on a store of its own") for it in self.running]
        found += [(_YARDSTICK, "a bare program, sagas on MariaDB alone")] if self.yardstick else []
        names = [name for name, _ in found]
        if twice := {name for name in names if names.count(name) > 1}:
            raise BenchError(
                f"two servers are named {' and '.join(sorted(twice))}: give NAME=… to one of them"
            )
        return dict(found)


@dataclass(frozen=True, slots=True)
class Subject:
    """A server that is measured. targets: protocol → host:port."""

    name: str
    targets: Mapping[str, str]
    rows: Rows
    process: Process | None = None  # None: not ours to look into
    database: DatabaseServer = field(default_factory=lambda: DatabaseServer(None))
    patterns: tuple[str, ...] = PATTERNS
    tolerated: float = 0.0  # share of its answers that may be errors
    token: str = ""  # sent with each call

    def takes(self, cell: Cell) -> bool:
        """Whether it can be measured there."""
        return cell.protocol in self.targets and cell.pattern in self.patterns


class Starting:
    """Starts servers over one store; `opened` ends them. store: of STORES. database: None when embedded."""

    def __init__(self, store: str, database: DatabaseServer, folder: Path, opened: ExitStack) -> None:
        self._store, self._database, self._folder, self._opened = store, database, folder, opened
        self._embedded = store == "sqlite"

    def all(self, asked: Asked, protocols: Sequence[str]) -> list[Subject]:
        """Everything that was asked for, ours first."""
        subjects = [self._coordinator(OURS)]
        if asked.traced:
            subjects.append(self._traced())
        if asked.with_tokens:
            subjects.append(self._coordinator(_ALL, settings={"Access": {"Mode": "all"}}, with_token=True))
        for name, checkout in asked.against.items():
            subjects.append(self._coordinator(name, checkout=checkout))
        for name, program in asked.references.items():
            subjects.append(replace(self._reference(name, program), tolerated=asked.tolerated))
        subjects += [replace(_running(it), tolerated=asked.tolerated) for it in asked.running]
        if asked.yardstick is not None and self._store == "mariadb":
            # One database: the two are not measured at the same time.
            database = self._database.create_database(_YARDSTICK_DATABASE, _SCHEMAS / "coordinator.mysql.sql")
            subjects += [self._yardstick(it, asked.yardstick, database) for it in protocols]
        return subjects

    def _traced(self) -> Subject:
        """A dtm that records every transaction and sends the spans to somebody who throws them away."""
        sink = self._opened.enter_context(BranchProcess("http", self._folder / "sink"))
        telemetry = {"Endpoint": sink.address, "Batcher": "otlphttp", "Sampler": 1.0}
        return self._coordinator(_TRACED, settings={"Telemetry": telemetry})

    def _coordinator(
        self,
        name: str,
        *,
        checkout: Path = ROOT,
        settings: Mapping[str, object] | None = None,
        with_token: bool = False,
    ) -> Subject:
        folder = self._subfolder(name)
        database = None if self._embedded else self._database.create_database(folder.name)
        process = CoordinatorProcess(
            folder,
            store=database,
            settings=settings,
            environment={"PYTHONPATH": str(checkout)},
            python=sys.executable if checkout == ROOT else _python_of(checkout),
        )
        self._opened.enter_context(process)
        targets = {"http": f"{HOST}:{process.http_port}", "grpc": process.grpc_address}
        rows = SqliteRows(folder / "dtm.db") if database is None else SqlRows(database)
        token = _made_token(process.configuration_file) if with_token else ""
        return Subject(name, targets, rows, process, self._database, token=token)

    def _reference(self, name: str, program: Path) -> Subject:
        """A Go dtm server, its settings its own but for ports, store and when it stores a branch's result."""
        if not os.access(program, os.X_OK):
            raise BenchError(f"{program} is no program")
        folder = self._subfolder(name)
        ports = {key: free_port() for key in ("HttpPort", "GrpcPort", "JsonRpcPort")}
        settings: dict[str, Any] = {"LogLevel": "warn", "UpdateBranchSync": 1, **ports}
        rows: Rows | None = None
        if self._embedded:
            settings["Store"] = {"Driver": "boltdb"}
        else:
            dialect = "postgres" if self._store == "postgres" else "mysql"
            schema = _SCHEMAS / f"coordinator.{dialect}.sql"
            database = self._database.create_database(folder.name, schema)
            # An empty password swallows what follows it, in its address of PostgreSQL; nobody asks for one.
            settings["Store"] = {
                **store_settings(database),
                "Password": "none" if dialect == "postgres" else "",
            }
            rows = SqlRows(database)
        (folder / "conf.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        process = Process(
            [str(program), "-c", "conf.yml"],
            name=name,
            environment={**os.environ, "UPDATE_BRANCH_SYNC": "1"},
            folder=folder,
            ready=lambda: is_listening(ports["HttpPort"]) and is_listening(ports["GrpcPort"]),
        )
        self._opened.enter_context(process)
        targets = {"http": f"{HOST}:{ports['HttpPort']}", "grpc": f"{HOST}:{ports['GrpcPort']}"}
        rows = rows or FileRows(process, folder / _BOLT_FILE, targets["http"])
        return Subject(name, targets, rows, process, self._database)

    def _yardstick(self, protocol: str, folder: Path, database: Database) -> Subject:
        program, port = _YARDSTICKS[protocol]
        if not (folder / program).is_file():
            raise BenchError(f"{folder} has no {program}")
        if is_listening(port):
            raise BenchError(f"port {port}, which {program} needs, is taken")
        process = Process(
            [sys.executable, str(folder / program)],
            name=program,
            environment={**os.environ, "MYSQL_PORT": str(database.port)},
            folder=self._folder,
            ready=lambda: is_listening(port),
        )
        self._opened.enter_context(process)
        targets = {protocol: f"{HOST}:{port}"}
        return Subject(_YARDSTICK, targets, SqlRows(database), process, self._database, ("saga",))

    def _subfolder(self, name: str) -> Path:
        """A new folder; its name will do as that of a database, too."""
        plain = "".join(it if it.isascii() and it.isalnum() else "_" for it in name.lower())
        folder = self._folder / f"bench_{len(list(self._folder.iterdir()))}_{plain}"
        folder.mkdir()
        return folder


def _made_token(configuration: Path) -> str:
    words = ("token", "create", "--name", "bench", "--role", "service", "-c", str(configuration))
    command = [sys.executable, "-m", "coordinator", *words]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise BenchError(f"no token could be made:\n{made.stderr}")
    return made.stdout.strip()


def _running(addresses: Addresses) -> Subject:
    targets = {"http": addresses.http} | ({"grpc": addresses.grpc} if addresses.grpc else {})
    return Subject(addresses.name, targets, AskedRows(addresses.http))


def _python_of(checkout: Path) -> Path:
    """That of its own environment: another checkout may need other versions."""
    python = checkout / ".venv" / "bin" / "python"
    if not python.exists():
        raise BenchError(f"{checkout} has no .venv: run make install there")
    return python
