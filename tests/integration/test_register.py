"""The register saga end to end: a coordinator, user, score and api as processes of their own."""

import asyncio
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import etcd3
import pytest
import yaml

from coordinator.client import Dtm, Status, TransactionView
from tests.conftest import StartBranch, StartCoordinator
from tests.support.ports import HOST, free_port
from tests.support.processes import Process
from tests.support.servers import Database, EtcdServer, MariaDBServer
from tests.support.under_test import ROOT, BranchProcess, CoordinatorProcess

SCORE_LIMIT = 100
FINISH_SECONDS = 90
REGISTRATIONS = 60
# The smallest that the protocol takes is 10 s; a test that does not want to wait makes the transaction due
# itself.
SETTINGS = {"TransCronInterval": 1}


@dataclass
class Answer:
    """What `POST /register` said."""

    status: int
    body: dict[str, Any]
    gid: str


@dataclass
class Fleet:
    """Everything that runs, and how to look at it from outside."""

    coordinator: CoordinatorProcess
    user: BranchProcess
    score: BranchProcess
    api: BranchProcess
    rows_of: Callable[[str, str], list[tuple[Any, ...]]]

    async def register(self, name: str = "ann", score: int | None = None) -> Answer:
        body = {"name": name, "gender": "female", **({} if score is None else {"score": score})}
        timeout = aiohttp.ClientTimeout(total=30)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"http://{self.api.address}/register", json=body) as response,
        ):
            return Answer(response.status, await response.json(), response.headers.get("dtm-gid", ""))

    async def registered(self, name: str = "") -> list[tuple[Any, ...]]:
        """(id, name, score) of those who are in either table: both tables must agree row by row."""
        users = dict(await asyncio.to_thread(self.rows_of, "user", "id, name"))
        scores = dict(await asyncio.to_thread(self.rows_of, "user_score", "user_id, score"))
        assert users.keys() == scores.keys(), "a user without a score, or the other way round"
        return sorted((number, users[number], scores[number]) for number in users if name in users[number])

    def start_what_is_down(self) -> None:
        for process in (self.coordinator, self.user, self.score, self.api):
            if not process.is_running:
                process.start()

    async def final(self, gid: str) -> TransactionView:
        """Wait for the end of a transaction, making it due again and again."""
        deadline = time.monotonic() + FINISH_SECONDS
        async with Dtm(self.coordinator.http_url) as dtm, aiohttp.ClientSession() as session:
            while True:
                stored = await dtm.query(gid)
                assert stored is not None
                if stored.is_final:
                    return stored
                assert time.monotonic() < deadline, f"not final after {FINISH_SECONDS} s: {stored}"
                if stored.next_cron_time and stored.next_cron_time > datetime.now(UTC) + timedelta(seconds=2):
                    url = f"{self.coordinator.api_url}/resetNextCronTime"
                    async with session.post(url, json={"gid": gid}) as response:
                        await response.read()
                await asyncio.sleep(0.2)


def sqlite_rows(folder: Path) -> Callable[[str, str], list[tuple[Any, ...]]]:
    def rows(table: str, columns: str) -> list[tuple[Any, ...]]:
        file = folder / ("user.db" if table == "user" else "score.db")
        with closing(sqlite3.connect(file)) as connection:
            return connection.execute(f"SELECT {columns} FROM {table}").fetchall()

    return rows


def rpc(name: str, port: int, data_source: str, **more: Any) -> dict[str, Any]:
    return {"Name": f"{name}.rpc", "ListenOn": f"{HOST}:{port}", "DataSource": data_source, **more}


def api(
    port: int, coordinator: CoordinatorProcess, user: Any, score: Any, milliseconds: int = 25_000
) -> dict[str, Any]:
    # By default longer than a submit with wait_result (5 s) behind a disk that stands still for seconds.
    address = {"DtmServer": coordinator.grpc_address, "Host": HOST, "Port": port, "Timeout": milliseconds}
    return {"Name": "register.api", "UserRpc": user, "ScoreRpc": score, **address}


