"""Topics that several coordinators change at the same moment, over one database (PROTOCOL §8)."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest

from tests.support.branch_server import BranchServer, branch_server
from tests.support.every_store import STORES
from tests.support.servers import MariaDBServer
from tests.support.three_clients import ERROR, SUCCESS, Client, Outcome, client_of
from tests.support.under_test import CoordinatorProcess, Store

COORDINATORS = 3  # over SQLite, which is for one process: one
CALLS_EACH = 20
SEEN_SECONDS = 1.0  # ConfigUpdateInterval


@pytest.fixture(scope="module", params=STORES)
def coordinators(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[CoordinatorProcess]]:
    store: Store | None = None
    if request.param != "sqlite":
        server: MariaDBServer = request.getfixturevalue(f"_{request.param}").start()
        store = server.create_database()
    with contextlib.ExitStack() as stack:
        running = []
        for number in range(1 if store is None else COORDINATORS):
            folder = tmp_path_factory.mktemp(f"coordinator-{number}")
            settings = {"ConfigUpdateInterval": int(SEEN_SECONDS), "InstanceName": f"coordinator-{number}"}
            process = CoordinatorProcess(folder, store=store, settings=settings)
            stack.callback(process.close)
            running.append(process.start())
        yield running
        print(*(process.output() for process in running))


@pytest.fixture
async def clients(coordinators: list[CoordinatorProcess]) -> AsyncIterator[list[Client]]:
    """HTTP and gRPC in turn, one per coordinator."""
    async with contextlib.AsyncExitStack() as stack:
        protocols = ("http", "grpc", "http")
        yield [
            await stack.enter_async_context(client_of(protocol, coordinator))
            for protocol, coordinator in zip(protocols, coordinators, strict=False)
        ]


@pytest.fixture
async def branches() -> AsyncIterator[BranchServer]:
    async with branch_server() as one:
        yield one


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4()}"


async def subscribers(coordinators: list[CoordinatorProcess], topic: str) -> list[str]:
    """The stored urls, in order."""
    [row] = await asyncio.to_thread(stored, coordinators[0], topic)
    return [it["url"] for it in json.loads(row["v"])]


def stored(coordinator: CoordinatorProcess, topic: str) -> list[Mapping[str, Any]]:
    answer = coordinator.get(f"queryKV?cat=topics&key={topic}")
    rows: list[Mapping[str, Any]] = answer["kv"]
    return rows


async def test_of_many_subscribes_at_once_each_stands(
    coordinators: list[CoordinatorProcess], clients: list[Client], topic: str
) -> None:
    urls = [f"http://127.0.0.1:1/{number}" for number in range(CALLS_EACH * len(clients))]
    calls = [
        clients[number % len(clients)].ask("subscribe", {"topic": topic, "url": url})
        for number, url in enumerate(urls)
    ]
    outcomes = await asyncio.gather(*calls)
    standing = [url for url, outcome in zip(urls, outcomes, strict=True) if outcome.kind == SUCCESS]
    assert sorted(await subscribers(coordinators, topic)) == sorted(standing)  # none is lost
    assert len(standing) == len(urls)


async def test_subscribes_and_unsubscribes_at_once_lose_nothing(
    coordinators: list[CoordinatorProcess], clients: list[Client], topic: str
) -> None:
    old = [f"http://127.0.0.1:1/old-{number}" for number in range(CALLS_EACH)]
    new = [f"http://127.0.0.1:1/new-{number}" for number in range(CALLS_EACH)]
    for url in old:
        assert (await clients[0].ask("subscribe", {"topic": topic, "url": url})).kind == SUCCESS

    def ask(number: int, operation: str, url: str) -> Any:
        return clients[number % len(clients)].ask(operation, {"topic": topic, "url": url})

    added = [ask(number, "subscribe", url) for number, url in enumerate(new)]
    removed = [ask(number, "unsubscribe", url) for number, url in enumerate(old, start=1)]
    outcomes: list[Outcome] = await asyncio.gather(*added, *removed)
    assert {outcome.kind for outcome in outcomes} == {SUCCESS}
    assert sorted(await subscribers(coordinators, topic)) == sorted(new)


async def test_of_many_subscribes_of_one_url_exactly_one_stands(
    coordinators: list[CoordinatorProcess], clients: list[Client], topic: str
) -> None:
    content = {"topic": topic, "url": "http://127.0.0.1:1/one"}
    outcomes = await asyncio.gather(*[client.ask("subscribe", content) for client in clients * 7])
    assert sum(outcome.kind == SUCCESS for outcome in outcomes) == 1
    assert {outcome.message for outcome in outcomes if outcome.kind == ERROR} == {"this url exists"}
    assert await subscribers(coordinators, topic) == [content["url"]]


async def test_a_change_counts_at_once_where_it_was_made_and_soon_elsewhere(
    clients: list[Client], branches: BranchServer, topic: str
) -> None:
    maker, last = clients[0], clients[-1]

    async def deliver(client: Client) -> Outcome:
        steps = [{"action": f"topic://{topic}"}]
        message = {"gid": f"topics-{uuid.uuid4()}", "trans_type": "msg", "steps": steps, "payloads": ["{}"]}
        return await client.ask("submit", message | {"wait_result": True})

    assert (await deliver(last)).message == "topic not found"
    url = branches.url("http", "ok")
    assert (await maker.ask("subscribe", {"topic": topic, "url": url})).kind == SUCCESS
    assert (await deliver(maker)).kind == SUCCESS
    assert (await deliver(last)).kind == SUCCESS  # what is not there is not remembered
    assert (await maker.ask("topic", {"topic": topic})).kind == SUCCESS
    assert (await deliver(maker)).message == "topic not found"
    async with asyncio.timeout(SEEN_SECONDS + 5):
        while (await deliver(last)).kind == SUCCESS:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.05)
