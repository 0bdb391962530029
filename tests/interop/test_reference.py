"""The same programs against a server of the reference; collected only where DTM_REFERENCE_URL names one."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.interop import mixed_fleet
from tests.interop.conftest import Run, note
from tests.interop.lines import Line, Program, line_of, run_program
from tests.interop.recorded.replay import differences

pytestmark = pytest.mark.timeout(600)

URL = os.environ["DTM_REFERENCE_URL"]
GRPC = os.environ.get("DTM_REFERENCE_GRPC", "localhost:36790")
MYSQL = os.environ.get("DTM_REFERENCE_MYSQL", "")
NAMES = ("go-http", "go-grpc", "dtmcli", "grpcio")

# What the reference is expected not to do, and the rule of ours that says better.
BETTER = {
    ("workflow: executed again, answers from what is stored", "grpc"): "§4: DtmTransaction.Result is filled",
    ("msg and topic", "grpc"): "§8: the one that changed a topic knows it at once",
    ("reflection v1, as grpcurl", "grpc"): "§4: reflection as v1, too",
}


@pytest.fixture(scope="module")
def reference(
    client_programs: Mapping[str, Program], stores: Mapping[str, str]
) -> Mapping[tuple[str, str, str], Line]:
    """Return what the programs say of the reference, by client, pattern and protocol."""
    where = {**stores, "INTEROP_HTTP": URL, "INTEROP_GRPC": GRPC}
    lines = [line for name in NAMES for line in run_program(client_programs[name], where)]
    return {(it.client, it.pattern, it.protocol): it for it in lines}


def test_both_servers_do_the_same_but_for_what_ours_does_better(
    reference: Mapping[tuple[str, str, str], Line], run: Run, client_programs: Mapping[str, Program]
) -> None:
    ours = {(it.client, it.pattern, it.protocol): it for name in NAMES for it in run(client_programs[name])}
    assert ours.keys() == reference.keys()
    differing = [key for key in ours if ours[key].result != reference[key].result]
    print("differences between the reference and ours:")
    for key in differing:
        rule = BETTER.get(key[1:], "NO RULE SAYS SO")
        print(f"| {' | '.join(key)} | {reference[key].result} | {ours[key].result} | {rule} |")
    assert {key[1:] for key in differing} == BETTER.keys()


def test_the_reference_still_answers_as_recorded() -> None:
    found = [str(it) for it in differences(URL, pause_seconds=0.15) if it.path != "answer.version"]
    assert not found, "\n".join(found)


@pytest.mark.skipif(not MYSQL, reason="DTM_REFERENCE_MYSQL is not set")
@pytest.mark.parametrize("scenario", mixed_fleet.SCENARIOS, ids=lambda it: it.__name__)
def test_over_one_database_each_finishes_what_the_other_began(
    scenario: mixed_fleet.Scenario, tmp_path: Path
) -> None:
    with mixed_fleet.joined(MYSQL, URL, tmp_path) as fleet:
        line = line_of("mixed fleet", scenario.__name__.replace("_", " "), "http", lambda: scenario(fleet))
    note([line])
    assert line.result == "passed", str(line)
