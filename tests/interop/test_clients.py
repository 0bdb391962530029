"""Each client runs all of its patterns against our coordinator; see docs/compatibility.md for the list."""

from collections.abc import Mapping

import pytest

from tests.conftest import StartCoordinator
from tests.interop.conftest import NAMES, ClientProgram, Run
from tests.interop.lines import run_program
from tests.interop.servers import SETTINGS, coordinator_addresses
from tests.support.servers import Database

pytestmark = pytest.mark.timeout(600)  # the Go program may have to be built from nothing


@pytest.mark.parametrize("name", NAMES)
def test_every_pattern_of_the_client_passes(name: str, run: Run, client_program: ClientProgram) -> None:
    lines = run(client_program(name))
    others = [str(line) for line in lines if line.result != "passed"]
    assert not others, "\n".join(others)
    assert len(lines) == len({(line.pattern, line.protocol) for line in lines}), "a pattern has two lines"


@pytest.mark.parametrize("name", ["go-http", "go-grpc"])
@pytest.mark.parametrize("store", ["mariadb", "postgres"])
def test_every_pattern_passes_on_the_other_stores(
    store: str,
    name: str,
    client_program: ClientProgram,
    stores: Mapping[str, str],
    start_coordinator: StartCoordinator,
    request: pytest.FixtureRequest,
) -> None:
    database: Database = request.getfixturevalue(f"{store}_database")
    coordinator = start_coordinator(store=database, settings=SETTINGS)
    lines = run_program(client_program(name), {**stores, **coordinator_addresses(coordinator)})
    others = [str(line) for line in lines if line.result != "passed"]
    assert not others, "\n".join(others)
