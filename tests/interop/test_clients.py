"""Each client runs all of its patterns against our coordinator; see docs/compatibility.md for the list."""

from collections.abc import Mapping

import pytest

from tests.interop.conftest import Run
from tests.interop.lines import Program

pytestmark = pytest.mark.timeout(600)  # the Go program may have to be built from nothing

NAMES = ("go-http", "go-grpc", "dtmcli", "grpcio")


@pytest.mark.parametrize("name", NAMES)
def test_every_pattern_of_the_client_passes(
    name: str, run: Run, client_programs: Mapping[str, Program]
) -> None:
    lines = run(client_programs[name])
    others = [str(line) for line in lines if line.result != "passed"]
    assert not others, "\n".join(others)
    assert len(lines) == len({(line.pattern, line.protocol) for line in lines}), "a pattern has two lines"


def test_the_names_are_those_of_all_programs(client_programs: Mapping[str, Program]) -> None:
    assert set(NAMES) == set(client_programs)
