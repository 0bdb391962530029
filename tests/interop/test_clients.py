"""Each client runs all of its patterns against our coordinator; see docs/compatibility.md for the list."""

from collections.abc import Mapping

import pytest
from click.testing import CliRunner

from coordinator.cli.main import main
from tests.conftest import StartCoordinator
from tests.interop.conftest import NAMES, ClientProgram, Run
from tests.interop.lines import run_program
from tests.interop.servers import GO_FOLDER, SETTINGS, coordinator_addresses
from tests.support.documents import ROOT, fenced_blocks
from tests.support.servers import Database

pytestmark = pytest.mark.timeout(600)  # the Go program may have to be built from nothing


@pytest.mark.parametrize("name", NAMES)
def test_every_pattern_of_the_client_passes(name: str, run: Run, client_program: ClientProgram) -> None:
    lines = run(client_program(name))
    others = [str(line) for line in lines if line.result != "passed"]
    assert not others, "\n".join(others)
    assert len(lines) == len({(line.pattern, line.protocol) for line in lines}), "a pattern has two lines"


@pytest.mark.parametrize("name", ["go-http", "go-grpc"])
def test_every_pattern_passes_with_a_token_where_each_call_needs_one(
    name: str,
    client_program: ClientProgram,
    stores: Mapping[str, str],
    start_coordinator: StartCoordinator,
) -> None:
    """Its branches refuse calls that bring the token with them."""
    coordinator = start_coordinator(settings={**SETTINGS, "Access": {"Mode": "all"}})
    words = ["token", "create", "--name", "go", "--role", "admin", "-c", str(coordinator.configuration_file)]
    made = CliRunner().invoke(main, words)
    assert made.exit_code == 0, made.stderr
    assert coordinator.post("submit", {"gid": "without", "trans_type": "saga"})[0] == 401
    addresses = {**stores, **coordinator_addresses(coordinator), "INTEROP_TOKEN": made.stdout.strip()}
    lines = run_program(client_program(name), addresses)
    others = [str(line) for line in lines if line.result != "passed"]
    assert lines and not others, "\n".join(others)


def test_the_hook_in_the_document_is_the_one_that_is_tested() -> None:
    text = (ROOT / "docs" / "security.md").read_text("utf-8")
    [shown] = [block.text for block in fenced_blocks(text) if block.language == "go"]
    assert shown in (GO_FOLDER / "token.go").read_text("utf-8")


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
