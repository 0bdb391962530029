"""A stop is no crash: who asks again is served; and time is the database's from the first moment."""

import asyncio
import contextlib
import itertools
import json
import os
import sys
import time
import urllib.request
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from coordinator.proto import dtmgimp
from tests.conftest import StartCoordinator
from tests.support.looking import readiness, until
from tests.support.ports import HOST, free_port
from tests.support.processes import Process
from tests.support.servers import Database, EtcdServer
from tests.support.under_test import ROOT, CoordinatorProcess

SERVICE = "dtmservice"
WORKERS = 8
STEPS = [{"action": "", "compensate": ""}]


def fleet_settings(etcd: EtcdServer, name: str) -> dict[str, Any]:
    """A coordinator that registers itself; its ports are chosen here, as it has to know them."""
    port = free_port()
    return {
        "InstanceName": name,
        "GrpcPort": port,
        "MicroService": {
            "Driver": "dtm-driver-gozero",
            "Target": f"etcd://{etcd.endpoint}/{SERVICE}-{name}",
            "EndPoint": f"{HOST}:{port}",
        },
    }


def registered(etcd: EtcdServer, name: str) -> bool:
    """Whether etcd leads there, asked over its HTTP gateway."""
    key, end = (b64encode(f"{SERVICE}-{name}{last}".encode()).decode() for last in "/0")
    body = json.dumps({"key": key, "range_end": end}).encode()
    with urllib.request.urlopen(f"http://{etcd.endpoint}/v3/kv/range", body, timeout=5) as answer:
        return "kvs" in json.load(answer)


class Client:
    """Submits sagas to one coordinator; what is refused there goes to another. Notes every error."""

    def __init__(self, first: CoordinatorProcess, other: CoordinatorProcess) -> None:
        self._places = (first, other)
        self.acknowledged: list[str] = []
        self.retried: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.by_first = 0
        self.is_warm = asyncio.Event()

    async def submit_over_http(self, gid: str, *, wait_result: bool) -> None:
        body = {
            "gid": gid,
            "trans_type": "saga",
            "steps": STEPS,
            "payloads": ["{}"],
            "wait_result": wait_result,
        }
        for place in self._places:
            try:
                async with self._session.post(f"{place.api_url}/submit", json=body) as answer:
                    text = await answer.text()
            except aiohttp.ClientError as error:  # refused, or the connection ended
                self.retried[type(error).__name__] += 1
                continue
            if answer.status == 200:
                self._taken(gid, place)
                return
            if answer.status != 503:
                self.wrong.append(f"HTTP {answer.status} {text}")
                return
            self.retried["503"] += 1
        self.wrong.append(f"{gid} was taken by nobody")

    async def submit_over_grpc(self, gid: str, *, wait_result: bool) -> None:
        request = dtmgimp.DtmRequest(
            gid=gid,
            trans_type="saga",
            trans_options=dtmgimp.DtmTransOptions(wait_result=wait_result),
            bin_payloads=[b"{}"],
            steps=json.dumps(STEPS),
        )
        for place, channel in zip(self._places, self._channels, strict=True):
            try:
                await dtmgimp.DtmStub(channel).submit(request, timeout=10)
            except GRPCError as error:
                if error.status is not Status.UNAVAILABLE:
                    self.wrong.append(f"gRPC {error.status} {error.message}")
                    return
                self.retried["UNAVAILABLE"] += 1
            except (OSError, StreamTerminatedError) as error:
                self.retried[type(error).__name__] += 1
            else:
                self._taken(gid, place)
                return
        self.wrong.append(f"{gid} was taken by nobody")

    def _taken(self, gid: str, place: CoordinatorProcess) -> None:
        self.acknowledged.append(gid)
        self.by_first += place is self._places[0]
        if self.by_first >= 50:
            self.is_warm.set()

    async def go_on(self, until_set: asyncio.Event) -> None:
        """Submit over both protocols, waiting for the result and not, until told to end."""
        numbers = itertools.count()

        async def work() -> None:
            while not until_set.is_set():
                number = next(numbers)
                submit = self.submit_over_grpc if number % 2 else self.submit_over_http
                await submit(f"load-{number}", wait_result=number % 4 < 2)

        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(work())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        self._channels = [Channel(HOST, place.grpc_port) for place in self._places]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as self._session:
            yield
        for channel in self._channels:
            channel.close()


@pytest.mark.timeout(90)
async def test_during_a_stop_under_load_nothing_is_refused_for_good(
    start_coordinator: StartCoordinator, mariadb_database: Database, etcd: EtcdServer
) -> None:
    first, other = [
        await asyncio.to_thread(
            start_coordinator, store=mariadb_database, settings=fleet_settings(etcd, f"load-{name}")
        )
        for name in ("first", "other")
    ]
    await asyncio.to_thread(until, lambda: registered(etcd, "load-first"), 15)
    client, enough = Client(first, other), asyncio.Event()
    async with client.opened():
        load = asyncio.create_task(client.go_on(enough))
        await asyncio.wait_for(client.is_warm.wait(), 20)
        assert await asyncio.to_thread(first.stop) == 0
        asyncio.get_running_loop().call_later(0.5, enough.set)
        await load
    assert client.wrong == []
    assert client.retried  # the stop was seen
    assert len(client.acknowledged) > client.by_first  # and the other one took over
    stored = mariadb_database.execute("SELECT gid FROM trans_global")
    assert set(client.acknowledged) <= {str(row[0]) for row in stored}


