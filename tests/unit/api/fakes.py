"""A service that remembers what it was asked and answers what a test wants; real ports around it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from aiohttp import ClientSession
from grpclib.client import Channel
from prometheus_client import CollectorRegistry, generate_latest

from coordinator.access.audit import Actor
from coordinator.access.gate import Gate
from coordinator.access.permissions import Needs
from coordinator.api.grpc import GrpcApi
from coordinator.api.grpc_server import GrpcServer
from coordinator.api.http import HttpApi
from coordinator.api.pressing import Pressure
from coordinator.api.room import Room
from coordinator.api.serve import start_grpc, start_http
from coordinator.errors import Busy, NotFound
from coordinator.hold import Hold
from coordinator.model import BranchRequest, Transaction, TransactionRequest
from coordinator.store.base import KeyValue, Stored
from coordinator.store.listed import Filter, Listed
from coordinator.telemetry.metrics import Metrics

HOST = "127.0.0.1"
BODY_BYTES_MAX = 64 * 1024


class FakeService:
    """Remembers (operation, argument) in `asked`; raises `error` when there is one."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.acted: list[tuple[Actor, str]] = []  # who did what is recorded, and why
        self.error: BaseException | None = None
        self.stored: Stored | None = None
        self.transactions: Sequence[Transaction] = ()
        self.values: Sequence[KeyValue] = ()
        self.hold: asyncio.Event | None = None  # operations wait for it
        self.finished: list[str] = []
        self.was_asked = asyncio.Event()
        self.has_finished = asyncio.Event()

    def new_gid(self) -> str:
        return "gid-1"

    async def submit(self, request: TransactionRequest) -> None:
        await self._ask("submit", request)

    async def prepare(self, request: TransactionRequest) -> None:
        await self._ask("prepare", request)

    async def abort(self, request: TransactionRequest) -> None:
        await self._ask("abort", request)

    async def query(self, gid: str) -> Stored | None:
        await self._ask("query", gid)
        return self.stored

    async def all(self, wanted: Filter) -> Listed:
        await self._ask("all", wanted)
        page = self.transactions[: wanted.limit]
        return Listed(page, page[-1].id if len(self.transactions) > wanted.limit else None)

    async def force_stop(self, gid: str, by: Actor, reason: str = "") -> None:
        self.acted.append((by, reason))
        await self._ask("force_stop", gid)

    async def reset_next_cron_time(self, gid: str, by: Actor, reason: str = "") -> None:
        self.acted.append((by, reason))
        await self._ask("reset_next_cron_time", gid)

    async def reset_cron_time(
        self, *, timeout: float | None, limit: int, by: Actor, reason: str
    ) -> tuple[int, bool]:
        self.acted.append((by, reason))
        await self._ask("reset_cron_time", (timeout, limit))
        return 3, True

    async def find_value(self, category: str, key: str) -> KeyValue | None:
        await self._ask("find_value", (category, key))
        return self.values[0] if self.values else None

    async def list_values(self, category: str, *, limit: int, before_id: int | None) -> Sequence[KeyValue]:
        await self._ask("list_values", (category, limit, before_id))
        return self.values[:limit]

    async def register(self, request: BranchRequest) -> None:
        await self._ask("register", request)

    async def subscribe(self, topic: str, url: str, remark: str, by: Actor) -> None:
        self.acted.append((by, ""))
        await self._ask("subscribe", (topic, url, remark))

    async def unsubscribe(self, topic: str, url: str, by: Actor) -> None:
        self.acted.append((by, ""))
        await self._ask("unsubscribe", (topic, url))

    async def delete(self, topic: str, by: Actor) -> None:
        self.acted.append((by, ""))
        await self._ask("delete", topic)

    async def _ask(self, name: str, argument: Any) -> None:
        self.asked.append((name, argument))
        self.was_asked.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        self.finished.append(name)
        self.has_finished.set()


class FakeOperate:
    """Knows of nothing, whatever it is asked."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def refuse(*_asked: Any, **_named: Any) -> Any:
            raise NotFound("nothing is known here")

        return refuse


class FakeEndpoints(FakeOperate):
    """Nor is anything held."""

    def holds(self) -> list[Hold]:
        return []


class FakeWorkflows:
    """Its prepare returns the stored rows of the service that it is handed."""

    def __init__(self, service: FakeService) -> None:
        self._service = service

    async def prepare(self, request: TransactionRequest) -> Stored:
        await self._service._ask("prepare_workflow", request)
        assert self._service.stored is not None
        return self._service.stored


@dataclass
class FakeOperations:
    """One fake behind every subject."""

    transactions: FakeService
    branches: FakeService
    workflows: FakeWorkflows
    topics: FakeService
    operators: FakeService
    operate: FakeOperate
    bulk: FakeOperate
    endpoints: FakeEndpoints


class FakeReadiness:
    """Ready while `found` is empty."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.noted: dict[str, str] = {}

    def problems(self) -> Mapping[str, str]:
        return self.found

    def remarks(self) -> Mapping[str, str]:
        return self.noted


