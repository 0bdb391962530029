"""go-zero on either side: its service as a branch of ours, its api as the client of our services."""

import asyncio
import base64
import contextlib
import json
import sqlite3
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import yaml
from google.protobuf.wrappers_pb2 import StringValue

from coordinator.client import Dtm, Failure
from tests.interop.servers import SETTINGS
from tests.support.ports import HOST, free_port, is_listening
from tests.support.processes import Process
from tests.support.servers import EtcdServer
from tests.support.under_test import BranchProcess, CoordinatorProcess

ETCD_SECONDS = 60
SCORE_LIMIT = 100


@dataclass(frozen=True, slots=True)
class World:
    """What both directions share: the coordinator is registered in etcd as `dtmservice`."""

    folder: Path
    go: Path
    etcd: EtcdServer
    coordinator: CoordinatorProcess
    environment: Mapping[str, str]


@contextmanager
def world(folder: Path, go: Path, etcd: EtcdServer, stores: Mapping[str, str]) -> Iterator[World]:
    """Start a coordinator that registers in etcd, as the tutorial's conf.yml says."""
    port = free_port()
    micro_service = {
        "Driver": "dtm-driver-gozero",
        "Target": f"etcd://{etcd.endpoint}/dtmservice",
        "EndPoint": f"{HOST}:{port}",
    }
    settings = {**SETTINGS, "GrpcPort": port, "MicroService": micro_service}
    coordinator = CoordinatorProcess(folder / "coordinator", settings=settings)
    with contextlib.closing(coordinator):
        yield World(folder, go, etcd, coordinator.start(), stores)


def _go_zero(it: World, command: str, settings: Mapping[str, Any], port: int) -> Process:
    file = it.folder / f"{command}.yaml"
    file.write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
    return Process(
        [str(it.go), command, str(file)],
        name=command,
        environment={**it.environment},
        folder=it.folder,
        ready=lambda: is_listening(port),
    )


def service_as_a_branch(it: World) -> None:
    """A saga from our Python client calls a go-zero service that it finds in etcd."""
    port, key = free_port(), f"bank-{free_port()}.rpc"
    settings = {
        "Name": "bank.rpc",
        "ListenOn": f"{HOST}:{port}",
        "Etcd": {"Hosts": [it.etcd.endpoint], "Key": key},
        "Log": {"Mode": "console", "Level": "error"},
    }
    service = _go_zero(it, "bank-rpc", settings, port)
    with contextlib.closing(service):
        service.start()
        _wait_for(lambda: _registered(it.etcd, f"{key}/"), "the go-zero service is not in etcd", service)
        url = f"etcd://{it.etcd.endpoint}/{key}/interop.Bank/Move"
        asyncio.run(_two_sagas(it, url))


async def _two_sagas(it: World, url: str) -> None:
    mysql = it.environment["INTEROP_MYSQL"]
    for refused in (False, True):
        names = [f"go-zero-{free_port()}" for _ in range(2)]
        for name in names:
            _mysql(mysql, "INSERT INTO account (name, balance, held) VALUES (%s, 200, 0)", name)
        amount = 150 if refused else 30  # the go-zero service refuses more than 100
        async with Dtm(f"grpc://{it.coordinator.grpc_address}") as dtm:
            saga = dtm.saga(wait_result=True)
            for name, signed in zip(names, (-amount, amount), strict=True):
                order = json.dumps({"store": "mysql", "account": name, "amount": signed})
                saga.add(url, url, StringValue(value=order).SerializeToString())
            try:
                await saga.submit()
            except Failure:
                assert refused, "nobody should have refused"
        expected = ["failed", 200, 200] if refused else ["succeed", 170, 230]
        status = it.coordinator.query(saga.gid)["transaction"]["status"]
        balances = [_mysql(mysql, "SELECT balance FROM account WHERE name = %s", name) for name in names]
        assert [status, *balances] == expected, (status, balances, expected)


def _mysql(url: str, statement: str, *parameters: str) -> Any:
    address = urllib.parse.urlsplit(url)
    assert address.hostname and address.port
    with (
        closing(
            pymysql.connect(
                host=address.hostname,
                port=address.port,
                user=address.username or "",
                database=address.path.strip("/"),
                autocommit=True,
            )
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
        return row[0] if row else None


def api_in_front(it: World) -> None:
    """A go-zero api finds our coordinator in etcd and registers users with our Python services."""
    user_port, score_port, api_port = free_port(), free_port(), free_port()
    clients = {}
    with ExitStack() as stack:
        for name, port in (("user", user_port), ("score", score_port)):
            etcd = {"Hosts": [it.etcd.endpoint], "Key": f"{name}-{port}.rpc"}
            settings = {
                "Name": f"{name}.rpc",
                "ListenOn": f"{HOST}:{port}",
                "DataSource": f"sqlite:///{it.folder / f'{name}.db'}",
                "Etcd": etcd,
                "ScoreLimit": SCORE_LIMIT,
            }
            branch = BranchProcess(name, it.folder / name, settings, port=port)
            stack.callback(branch.close)
            branch.start()
            key = f"{etcd['Key']}/"
            _wait_for(lambda key=key: _registered(it.etcd, key), f"{name}.rpc is not in etcd", branch)  # type: ignore[misc]
            clients[name] = {"Etcd": etcd}
        _wait_for(
            lambda: _registered(it.etcd, "dtmservice/"), "the coordinator is not in etcd", it.coordinator
        )
        settings = {
            "Name": "register.api",
            "Host": HOST,
            "Port": api_port,
            "Timeout": 10000,
            "DtmServer": f"etcd://{it.etcd.endpoint}/dtmservice",
            "UserRpc": clients["user"],
            "ScoreRpc": clients["score"],
            "Log": {"Mode": "console", "Level": "error"},
        }
        front = _go_zero(it, "register-api", settings, api_port)
        stack.callback(front.close)
        front.start()
        _registers(it, f"http://{HOST}:{api_port}/register", front)


def _registers(it: World, url: str, front: Process) -> None:
    done, undone = (
        _post(url, {"name": "ann", "gender": "female", "score": 10}),
        _post(url, {"name": "bob", "gender": "male", "score": SCORE_LIMIT + 1}),
    )
    assert (done[0], undone[0]) == (200, 409), f"{done} {undone}\n{front.output()}"
    statuses = [it.coordinator.query(answer["gid"])["transaction"]["status"] for _, answer in (done, undone)]
    assert statuses == ["succeed", "failed"], statuses
    identifier = int(done[1]["id"])
    assert _sqlite(it.folder / "user.db", "SELECT id, name FROM user") == [(identifier, "ann")]
    assert _sqlite(it.folder / "score.db", "SELECT user_id, score FROM user_score") == [(identifier, 10)]


def _post(url: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), headers={"content-type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=15) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def _sqlite(file: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(statement).fetchall()


def _registered(etcd: EtcdServer, prefix: str) -> bool:
    """Ask etcd itself, over its HTTP gateway."""
    encoded = [base64.b64encode(text.encode()).decode() for text in (prefix, prefix[:-1] + "0")]
    body = json.dumps({"key": encoded[0], "range_end": encoded[1]}).encode()
    with urllib.request.urlopen(f"http://{etcd.endpoint}/v3/kv/range", data=body, timeout=5) as response:
        return bool(json.load(response).get("kvs"))


def _wait_for(holds: Callable[[], bool], otherwise: str, process: Process) -> None:
    deadline = time.monotonic() + ETCD_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"{otherwise}:\n{process.output()}"
        time.sleep(0.05)  # another process has no event for it
