"""Fixtures for every test.

A server is started when the first test asks for it, once a session. A test may stop or kill it: the next
test that asks finds it running again.
"""

import contextlib
import random
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import hypothesis
import pytest

from tests.support import programs
from tests.support.could_not_run import (
    pytest_collectreport,
    pytest_runtest_logreport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from tests.support.event_loops import pytest_asyncio_loop_factories, pytest_collection_modifyitems
from tests.support.ports import free_port
from tests.support.servers import (
    Database,
    EtcdServer,
    MariaDBServer,
    PostgresDatabase,
    PostgresServer,
    RedisServer,
    ThrowAwayServer,
)
from tests.support.under_test import BranchProcess, CoordinatorProcess, Store
from tests.support.workers import pytest_collection, pytest_xdist_auto_num_workers

__all__ = [
    "pytest_asyncio_loop_factories",
    "pytest_collection",
    "pytest_collection_modifyitems",
    "pytest_collectreport",
    "pytest_runtest_logreport",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_xdist_auto_num_workers",
]

# ---- seeds ---------------------------------------------------------------------------------------

# A machine that others use is not a failing test.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --seed."""
    parser.addoption("--seed", type=int, default=None, help="repeat the random choices of an earlier run")


def pytest_configure(config: pytest.Config) -> None:
    """Draw the seed unless one was given; let a SIGTERM end the servers too, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if config.getoption("seed") is None:
        config.option.seed = random.SystemRandom().randrange(1_000_000)


def pytest_report_header(config: pytest.Config) -> str:
    """Print the seed before anything can fail."""
    return f"seed: {config.getoption('seed')} (repeat with --seed, or make … SEED=)"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Return the run's seed; all random choices of a test come from it."""
    value: int = request.config.getoption("seed")
    return value


# ---- throw-away servers --------------------------------------------------------------------------


class Needs(Protocol):
    """Return the path of a program, or report the test as one that could not run."""

    def __call__(self, program: str, install: str) -> str:
        """install: what a person has to install to have the program."""


@pytest.fixture
def needs() -> Needs:
    """Return a function that asks for a program: `needs("go", "Go 1.22 or newer")`."""

    def find(program: str, install: str) -> str:
        path = programs.find(program)
        if path is None:
            pytest.skip(f"{program} not found; install {install}")
        return path

    return find


Server = TypeVar("Server", bound=ThrowAwayServer)


def _session_server(make: Callable[[], Server]) -> Iterator[Server]:
    try:
        server = make()
    except programs.MissingProgram as error:
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture(scope="session")
def _mariadb() -> Iterator[MariaDBServer]:
    yield from _session_server(MariaDBServer)


@pytest.fixture(scope="session")
def _postgres() -> Iterator[PostgresServer]:
    yield from _session_server(PostgresServer)


@pytest.fixture(scope="session")
def _etcd() -> Iterator[EtcdServer]:
    yield from _session_server(EtcdServer)


@pytest.fixture(scope="session")
def _redis() -> Iterator[RedisServer]:
    yield from _session_server(RedisServer)


@pytest.fixture
def redis_server(_redis: RedisServer) -> RedisServer:
    """Return the session's Redis, running; keys of earlier tests may be in it."""
    return _redis.start()


@pytest.fixture
def mariadb(_mariadb: MariaDBServer) -> MariaDBServer:
    """Return the session's MariaDB, running."""
    return _mariadb.start()


@pytest.fixture
def postgres(_postgres: PostgresServer) -> PostgresServer:
    """Return the session's PostgreSQL, running."""
    return _postgres.start()


@pytest.fixture
def etcd(_etcd: EtcdServer) -> EtcdServer:
    """Return the session's etcd, running; keys of earlier tests may be in it."""
    return _etcd.start()


@pytest.fixture
def mariadb_database(mariadb: MariaDBServer) -> Iterator[Database]:
    """Return an empty database of this test's own."""
    database = mariadb.create_database()
    yield database
    mariadb.start().drop_database(database.name)


@pytest.fixture
def postgres_database(postgres: PostgresServer) -> Iterator[PostgresDatabase]:
    """Return an empty database of this test's own."""
    database = postgres.create_database()
    yield database
    postgres.start().drop_database(database.name)


# ---- programs under test -------------------------------------------------------------------------


class StartCoordinator(Protocol):
    """Start a coordinator on free ports and wait until it is ready; it is stopped after the test."""

    def __call__(
        self,
        *,
        store: Store | None = None,
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> CoordinatorProcess:
        """store: None is a new SQLite file. settings: further keys of conf.yml."""


class StartBranch(Protocol):
    """Start a reference branch and wait until its port is open; it is stopped after the test."""

    def __call__(
        self,
        name: str,
        configuration: Mapping[str, Any],
        *,
        port: int,
        environment: Mapping[str, str] | None = None,
    ) -> BranchProcess:
        """name: user, score or api. configuration: its yaml file, which names `port` itself."""


@pytest.fixture
def start_coordinator(tmp_path: Path) -> Iterator[StartCoordinator]:
    """Return a function that starts coordinators; what they printed is shown when the test fails."""
    with contextlib.ExitStack() as stack:
        started: list[CoordinatorProcess] = []

        def start(
            *,
            store: Store | None = None,
            settings: Mapping[str, Any] | None = None,
            environment: Mapping[str, str] | None = None,
        ) -> CoordinatorProcess:
            folder = tmp_path / f"coordinator-{len(started) + 1}"
            process = CoordinatorProcess(folder, store=store, settings=settings, environment=environment)
            started.append(process)
            stack.callback(_end, process)
            return process.start()

        yield start


@pytest.fixture
def start_branch(tmp_path: Path) -> Iterator[StartBranch]:
    """Return a function that starts reference branches; what they printed is shown when the test fails."""
    with contextlib.ExitStack() as stack:

        def start(
            name: str,
            configuration: Mapping[str, Any],
            *,
            port: int,
            environment: Mapping[str, str] | None = None,
        ) -> BranchProcess:
            process = BranchProcess(
                name, tmp_path / f"{name}-{port}", configuration, port=port, environment=environment
            )
            stack.callback(_end, process)
            return process.start()

        yield start


def _end(process: CoordinatorProcess | BranchProcess) -> None:
    print(f"---- {process.name} printed ----\n{process.output()}")
    process.close()


@pytest.fixture
def unused_port() -> int:
    """Return a free local TCP port; `tests.support.ports.free_port` gives more."""
    return free_port()