class Parts:
    """A fake service and what stands around it."""

    def __init__(self) -> None:
        self.service = FakeService()
        self.operations = FakeOperations(
            *(self.service, self.service, FakeWorkflows(self.service), self.service, self.service),
            FakeOperate(),
            FakeOperate(),
            FakeEndpoints(),
        )
        self.readiness = FakeReadiness()
        self.metrics = Metrics(CollectorRegistry(), version="1.2.3")
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def metric(self, line: str) -> float:
        """The value of the line of the metrics that begins like this, 0 when there is none."""
        for found in generate_latest(self.metrics.registry).decode().splitlines():
            if found.startswith(line + " "):
                return float(found.rpartition(" ")[2])
        return 0.0


class Http(Parts):
    """An HTTP API on a free port, and a client."""

    session: ClientSession
    routes: Mapping[tuple[str, str], Needs]  # by method and path

    async def call(self, method: str, path: str, body: str | bytes | None = None) -> tuple[int, str, str]:
        """Returns status, content type and text."""
        async with self.session.request(method, f"{self.url}{path}", data=body) as answer:
            return answer.status, answer.headers.get("Content-Type", ""), await answer.text()

    async def post(self, name: str, body: str | bytes) -> tuple[int, str, str]:
        return await self.call("POST", f"/api/dtmsvr/{name}", body)


class Crowded:
    """A pressure as full as is said, which refuses while it is told to; notes who asked, and counts."""

    def __init__(self, *, is_full: bool = True, refuses: bool = True) -> None:
        self.is_crowded, self.refuses = is_full, refuses
        self.by: list[tuple[str, bool]] = []
        self.open = self.over = self.coming = 0

    @property
    def is_near_full(self) -> bool:
        return True

    def is_full(self, *, is_driven: bool) -> bool:
        return self.is_crowded

    def expect(self) -> None:
        self.coming += 1

    def arrived(self) -> None:
        self.coming -= 1

    def ask(self, address: str, is_driven: bool) -> None:
        self.by.append((address, is_driven))
        if self.refuses:
            raise Busy("too much", seconds=7)
        self.open += 1

    def answered(self) -> None:
        self.open -= 1
        self.over += 1


async def read_answer(reader: asyncio.StreamReader, *, has_body: bool = True) -> bytes:
    """The next answer over HTTP with all before it that only invites; has_body: not of a HEAD."""
    answer = await reader.readuntil(b"\r\n\r\n")
    if answer.startswith(b"HTTP/1.1 100"):
        answer += await reader.readuntil(b"\r\n\r\n")
    length = int(answer.rpartition(b"Content-Length: ")[2].split(b"\r\n")[0])
    return answer + (await reader.readexactly(length) if has_body else b"")


@asynccontextmanager
async def http_api(
    room: Room | None = None, gate: Gate | None = None, pressure: Pressure | None = None
) -> AsyncIterator[Http]:
    parts = Http()
    api = HttpApi(
        parts.operations,
        parts.readiness,
        parts.metrics,
        version="1.2.3",
        zone=UTC,
        body_bytes_max=BODY_BYTES_MAX,
        room=room,
        gate=gate,
        pressure=pressure,
    )
    parts.routes = api.needs
    listener = await start_http(api, HOST, 0)
    parts.port = listener.port
    try:
        async with ClientSession() as parts.session:
            yield parts
    finally:
        await listener.stop(1.0)


class Grpc(Parts):
    """A gRPC API on a free port, and a channel to it."""

    channel: Channel
    api: GrpcApi
    server: GrpcServer


@asynccontextmanager
async def grpc_api(
    room: Room | None = None, gate: Gate | None = None, pressure: Pressure | None = None
) -> AsyncIterator[Grpc]:
    parts = Grpc()
    parts.api = GrpcApi(
        parts.operations,
        parts.readiness,
        parts.metrics,
        version="1.2.3",
        zone=UTC,
        body_bytes_max=BODY_BYTES_MAX,
        room=room,
        gate=gate,
        pressure=pressure,
    )
    listener = await start_grpc(parts.api, HOST, 0)
    parts.port = listener.port
    parts.server = listener._server  # type: ignore[attr-defined]
    parts.channel = Channel(HOST, parts.port)
    try:
        yield parts
    finally:
        parts.channel.close()
        await listener.stop(1.0)


class FullTransport(asyncio.Transport):
    """A socket whose other end does as the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = True

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True