def at(user: BranchProcess, score: BranchProcess) -> tuple[dict[str, Any], dict[str, Any]]:
    """How an api finds both by their addresses."""
    return {"Endpoints": [user.address]}, {"Endpoints": [score.address]}


@pytest.fixture(scope="module")
def _fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Everything on SQLite, services found by their addresses; shared, because starting takes time."""
    folder = tmp_path_factory.mktemp("register")
    user_port, score_port, api_port = (free_port() for _ in range(3))
    user_settings = rpc("user", user_port, f"sqlite:///{folder / 'user.db'}")
    score_settings = rpc("score", score_port, f"sqlite:///{folder / 'score.db'}", ScoreLimit=SCORE_LIMIT)
    with ExitStack() as stack:
        coordinator = CoordinatorProcess(folder, settings=SETTINGS)
        user = BranchProcess("user", folder, user_settings, port=user_port)
        score = BranchProcess("score", folder, score_settings, port=score_port)
        front = BranchProcess("api", folder, api(api_port, coordinator, *at(user, score)), port=api_port)
        for process in (coordinator, user, score, front):
            stack.callback(process.close)
        yield Fleet(coordinator, user, score, front, sqlite_rows(folder))


@pytest.fixture
def fleet(_fleet: Fleet) -> Fleet:
    """The shared fleet, all of it running; rows of earlier tests are in it."""
    _fleet.start_what_is_down()
    return _fleet


async def test_a_registration_saves_user_and_score(fleet: Fleet) -> None:
    answer = await fleet.register("ann")
    assert answer.status == 200, answer
    user_id = answer.body["data"]["id"]
    assert answer.body == {"message": "success", "data": {"id": user_id, "name": "ann", "gender": "female"}}
    assert await fleet.registered("ann") == [(int(user_id), "ann", 10)]
    stored = await fleet.final(answer.gid)
    assert stored.status is Status.SUCCEED
    assert [f"{branch.branch_id} {branch.op} {branch.status}" for branch in stored.branches] == [
        "01 compensate prepared",
        "01 action succeed",
        "02 compensate prepared",
        "02 action succeed",
    ]


async def test_a_refused_score_leaves_nothing_behind(fleet: Fleet) -> None:
    answer = await fleet.register("bob", score=SCORE_LIMIT + 1)
    assert answer.status == 409, answer
    assert f"is over the limit of {SCORE_LIMIT}" in answer.body["message"]
    assert await fleet.registered("bob") == []
    stored = await fleet.final(answer.gid)
    assert stored.status is Status.FAILED
    assert [f"{branch.branch_id} {branch.op} {branch.status}" for branch in stored.branches] == [
        "01 compensate succeed",
        "01 action succeed",
        "02 compensate succeed",
        "02 action failed",
    ]


async def test_many_registrations_at_once_agree_row_by_row(fleet: Fleet) -> None:
    scores = [SCORE_LIMIT + 1 if number % 3 == 0 else number % SCORE_LIMIT for number in range(REGISTRATIONS)]
    answers = await asyncio.gather(*(fleet.register(f"user {n}", score) for n, score in enumerate(scores)))
    for answer, score in zip(answers, scores, strict=True):
        expected = (
            (409, 202) if score > SCORE_LIMIT else (200, 202)
        )  # 202: a busy machine was not done in time
        assert answer.status in expected, answer
        await fleet.final(answer.gid)
    given = sorted(score for _, _, score in await fleet.registered("user "))
    assert given == sorted(score for score in scores if score <= SCORE_LIMIT)


async def test_a_service_that_is_away_makes_it_accepted_and_it_ends_when_it_is_back(fleet: Fleet) -> None:
    await asyncio.to_thread(fleet.score.kill)
    answer = await fleet.register("cid")
    assert answer.status == 202, answer
    assert answer.body["gid"] == answer.gid
    await asyncio.to_thread(fleet.score.start)
    assert (await fleet.final(answer.gid)).status is Status.SUCCEED
    assert len(await fleet.registered("cid")) == 1


async def test_without_a_coordinator_nothing_happens_and_it_is_said(
    fleet: Fleet, start_branch: StartBranch, unused_port: int
) -> None:
    settings = api(unused_port, fleet.coordinator, *at(fleet.user, fleet.score), milliseconds=1000)
    impatient = replace(fleet, api=start_branch("api", settings, port=unused_port))
    await asyncio.to_thread(fleet.coordinator.stop)
    answer = await impatient.register("dan")
    assert answer.status == 503
    assert "nothing was sent, the transaction does not exist" in answer.body["message"]
    await asyncio.to_thread(fleet.coordinator.start)
    assert await fleet.registered("dan") == []
    answer = await fleet.register("dan")
    assert answer.status == 200, answer


async def test_a_coordinator_killed_in_the_middle_finishes_after_its_restart(fleet: Fleet) -> None:
    await asyncio.to_thread(fleet.score.kill)
    answer = await fleet.register("eve")
    assert answer.status == 202
    await asyncio.to_thread(fleet.coordinator.kill)
    await asyncio.to_thread(fleet.score.start)
    await asyncio.to_thread(fleet.coordinator.start)
    assert (await fleet.final(answer.gid)).status is Status.SUCCEED
    assert len(await fleet.registered("eve")) == 1


async def test_sigterm_ends_each_service_cleanly(fleet: Fleet) -> None:
    await fleet.register("fay")
    for service in (fleet.api, fleet.score, fleet.user):
        assert await asyncio.to_thread(service.stop) == 0, service.output()
        assert f"listens on {service.address}" in service.output()
        assert "Traceback" not in service.output()


# --- MariaDB and etcd ---


def keys(etcd: EtcdServer, prefix: str) -> dict[str, str]:
    """What is registered under a name: key → address."""
    host, port = etcd.endpoint.split(":")
    with closing(etcd3.Client(host, int(port))) as client:
        found = client.range(prefix, prefix=True).kvs or []
        return {pair.key.decode(): pair.value.decode() for pair in found}


@pytest.fixture
def etcd_fleet(
    start_coordinator: StartCoordinator,
    start_branch: StartBranch,
    mariadb_database: Database,
    etcd: EtcdServer,
) -> Fleet:
    """Rows in MariaDB, services found through etcd; the coordinator itself on SQLite."""
    user_port, score_port, api_port = (free_port() for _ in range(3))
    coordinator = start_coordinator(settings=SETTINGS)

    def registration(name: str) -> dict[str, Any]:
        return {"Hosts": [etcd.endpoint], "Key": f"{mariadb_database.name}-{name}.rpc"}

    data_source = mariadb_database.go_dsn
    user = start_branch(
        "user", rpc("user", user_port, data_source, Etcd=registration("user")), port=user_port
    )
    score = start_branch(
        "score",
        rpc("score", score_port, data_source, Etcd=registration("score"), ScoreLimit=SCORE_LIMIT),
        port=score_port,
    )
    clients = ({"Etcd": registration("user")}, {"Etcd": registration("score")})
    front = start_branch("api", api(api_port, coordinator, *clients), port=api_port)

    def rows(table: str, columns: str) -> list[tuple[Any, ...]]:
        return mariadb_database.execute(f"SELECT {columns} FROM {table}")

    return Fleet(coordinator, user, score, front, rows)


async def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something another process does."""
    deadline = time.monotonic() + FINISH_SECONDS
    while not await asyncio.to_thread(true):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)


