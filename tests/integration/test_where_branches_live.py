"""A coordinator calls neither itself nor a metadata address, whoever asks and however (PROTOCOL §10)."""

import json
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
import yaml

from tests.support.branch_server import branch_server
from tests.support.three_clients import ERROR, PROTOCOLS, SUCCESS, client_of
from tests.support.under_test import CoordinatorProcess

OWN = "is this coordinator itself"
GUARDED = "credentials"


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(tmp_path_factory.mktemp("coordinator"))
    with closing(process), process:
        yield process


def hosts_of_this_machine() -> set[str]:
    """By every name that it has, and every way to write its addresses."""
    found = {str(place[4][0]) for place in socket.getaddrinfo(socket.gethostname(), None)}
    written = {f"[{address.partition('%')[0]}]" if ":" in address else address for address in found}
    return written | {
        *("localhost", "LOCALHOST.", socket.gethostname(), "127.0.0.1", "127.9.9.9", "0.0.0.0"),
        *("0x7f.1", "0x7f000001", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_no_branch_is_the_coordinator_itself_by_any_name(
    coordinator: CoordinatorProcess, protocol: str
) -> None:
    async with client_of(protocol, coordinator) as client:
        for host in sorted(hosts_of_this_machine()):
            for port in (coordinator.http_port, coordinator.grpc_port):
                gid = f"own-{uuid.uuid4()}"
                url = f"http://{host}:{port}/api/dtmsvr/submit?method=x"
                saga = {"gid": gid, "trans_type": "saga", "steps": [{"action": url}], "payloads": ["{}"]}
                outcome = await client.ask("submit", saga)
                assert (outcome.kind, OWN in outcome.message) == (ERROR, True), outcome
                assert "steps[0].action" in outcome.message
                assert await _stored(coordinator, gid) is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_no_branch_is_a_metadata_address(coordinator: CoordinatorProcess, protocol: str) -> None:
    async with client_of(protocol, coordinator) as client:
        for host in ("169.254.169.254", "0xa9fea9fe", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"):
            url, gid = f"http://{host}/latest/meta-data?method=x", f"metadata-{uuid.uuid4()}"
            msg = {"gid": gid, "trans_type": "msg", "steps": [{"action": url}], "payloads": [""]}
            outcome = await client.ask("submit", msg | {"wait_result": True})
            assert (outcome.kind, GUARDED in outcome.message) == (ERROR, True), outcome
            assert await _stored(coordinator, gid) is None
            tcc = {"gid": gid, "trans_type": "tcc"}
            assert (await client.ask("prepare", tcc)).kind == SUCCESS
            branch = tcc | {"branch_id": "01", "data": "{}", "confirm": url, "cancel": ""}
            outcome = await client.ask("registerBranch", branch)
            assert (outcome.kind, GUARDED in outcome.message) == (ERROR, True), outcome
            assert (await client.ask("abort", tcc)).kind == SUCCESS


async def test_a_row_that_is_there_already_is_judged_when_it_is_called(tmp_path: Path) -> None:
    """Refused is no result: told by its rule, and never a rollback."""
    async with branch_server() as branches:
        gid = "there already"
        prepared = {
            "gid": gid,
            "trans_type": "msg",
            "steps": [{"action": branches.url("http", "ok")}],
            "payloads": ["{}"],
        }
        process = CoordinatorProcess(tmp_path)
        with closing(process), process:
            async with client_of("http", process) as client:
                assert (await client.ask("prepare", prepared)).kind == SUCCESS
            process.stop()
            _configure(process, {"Branches": {"Deny": "127.0.0.0/8"}})
            process.start()
            async with client_of("http", process) as client:
                outcome = await client.ask("submit", {"gid": gid, "trans_type": "msg", "wait_result": True})
                assert outcome.kind == ERROR
                assert "not called (127.0.0.1 is denied by Branches.Deny: 127.0.0.0/8)" in outcome.message
                stored = await _stored(process, gid)
                assert stored is not None and stored["status"] == "submitted"
            assert branches.asked == []


def test_rules_that_cannot_be_meant_are_named(tmp_path: Path) -> None:
    process = CoordinatorProcess(tmp_path, settings={"Branches": {"Allow": "10.1.2.3/8"}})
    with closing(process):
        said = _start_to_fail(process)
    assert "Branches.Allow: '10.1.2.3/8' begins within the network 10.0.0.0/8" in said


def _start_to_fail(process: CoordinatorProcess) -> str:
    command = [sys.executable, "-m", "coordinator", "-c", str(process.configuration_file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    return done.stderr


def _configure(process: CoordinatorProcess, settings: dict[str, object]) -> None:
    process.configuration |= settings
    process.configuration_file.write_text(yaml.safe_dump(process.configuration), encoding="utf-8")


async def _stored(process: CoordinatorProcess, gid: str) -> dict[str, object] | None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{process.http_url}/api/dtmsvr/query", params={"gid": gid}) as answer,
    ):
        found: dict[str, object] | None = json.loads(await answer.text())["transaction"]
        return found
