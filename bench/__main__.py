"""`make bench`: sagas a second, latency and CPU a saga of `dtm` on a throw-away MariaDB; see README.md."""

import argparse
import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.branch import BranchProcess
from bench.load import grpc_load, http_load, require_wrk
from bench.sample import (
    HEADING,
    BenchError,
    Load,
    Sample,
    cpu_ratio,
    cpu_seconds,
    line,
    machine_busy,
    middle,
    ratio,
)
from tests.support.ports import HOST, free_port, is_listening
from tests.support.processes import Process, ProcessFailed
from tests.support.programs import MissingProgram
from tests.support.servers import Database, MariaDBServer
from tests.support.under_test import ROOT, CoordinatorProcess, store_settings

_YARDSTICKS = {"http": ("bare_http.py", 36789), "grpc": ("bare_grpc.py", 36890)}  # their ports are fixed
_YARDSTICK_DATABASE = "dtm"  # so is its name
_WARM_UP_SECONDS = 2
_LOOK_SECONDS = 1.0  # how long the machine is looked at before the start
_BUSY_SHARE = 0.1  # of all cores


@dataclass(frozen=True, slots=True)
class Subject:
    """A server that is measured."""

    name: str
    process: Process
    target: str  # host:port
    database: Database


class Bench:
    """Everything that runs, and how one measurement is made."""

    def __init__(self, options: argparse.Namespace, opened: ExitStack) -> None:
        """Start the servers; `opened` ends them."""
        self._protocol = "grpc" if options.grpc else "http"
        self._load: Callable[..., Load] = grpc_load if options.grpc else http_load
        if not options.grpc:
            require_wrk()
        self._at_a_time: int = options.at_a_time
        self._opened = opened
        self._folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="dtm-bench-")))
        self._server = opened.enter_context(MariaDBServer())
        self.branch = opened.enter_context(BranchProcess(self._protocol, self._folder))
        self.subjects = [self._coordinator("dtm", _YARDSTICK_DATABASE, None)]
        if options.traced:
            self.subjects.append(self._traced())
        if options.against is not None:
            self.subjects.append(self._coordinator("other dtm", "other", options.against.resolve()))
        if options.yardstick is not None:
            self.subjects.append(self._yardstick(options.yardstick.resolve()))
        if options.reference is not None:
            self.subjects.append(self._reference(options.reference.resolve()))

    def measure(self, subject: Subject, seconds: int) -> Sample:
        """Drive the subject on empty tables for so long."""
        subject.database.execute("TRUNCATE trans_global; TRUNCATE trans_branch_op")
        pids = (subject.process.pid, self._server.process().pid)
        before = [cpu_seconds(pid) for pid in pids]
        load = self._load(
            subject.target,
            self.branch.address,
            uuid.uuid4().hex[:12],
            at_a_time=self._at_a_time,
            seconds=seconds,
        )
        server_cpu, database_cpu = (cpu_seconds(pid) - used for pid, used in zip(pids, before, strict=True))
        self._check(subject, load)
        return Sample(load, 1e6 * server_cpu / load.sagas, 1e6 * database_cpu / load.sagas)

    def _check(self, subject: Subject, load: Load) -> None:
        if load.errors or not load.sagas:
            raise BenchError(
                f"{subject.name}: {load.errors} errors, {load.sagas} sagas\n{subject.process.output()}"
            )
        counted = subject.database.execute("SELECT COUNT(*) FROM trans_global WHERE status = 'succeed'")
        if int(str(counted[0][0])) < load.sagas:
            raise BenchError(f"{subject.name}: answered {load.sagas} sagas, stored {counted[0][0]}")

    def _traced(self) -> Subject:
        """A dtm that records every transaction and sends the spans to somebody who throws them away."""
        sink = self._opened.enter_context(BranchProcess("http", self._folder / "sink"))
        telemetry = {"Endpoint": sink.address, "Batcher": "otlphttp", "Sampler": 1.0}
        return self._coordinator("dtm traced", "traced", None, {"Telemetry": telemetry})

    def _coordinator(
        self,
        name: str,
        database_name: str,
        checkout: Path | None,
        settings: Mapping[str, object] | None = None,
    ) -> Subject:
        database = self._server.create_database(database_name)
        process = CoordinatorProcess(
            self._folder / database_name,
            store=database,
            settings=settings,
            environment={} if checkout is None else {"PYTHONPATH": str(checkout)},
        )
        self._opened.enter_context(process)
        target = process.grpc_address if self._protocol == "grpc" else f"{HOST}:{process.http_port}"
        return Subject(name, process, target, database)

    def _yardstick(self, folder: Path) -> Subject:
        program, port = _YARDSTICKS[self._protocol]
        if not (folder / program).is_file():
            raise BenchError(f"{folder} has no {program}")
        if is_listening(port):
            raise BenchError(f"port {port}, which {program} needs, is taken")
        process = Process(
            [sys.executable, str(folder / program)],
            name=program,
            environment={**os.environ, "MYSQL_PORT": str(self._server.port)},
            folder=self._folder,
            ready=lambda: is_listening(port),
        )
        self._opened.enter_context(process)
        return Subject("yardstick", process, f"{HOST}:{port}", self._server.database(_YARDSTICK_DATABASE))

    def _reference(self, program: Path) -> Subject:
        """A Go dtm server over the same MariaDB, its settings its own but for the ports and the store."""
        database = self._server.create_database("reference", schema=ROOT / "sql" / "coordinator.mysql.sql")
        ports = {name: free_port() for name in ("HttpPort", "GrpcPort", "JsonRpcPort")}
        folder = self._folder / "reference"
        folder.mkdir()
        settings = {"Store": store_settings(database), "LogLevel": "warn", **ports}
        (folder / "conf.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        process = Process(
            [str(program), "-c", "conf.yml"],
            name=program.name,
            environment=dict(os.environ),
            folder=folder,
            ready=lambda: is_listening(ports["HttpPort"]) and is_listening(ports["GrpcPort"]),
        )
        self._opened.enter_context(process)
        port = ports["GrpcPort" if self._protocol == "grpc" else "HttpPort"]
        return Subject("reference", process, f"{HOST}:{port}", database)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    busy = machine_busy(_LOOK_SECONDS)
    if busy > _BUSY_SHARE:
        print(
            f"others use {busy:.0%} of this machine:"
            " rates mean little, and every µs is dearer than on a quiet one"
        )
    with ExitStack() as opened:
        bench = Bench(options, opened)
        print(
            f"two-step {'gRPC' if options.grpc else 'HTTP'} sagas with wait_result,"
            f" {options.at_a_time} at a time, {options.seconds} s a run;"
            f" branch: {bench.branch.name}; {os.cpu_count()} cores"
        )
        for subject in bench.subjects:
            bench.measure(subject, _WARM_UP_SECONDS)
        samples: dict[str, list[Sample]] = {subject.name: [] for subject in bench.subjects}
        print(HEADING)
        for _ in range(options.rounds):
            for subject in bench.subjects:
                sample = bench.measure(subject, options.seconds)
                samples[subject.name].append(sample)
                print(line(subject.name, sample), flush=True)
        print("median")
        for name, taken in samples.items():
            print(line(name, middle(taken)))
        ours, *others = samples.items()
        for name, taken in others:
            print(
                f"{ours[0]} / {name}: {ratio(ours[1], taken):.2f} of the sagas a second,"
                f" {cpu_ratio(ours[1], taken):.2f} of the server µs"
            )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--grpc", action="store_true", help="gRPC sagas to a gRPC branch instead of HTTP")
    parser.add_argument("--seconds", type=int, default=8, help="length of one run (8)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each server, taking turns (3)")
    parser.add_argument("--at-a-time", type=int, default=32, help="sagas at a time (32)")
    parser.add_argument(
        "--traced", action="store_true", help="measure a dtm that traces every transaction too, and the ratio"
    )
    parser.add_argument(
        "--yardstick",
        type=Path,
        metavar="DIR",
        help="measure the bare program in DIR too, bare_http.py or bare_grpc.py, and print the ratio",
    )
    parser.add_argument(
        "--reference", type=Path, metavar="PROGRAM", help="measure a Go dtm server too, and the ratio"
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="CHECKOUT",
        help="measure the dtm of another checkout too, and the ratio",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    try:
        run(_options(arguments))
    except (BenchError, MissingProgram, ProcessFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
