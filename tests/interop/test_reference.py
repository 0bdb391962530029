"""The same programs against a server of the reference, where DTM_REFERENCE_URL names one."""

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from branches.proto.user import UserRequest
from coordinator.client import Dtm, Ongoing, Status
from tests.conftest import StartBranch
from tests.interop import mixed_fleet
from tests.interop.conftest import NAMES, ClientProgram, Run, note
from tests.interop.lines import Line, line_of, run_program
from tests.interop.recorded.replay import differences
from tests.support.could_not_run import NOT_ASKED_FOR
from tests.support.reference_server import GRPC, HTTP, MYSQL, asks_reference

pytestmark = [pytest.mark.timeout(600), asks_reference]

NO_PAYLOAD = "§10: a JSON-RPC call without a payload has params all the same; the reference never gets it out"
# What the reference is expected not to do, and the rule of ours that says better.
BETTER = {
    ("workflow: executed again, answers from what is stored", "grpc"): "§4: DtmTransaction.Result is filled",
    ("msg and topic", "grpc"): "§8: the one that changed a topic knows it at once",
    ("reflection v1, as grpcurl", "grpc"): "§4: reflection as v1, too",
    ("msg: query-prepared says committed", "json-rpc"): NO_PAYLOAD,
    ("msg: query-prepared says rolled back", "json-rpc"): NO_PAYLOAD,
}


@pytest.fixture(scope="module")
def reference(
    client_program: ClientProgram, stores: Mapping[str, str]
) -> Mapping[tuple[str, str, str], Line]:
    """Return what the programs say of the reference, by client, pattern and protocol."""
    where = {**stores, "INTEROP_HTTP": HTTP, "INTEROP_GRPC": GRPC}
    lines = [line for name in NAMES for line in run_program(client_program(name), where)]
    return {(it.client, it.pattern, it.protocol): it for it in lines}


def test_both_servers_do_the_same_but_for_what_ours_does_better(
    reference: Mapping[tuple[str, str, str], Line], run: Run, client_program: ClientProgram
) -> None:
    ours = {(it.client, it.pattern, it.protocol): it for name in NAMES for it in run(client_program(name))}
    assert ours.keys() == reference.keys()
    differing = [key for key in ours if ours[key].result != reference[key].result]
    print("differences between the reference and ours:")
    for key in differing:
        rule = BETTER.get(key[1:], "NO RULE SAYS SO")
        print(f"| {' | '.join(key)} | {reference[key].result} | {ours[key].result} | {rule} |")
    assert {key[1:] for key in differing} == BETTER.keys()


def test_the_reference_still_answers_as_recorded() -> None:
    found = [str(it) for it in differences(HTTP, pause_seconds=0.15) if it.path != "answer.version"]
    assert not found, "\n".join(found)


async def test_our_client_and_our_services_work_with_the_reference(
    start_branch: StartBranch, tmp_path: Path, unused_port: int
) -> None:
    """It calls them with content-type application/grpc+dtm_raw."""
    database = tmp_path / "user.db"
    settings = {
        "Name": "user.rpc",
        "ListenOn": f"127.0.0.1:{unused_port}",
        "DataSource": f"sqlite:///{database}",
    }
    service = start_branch("user", settings, port=unused_port)
    save, undo = (f"{service.address}/user.User/{method}" for method in ("saveUser", "saveUserCallback"))
    async with Dtm(f"grpc://{GRPC}") as dtm:
        ann = bytes(UserRequest(id="7", name="ann", gender="female"))
        await dtm.saga(wait_result=True).add(save, undo, ann).submit()
        undone = dtm.saga(wait_result=True, timeout_to_fail=1)
        undone.add(save, undo, bytes(UserRequest(id="8", name="bob", gender="male")))
        undone.add("127.0.0.1:1/nobody.Here/Listens", "", b"")
        with pytest.raises(Ongoing):
            await undone.submit()
    async with Dtm(HTTP) as dtm:
        await _until_failed(dtm, undone.gid)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT id, name FROM user").fetchall() == [(7, "ann")]


async def _until_failed(dtm: Dtm, gid: str) -> None:
    deadline = time.monotonic() + 30
    while (stored := await dtm.query(gid)) is None or not stored.is_final:
        assert time.monotonic() < deadline, stored
        await asyncio.sleep(0.2)  # the reference has no event for its outside
    assert stored.status is Status.FAILED


@pytest.mark.skipif(not MYSQL, reason=f"{NOT_ASKED_FOR}DTM_REFERENCE_MYSQL names no database")
@pytest.mark.parametrize("scenario", mixed_fleet.SCENARIOS, ids=lambda it: it.__name__)
def test_over_one_database_each_finishes_what_the_other_began(
    scenario: mixed_fleet.Scenario, tmp_path: Path
) -> None:
    with mixed_fleet.joined(MYSQL, HTTP, tmp_path) as fleet:
        line = line_of("mixed fleet", scenario.__name__.replace("_", " "), "http", lambda: scenario(fleet))
    note([line])
    assert line.result == "passed", str(line)