async def test_through_etcd_and_mariadb(
    etcd_fleet: Fleet, etcd: EtcdServer, mariadb_database: Database
) -> None:
    fleet, name = etcd_fleet, mariadb_database.name
    for service, process in (("user", fleet.user), ("score", fleet.score)):
        prefix = f"{name}-{service}.rpc/"
        await until(lambda prefix=prefix: bool(keys(etcd, prefix)), f"{prefix} is not registered")  # type: ignore[misc]
        assert list(keys(etcd, prefix).values()) == [process.address]

    done, undone = await fleet.register("ann"), await fleet.register("bob", score=SCORE_LIMIT + 1)
    assert (done.status, undone.status) == (200, 409)
    assert await fleet.registered() == [(int(done.body["data"]["id"]), "ann", 10)]

    assert await asyncio.to_thread(fleet.user.stop) == 0
    assert keys(etcd, f"{name}-user.rpc/") == {}, "a clean stop takes its entry back"


async def test_a_database_that_is_stopped_and_started_loses_nothing(
    etcd_fleet: Fleet, mariadb: MariaDBServer
) -> None:
    fleet = etcd_fleet
    assert (await fleet.register("ann")).status == 200
    await asyncio.to_thread(mariadb.kill)
    answer = await fleet.register("bob")
    assert answer.status == 202, answer
    await asyncio.to_thread(mariadb.start)
    assert (await fleet.final(answer.gid)).status is Status.SUCCEED
    assert [name for _, name, _ in await fleet.registered()] == ["ann", "bob"]
    assert (await fleet.register("cid")).status == 200


