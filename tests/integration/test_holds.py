"""Endpoints that are held, with coordinators that share a database: over HTTP, gRPC and by `dtm`."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from coordinator.cli.main import main
from coordinator.proto.dtmcoordinator import EndpointsRequest, HoldRequest, OperateStub, ReleaseRequest
from coordinator.proto.google.protobuf import Empty
from tests.support.looking import until
from tests.support.ports import HOST
from tests.support.servers import Database
from tests.support.under_test import CoordinatorProcess

KNOWN_SECONDS = 5.0
SOON = KNOWN_SECONDS + 5.0  # for a machine that is busy with other tests


class Bank(ThreadingHTTPServer):
    """A service that remembers who was called."""

    daemon_threads = True

    def __init__(self) -> None:
        self.called: list[str] = []
        super().__init__((HOST, 0), _Answering)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}"


class _Answering(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Bank)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.called.append(self.path.partition("gid=")[2].partition("&")[0])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def bank() -> Iterator[Bank]:
    server = Bank()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["mariadb", "postgres"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[CoordinatorProcess, ...]]:
    """Two coordinators over one database."""
    store: Database = request.getfixturevalue(f"{request.param}_database")
    made = [
        CoordinatorProcess(tmp_path / name, store=store, settings={"InstanceName": name})
        for name in ("one", "two")
    ]
    with contextlib.ExitStack() as stack:
        for process in made:
            stack.callback(process.close)
            process.start()
        yield tuple(made)
        print(*(process.output() for process in made), sep="\n")


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(tmp_path / "alone").start()
    yield process
    print(process.output())
    process.close()


def dtm(coordinator: CoordinatorProcess, *words: str) -> Result:
    environment = {**dict.fromkeys(os.environ), "DTM_URL": coordinator.http_url, "HOME": "/nowhere"}
    return CliRunner().invoke(main, words, env=environment)


def told(coordinator: CoordinatorProcess, *words: str) -> Any:
    done = dtm(coordinator, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def submit(coordinator: CoordinatorProcess, gid: str, bank: Bank) -> None:
    steps = [{"action": f"{bank.url}/pay", "compensate": ""}]
    body = {"gid": gid, "trans_type": "saga", "steps": steps, "payloads": ["{}"]}
    assert coordinator.post("submit", body)[0] == 200


def status(coordinator: CoordinatorProcess, gid: str) -> Any:
    return coordinator.query(gid)["transaction"]["status"]


def test_what_one_holds_no_other_calls_and_what_one_releases_every_one_does(
    pair: tuple[CoordinatorProcess, ...], bank: Bank
) -> None:
    one, two = pair
    hold = told(one, "hold", f"{bank.url}/pay", "--for", "30m", "--reason", "its rack is moved")
    assert (hold["endpoint"], hold["reason"]) == (bank.url, "its rack is moved")
    until(lambda: told(two, "endpoints", bank.url)["hold"], SOON)
    for number, coordinator in enumerate(pair):
        submit(coordinator, f"waits-{number}", bank)
    why = told(two, "why", "waits-0")
    assert why["code"] == "W06"
    assert f"{bank.url} is held until" in why["sentence"] and "its rack is moved" in why["sentence"]
    shown = told(two, "show", "waits-1")
    assert shown["forecast"]["if_all_succeed"]["calls"][0]["at"] >= hold["until"][:19]
    assert bank.called == []
    assert dtm(two, "release", bank.url, "--reason", "it is back").exit_code == 0
    until(lambda: sorted(bank.called) == ["waits-0", "waits-1"], SOON)
    until(lambda: {status(one, f"waits-{number}") for number in range(2)} == {"succeed"}, SOON)
    assert len(bank.called) == 2, "each once"
    release, held = told(one, "audit", "--limit", "2")
    assert (held["action"], held["target"], held["reason"]) == ("hold", bank.url, "its rack is moved")
    assert (release["action"], release["coordinator"], release["became"]) == ("release", "two", "not held")


def test_what_one_of_several_processes_holds_none_of_them_calls(
    tmp_path: Path, mariadb_database: Database, bank: Bank
) -> None:
    several = CoordinatorProcess(tmp_path / "several", store=mariadb_database, settings={"Workers": 2})
    count = 12  # each on a connection of its own: both have some
    try:
        several.start()
        assert dtm(several, "hold", bank.url, "--for", "30m", "--reason", "moved").exit_code == 0
        time.sleep(KNOWN_SECONDS)  # until then the other may call; it has no way to say that it knows
        for number in range(count):
            submit(several, f"waits-{number}", bank)
        assert {told(several, "why", f"waits-{number}")["code"] for number in range(count)} == {"W06"}
        assert bank.called == []
        assert dtm(several, "release", bank.url, "--reason", "it is back").exit_code == 0
        until(lambda: sorted(bank.called) == sorted(f"waits-{number}" for number in range(count)), 3 * SOON)
    finally:
        print(several.output())
        several.close()


def test_a_hold_outlives_its_coordinator(alone: CoordinatorProcess, bank: Bank) -> None:
    assert dtm(alone, "hold", bank.url, "--for", "1h", "--reason", "moved").exit_code == 0
    submit(alone, "waits", bank)
    alone.kill()
    alone.start()
    assert told(alone, "endpoints", bank.url)["hold"]["reason"] == "moved"
    submit(alone, "waits too", bank)
    assert bank.called == []
    assert dtm(alone, "release", bank.url).exit_code == 0
    until(lambda: len(bank.called) == 2, 30 + SOON)  # what its earlier self had at hand comes at its time


def test_a_hold_ends_by_itself(alone: CoordinatorProcess, bank: Bank) -> None:
    assert dtm(alone, "hold", bank.url, "--for", "3s", "--reason", "short").exit_code == 0
    submit(alone, "waits", bank)
    until(lambda: bank.called == ["waits"], 3 + SOON)
    assert told(alone, "endpoints", bank.url)["hold"] is None


def test_how_calls_went_is_shown(alone: CoordinatorProcess, bank: Bank) -> None:
    for number in range(5):
        submit(alone, f"g{number}", bank)
    until(lambda: len(bank.called) == 5, SOON)
    found = told(alone, "endpoints", f"{bank.url}/any")
    assert (found["calls"]["success"], found["success_rate"], found["stuck"]) == (5, 1.0, 0)
    assert 0 < found["median_seconds"] <= found["p99_seconds"] < 5
    assert bank.url in dtm(alone, "endpoints").stdout
    words = dtm(alone, "endpoints", bank.url).stdout
    assert "5 success in the last minutes" in words


def test_what_is_wrong_is_said_by_its_field(alone: CoordinatorProcess) -> None:
    for words, says in (
        (("hold", "bank", "--for", "1h", "--reason", "x"), "endpoint: 'bank' has no port"),
        (("hold", "http://bank", "--for", "0s", "--reason", "x"), "seconds: must be from 1"),
        (("hold", "http://bank", "--for", "40d", "--reason", "x"), "seconds: must be from 1"),
        (("hold", "http://bank", "--for", "soon", "--reason", "x"), "is no time such as 30m"),
        (("hold", "http://bank", "--for", "1h", "--reason", " "), "reason: say why"),
        (("release", "http://bank"), "endpoint 'http://bank:80' is not held"),
    ):
        done = dtm(alone, *words)
        assert done.exit_code != 0, words
        assert says in done.output


async def test_the_same_over_grpc(alone: CoordinatorProcess) -> None:
    async with Channel(HOST, alone.grpc_port) as channel:
        operate = OperateStub(channel)
        wanted = HoldRequest(endpoint="bank:9090/pay.Bank/Pay", seconds=600, reason="moved")
        made = await operate.preview_hold(wanted)
        assert "No call to bank:9090 starts before" in made.sentences[0]
        assert (await operate.holds(Empty())).holds == []
        hold = await operate.hold(wanted)
        assert (hold.endpoint, hold.reason) == ("bank:9090", "moved")
        assert (await operate.holds(Empty())).holds == [hold]
        (found,) = (await operate.endpoints(EndpointsRequest(endpoint="bank:9090"))).endpoints
        assert found.hold == hold
        await operate.release(ReleaseRequest(endpoint="bank:9090"))
        with pytest.raises(GRPCError) as refused:
            await operate.release(ReleaseRequest(endpoint="bank:9090"))
        assert refused.value.status is Status.ABORTED
        (found,) = (await operate.endpoints(EndpointsRequest(endpoint="bank:9090"))).endpoints
        assert found.hold is None
