"""The database goes away and comes back under load: errors meanwhile, nothing acknowledged is lost."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from signal import Signals
from typing import Any

import aiohttp
import pytest
from grpclib.client import Channel
from grpclib.const import Status as GrpcStatus
from grpclib.exceptions import GRPCError

from coordinator.proto import dtmgimp
from tests.chaos.business import (
    BranchService,
    Plan,
    body_of,
    check,
    clients,
    grpc_request_of,
    plans,
    until,
    until_final,
)
from tests.conftest import StartCoordinator
from tests.support.servers import Database, MariaDBServer, PostgresServer
from tests.support.under_test import CoordinatorProcess

SUBMITTERS = 8
ANSWER_SECONDS_MAX = 10
HANGING_SECONDS_MAX = 14  # a database that hangs uses up every limit: of the result's wait, and of the reads
AWAY_SECONDS = 6  # long enough for a request to use up all of its time
STILL_RUNNING = "wait result not return success"
REFUSALS = frozenset({GrpcStatus.UNAVAILABLE, GrpcStatus.INTERNAL, GrpcStatus.RESOURCE_EXHAUSTED})


@dataclass(slots=True)
class Load:
    """Submits sagas over both protocols until told to stop, and looks at every answer."""

    coordinator: CoordinatorProcess
    service: BranchService
    made: Iterator[Plan]
    over: asyncio.Event = field(default_factory=asyncio.Event)
    tried: list[Plan] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    refused: int = 0
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)  # answers that the protocol does not know, or that lie

    async def run(self) -> None:
        """Be one submitter."""
        async with aiohttp.ClientSession() as session:
            channel = Channel(self.coordinator.configuration["Host"], self.coordinator.grpc_port)
            stub = dtmgimp.DtmStub(channel)
            try:
                while not self.over.is_set():
                    plan = next(self.made)
                    self.tried.append(plan)
                    started = time.monotonic()
                    await (self._by_grpc(stub, plan) if plan.grpc else self._by_http(session, plan))
                    self.slowest = max(self.slowest, time.monotonic() - started)
            finally:
                channel.close()

    async def _by_http(self, session: aiohttp.ClientSession, plan: Plan) -> None:
        url = f"{self.coordinator.api_url}/submit"
        try:
            async with session.post(url, data=body_of(plan, self.service)) as answer:
                content = await answer.json(content_type=None)
        except (aiohttp.ClientError, ValueError) as error:
            self.wrong.append(f"{plan}: {error!r}")
            return
        match answer.status, content:
            case 200, {"dtm_result": "SUCCESS"}:
                self._took(plan)
            case 409, {"dtm_result": "FAILURE", "message": str(message)}:
                self._failed(plan, message)
            case 500 | 503, {"message": str(message)} if message and "dtm_result" not in content:
                self.refused += 1
            case _:
                self.wrong.append(f"{plan}: {answer.status} {content}")

    async def _by_grpc(self, stub: dtmgimp.DtmStub, plan: Plan) -> None:
        try:
            await stub.submit(grpc_request_of(plan, self.service))
        except GRPCError as error:
            if error.status is GrpcStatus.ABORTED:
                self._failed(plan, error.message or "")
            elif error.status in REFUSALS and error.message:
                self.refused += 1
            else:
                self.wrong.append(f"{plan}: {error!r}")
        except OSError as error:
            self.wrong.append(f"{plan}: {error!r}")
        else:
            self._took(plan)

    def _took(self, plan: Plan) -> None:
        self.acknowledged.add(plan.gid)
        if plan.wait_result and plan.fails:
            self.wrong.append(f"{plan}: success")

    def _failed(self, plan: Plan, message: str) -> None:
        # "not yet" acknowledges as well: the saga is stored and goes on
        self.acknowledged.add(plan.gid)
        if not plan.fails and not message.startswith(STILL_RUNNING):
            self.wrong.append(f"{plan}: {message}")


@asynccontextmanager
async def under_load(
    coordinator: CoordinatorProcess, service: BranchService, seed: int
) -> AsyncIterator[Load]:
    """Keep the coordinator busy for the length of the block."""
    shuffled = plans(50_000, Random(seed), "away")
    load = Load(coordinator, service, iter(shuffled))
    submitters = [asyncio.create_task(load.run()) for _ in range(SUBMITTERS)]
    try:
        yield load
        load.over.set()
        await asyncio.gather(*submitters)
    finally:
        for submitter in submitters:
            submitter.cancel()
        await asyncio.wait(submitters)


@dataclass(frozen=True, slots=True)
class Away:
    """A database server, a database on it, and how it goes away."""

    server: MariaDBServer | PostgresServer
    database: Database
    end: Signals

    def begin(self) -> None:
        """End the server, or let it hang: connections stay open, and nobody answers."""
        match self.end:
            case Signals.SIGTERM:
                self.server.stop()
            case Signals.SIGKILL:
                self.server.kill()
            case _:
                self.server.freeze()

    def bring_back(self) -> None:
        """Start it again, or let it go on."""
        if self.end is Signals.SIGSTOP:
            self.server.go_on()
        else:
            self.server.start()


@pytest.fixture(
    params=[
        ("mariadb", Signals.SIGTERM),
        ("mariadb", Signals.SIGKILL),
        ("mariadb", Signals.SIGSTOP),
        ("postgres", Signals.SIGKILL),
        ("postgres", Signals.SIGSTOP),
    ],
    ids=lambda it: f"{it[0]}-{it[1].name}",
)
def away(request: pytest.FixtureRequest) -> Iterator[Away]:
    """Each in turn. A server that a test makes to hang goes on before its database is dropped."""
    name, end = request.param
    made = Away(request.getfixturevalue(name), request.getfixturevalue(f"{name}_database"), end)
    yield made
    made.server.go_on()


@pytest.mark.timeout(90)
async def test_a_database_away_under_load(
    start_coordinator: StartCoordinator,
    branch_service: BranchService,
    away: Away,
    seed: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bound = HANGING_SECONDS_MAX if away.end is Signals.SIGSTOP else ANSWER_SECONDS_MAX
    coordinator = await asyncio.to_thread(start_coordinator, store=away.database)
    async with under_load(coordinator, branch_service, seed) as load:
        await _more_acknowledged(load, 100)
        await asyncio.to_thread(away.begin)
        since, refused_before = time.monotonic(), load.refused
        await until(lambda: _not_ready_for(coordinator, "store"), seconds=10, what="ready names the store")
        questions = ("query?gid=away-1", "all")
        for status, answer, seconds in await asyncio.gather(
            *(_get(f"{coordinator.api_url}/{question}") for question in questions)
        ):
            assert (status, bool(answer["message"])) == (500, True)
            assert seconds < bound
        await asyncio.sleep(max(0.0, since + AWAY_SECONDS - time.monotonic()))
        refused = load.refused - refused_before
        await asyncio.to_thread(away.bring_back)
        took = await until(lambda: _is_ready(coordinator), seconds=20, what="ready again")
        await _more_acknowledged(load, 50)
    assert load.wrong == []
    assert refused > 0
    assert load.slowest < bound
    async with clients(coordinator, timeout=10) as (http, _):
        # What was answered with an error may stand or not; if it stands, it is treated like all others.
        found = {plan.gid: await http.query(plan.gid) for plan in load.tried}
        stored = [plan for plan in load.tried if found[plan.gid] is not None]
        lost = load.acknowledged - {plan.gid for plan in stored}
        assert not lost
        views = await until_final(http, [plan.gid for plan in stored], seconds=30)
    check(stored, views, branch_service)
    with capsys.disabled():
        print(
            f"\n  {len(load.tried)} sagas tried, {len(load.acknowledged)} acknowledged, {refused} refused"
            f" meanwhile, slowest answer {load.slowest:.1f} s, ready {took:.1f} s after the return"
        )


async def _more_acknowledged(load: Load, count: int) -> None:
    wanted = len(load.acknowledged) + count

    async def reached() -> bool:
        return len(load.acknowledged) >= wanted

    await until(reached, seconds=20, what=f"{count} more sagas acknowledged; wrong: {load.wrong[:3]}")


async def _get(url: str) -> tuple[int, dict[str, Any], float]:
    started = time.monotonic()
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        content: dict[str, Any] = await answer.json(content_type=None)
        return answer.status, content, time.monotonic() - started


async def _is_ready(coordinator: CoordinatorProcess) -> bool:
    status, _, _ = await _get(f"{coordinator.http_url}/api/ready")
    return status == 200


async def _not_ready_for(coordinator: CoordinatorProcess, part: str) -> bool:
    status, content, _ = await _get(f"{coordinator.http_url}/api/ready")
    return status == 503 and part in content["problems"]