async def test_a_service_starts_without_its_database_and_makes_the_tables_later(
    start_branch: StartBranch, mariadb: MariaDBServer, unused_port: int
) -> None:
    database = mariadb.create_database()
    await asyncio.to_thread(mariadb.kill)
    service = start_branch("user", rpc("user", unused_port, database.go_dsn), port=unused_port)
    await until(lambda: "started without it, every call tries again" in service.output(), "no warning")
    await asyncio.to_thread(mariadb.start)
    assert await asyncio.to_thread(service.stop) == 0


# --- starting wrongly ---


def run(
    name: str, folder: Path, settings: Iterable[str] | dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    """Run a service that is expected to end by itself."""
    file = folder / "service.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [sys.executable, "-m", f"branches.{name}", "-f", str(file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_a_wrong_file_ends_with_2_and_a_sentence_for_each_key(tmp_path: Path) -> None:
    done = run("user", tmp_path, {"ListenOn": "nowhere"})
    assert done.returncode == 2
    assert "Name: is missing" in done.stderr and "ListenOn: 'nowhere': write host:port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["user", "api"])
def test_a_port_that_is_taken_ends_with_1_and_a_sentence(name: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = rpc("user", port, f"sqlite:///{tmp_path / 'user.db'}")
        front = {
            "Name": "a",
            "Host": HOST,
            "Port": port,
            "DtmServer": "h:1",
            "UserRpc": {"Endpoints": ["h:1"]},
        }
        done = run(name, tmp_path, settings if name == "user" else {**front, "ScoreRpc": front["UserRpc"]})
    assert done.returncode == 1
    assert f"cannot listen on {HOST}:{port}: " in done.stderr
    assert "Traceback" not in done.stderr


def test_an_api_with_a_coordinator_address_of_another_kind(tmp_path: Path) -> None:
    rpc_client = {"Endpoints": ["h:1"]}
    settings = {"Name": "a", "Port": 0, "UserRpc": rpc_client, "ScoreRpc": rpc_client}
    done = run("api", tmp_path, {**settings, "DtmServer": "redis://h:1/dtmservice"})
    assert done.returncode == 1
    assert "DtmServer: coordinator url 'redis://h:1/dtmservice': write http://host:36789" in done.stderr


# --- the demo ---


def test_the_demo_shows_one_success_and_one_rollback() -> None:
    command = [sys.executable, "-m", "examples.register_demo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Both ended as they should" in done.stdout
    assert "\033[" not in done.stdout, "no colour where it is not a terminal"
    for line in ("01    action      succeed     user.User/saveUser", "02    action      failed"):
        assert line in done.stdout


def test_the_demo_can_be_kept_running_with_both_in_its_console() -> None:
    told = r"until Ctrl-C: (http://\S+)"
    environment = {**os.environ, "KEEP": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "examples.register_demo"]
    demo = Process(
        command,
        name="demo",
        environment=environment,
        ready=lambda: re.search(told, demo.output()) is not None,
        start_seconds=60,
    )
    with demo:
        (console,) = re.findall(told, demo.output())
        with urllib.request.urlopen(f"{console}transactions", timeout=30) as answer:
            assert answer.read().decode().count('data-row="') == 2
    demo.close()
