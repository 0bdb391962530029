"""Fixtures of the interop tests: everything is started once, each program runs once, whoever asks for it."""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest

from tests.interop import curl
from tests.interop import go_zero as go_zero_scenarios
from tests.interop.lines import Line, Program, line_of, run_program
from tests.interop.servers import SETTINGS, build_go, business_stores, coordinator_addresses
from tests.support import programs
from tests.support.servers import EtcdServer, MariaDBServer
from tests.support.under_test import CoordinatorProcess

# Without a server of the reference there is nothing to compare; the summary below says so.

Run = Callable[[Program], list[Line]]
ClientProgram = Callable[[str], Program]
GoZero = Callable[[], list[Line]]
NAMES = ("go-http", "go-grpc", "dtmcli", "grpcio")
GO_ZERO = "Go: go-zero 1.3.5 with dtmdriver-gozero 0.0.7"
_seen: dict[Line, None] = {}  # every line of this session, in order


@pytest.fixture(scope="session")
def stores(_mariadb: MariaDBServer) -> Iterator[Mapping[str, str]]:
    """Return where the business databases are, as environment variables."""
    try:
        with business_stores(_mariadb.start()) as addresses:
            yield addresses
    except programs.MissingProgram as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    """Return the coordinator that all programs talk to."""
    process = CoordinatorProcess(tmp_path_factory.mktemp("coordinator"), settings=SETTINGS)
    with contextlib.closing(process):
        yield process.start()


@pytest.fixture(scope="session")
def go_program() -> Path:
    """Return the Go program, built."""
    try:
        return build_go()
    except programs.MissingProgram as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def client_program(request: pytest.FixtureRequest) -> ClientProgram:
    """Return a function that gives the program of that name; only those in Go need Go."""
    go = "Go: dtmcli, dtmgrpc, workflow (github.com/dtm-labs/client 1.18.7)"

    def find(name: str) -> Program:
        match name:
            case "go-http" | "go-grpc":
                program: Path = request.getfixturevalue("go_program")
                return Program(go, name, (str(program), "run", name.removeprefix("go-")))
            case "dtmcli":
                return Program("Python: dtmcli 1.7.7.0", name, _python("dtmcli_client"))
            case "grpcio":
                return Program("Python: grpcio", name, _python("grpcio_client"))
        raise LookupError(name)

    return find


def _python(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"tests.interop.python.{module}")


@pytest.fixture(scope="session")
def run(stores: Mapping[str, str], coordinator: CoordinatorProcess) -> Run:
    """Return a function that runs a program against our coordinator, once a session."""
    done: dict[str, list[Line]] = {}

    def once(program: Program) -> list[Line]:
        if program.name not in done:
            done[program.name] = run_program(program, {**stores, **coordinator_addresses(coordinator)})
            note(done[program.name])
        return done[program.name]

    return once


@pytest.fixture(scope="session")
def go_zero(
    stores: Mapping[str, str], _etcd: EtcdServer, go_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> GoZero:
    """Return a function that runs go-zero's two directions, once a session."""
    done: list[Line] = []

    def once() -> list[Line]:
        if not done:
            folder = tmp_path_factory.mktemp("go-zero")
            with go_zero_scenarios.world(folder, go_program, _etcd.start(), stores) as it:
                for pattern, scenario in (
                    (
                        "service in etcd, a branch of a saga from Python",
                        go_zero_scenarios.service_as_a_branch,
                    ),
                    ("api whose saga calls Python services in etcd", go_zero_scenarios.api_in_front),
                ):
                    done.append(line_of(GO_ZERO, pattern, "grpc", functools.partial(scenario, it)))
            note(done)
        return done

    return once


@pytest.fixture(scope="session")
def curl_lines(tmp_path_factory: pytest.TempPathFactory) -> list[Line]:
    """Return what the documents' curl examples print at a coordinator of their own, compared."""
    folder = tmp_path_factory.mktemp("curl")
    process = CoordinatorProcess(folder / "coordinator", settings=SETTINGS)
    with contextlib.closing(process):
        found = curl.answers(process.start(), folder)
    if writing():
        curl.write(found)
    lines = curl.lines(found)
    note(lines)
    return lines


def writing() -> bool:
    """Return whether docs/compatibility.md and the curl answers are written anew (`make compatibility`)."""
    return bool(os.environ.get("WRITE_COMPATIBILITY"))


def note(lines: list[Line]) -> None:
    """Keep lines for the summary."""
    _seen.update(dict.fromkeys(lines))


def pytest_terminal_summary(terminalreporter: object) -> None:
    """Print one line per client, pattern and protocol."""
    if not _seen:
        return
    reporter = cast("pytest.TerminalReporter", terminalreporter)
    reporter.section("other people's clients")
    for line in _seen:
        reporter.write_line(str(line))