@pytest.mark.timeout(90)
async def test_work_is_taken_for_as_long_as_etcd_may_lead_here(
    start_coordinator: StartCoordinator, etcd: EtcdServer
) -> None:
    coordinator = await asyncio.to_thread(start_coordinator, settings=fleet_settings(etcd, "slow"))
    await asyncio.to_thread(until, lambda: registered(etcd, "slow"), 15)
    etcd.freeze()
    try:
        stopping = asyncio.create_task(asyncio.to_thread(coordinator.stop))
        await asyncio.to_thread(until, lambda: not readiness(coordinator)["ready"], 5)
        for number in range(20):
            saga = {"gid": f"late-{number}", "trans_type": "saga", "steps": STEPS, "payloads": ["{}"]}
            status, answer = await asyncio.to_thread(coordinator.post, "submit", saga)
            assert (status, answer) == (200, {"dtm_result": "SUCCESS"})
    finally:
        etcd.go_on()
    assert await stopping == 0


# --- a machine whose clock is wrong ---

# The command, on a machine whose clock is HOURS ahead.
WRONG_CLOCK = """
import datetime, os
import coordinator.clock, coordinator.watching.readiness
class Wrong(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.now(tz) + datetime.timedelta(hours=int(os.environ["HOURS"]))
coordinator.clock.datetime = coordinator.watching.readiness.datetime = Wrong
from coordinator.cli.main import main
main()
"""


@asynccontextmanager
async def service() -> AsyncIterator[tuple[str, "asyncio.Queue[str]", asyncio.Event]]:
    """A branch that answers once it is let: its url, who asked, and the event that lets it."""
    asked: asyncio.Queue[str] = asyncio.Queue()
    let = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        await asked.put(request.query["gid"])
        await let.wait()
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/do", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield f"http://{HOST}:{port}/do", asked, let
    finally:
        let.set()
        await runner.cleanup()


@contextlib.contextmanager
def with_wrong_clock(coordinator: CoordinatorProcess, folder: Path, hours: int) -> Iterator[Process]:
    """The same coordinator, started again on a machine whose clock is wrong; ready means that it answers."""
    process = Process(
        [sys.executable, "-c", WRONG_CLOCK, "-c", str(coordinator.configuration_file)],
        name="wrong clock",
        environment={**os.environ, "PYTHONPATH": str(ROOT), "HOURS": str(hours)},
        folder=folder,
        ready=lambda: "is ready" in process.output(),
    )
    try:
        yield process.start()
    finally:
        print(f"---- wrong clock ----\n{process.output()}")
        process.close()


@pytest.mark.timeout(90)
@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.parametrize("database", ["mariadb", "postgres"])
async def test_a_wrong_clock_of_the_machine_delays_and_hastens_nothing(
    start_coordinator: StartCoordinator,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    database: str,
    hours: int,
) -> None:
    store: Database = request.getfixturevalue(f"{database}_database")
    settings = {"InstanceName": "same", "TransCronInterval": 1, "RequestTimeout": 20, "RetryInterval": 10}
    async with service() as (url, asked, let):
        coordinator = await asyncio.to_thread(start_coordinator, store=store, settings=settings)
        saga = {
            "gid": "taken-back",
            "trans_type": "saga",
            "steps": [{"action": url, "compensate": ""}],
            "payloads": ["{}"],
        }
        await asyncio.to_thread(coordinator.post, "submit", saga)
        assert await asyncio.wait_for(asked.get(), 30) == "taken-back"
        coordinator.kill()  # while the call is under way: its lease lasts for another 25 s
        let.set()
        with with_wrong_clock(coordinator, tmp_path, hours):
            assert await asyncio.wait_for(asked.get(), 30) == "taken-back"
            await asyncio.to_thread(until, lambda: _row(coordinator)["status"] == "succeed", 10)
            row = _row(coordinator)
            for column in ("update_time", "finish_time"):
                written = datetime.fromisoformat(row[column])
                assert abs((datetime.now(UTC) - written).total_seconds()) < 60
            # What another holds is not due an hour early.
            started = time.monotonic()
            _hold(store)
            while time.monotonic() - started < 3:
                assert _owner(store) == "other/1/1"
                await asyncio.sleep(0.2)


def _row(coordinator: CoordinatorProcess) -> dict[str, Any]:
    row: dict[str, Any] = coordinator.query("taken-back")["transaction"]
    return row


def _hold(store: Database) -> None:
    """Let another coordinator hold the row for another minute."""
    store.execute(
        "UPDATE trans_global SET status = 'submitted', owner = 'other/1/1', next_cron_time = %s", [_soon()]
    )


def _soon() -> str:
    return datetime.fromtimestamp(time.time() + 60).astimezone().isoformat(" ", "seconds")[:19]


def _owner(store: Database) -> object:
    return store.execute("SELECT owner FROM trans_global")[0][0]
