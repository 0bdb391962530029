"""gRPC branches, called over real sockets (PROTOCOL §10)."""

import asyncio
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from coordinator.calls.base import Answer
from coordinator.calls.router import BranchCaller
from coordinator.discovery.base import DiscoveryError, Resolver
from coordinator.discovery.etcd import EtcdRegistration
from coordinator.discovery.names import Names
from coordinator.discovery.open import ROUND_ROBIN, open_resolver
from coordinator.model import Branch, Options, Result, Transaction
from coordinator.model import Status as TransactionStatus
from tests.support.block_encoder import BlockEncoder
from tests.support.grpc_server import BreakingServer, RawCodec
from tests.support.ports import free_port
from tests.support.servers import EtcdServer

PATH = "/user.User/saveUser"

Method = Callable[["Stream[bytes, bytes]"], Awaitable[None]]


class BranchServer:
    """A gRPC server with one method, on a free port."""

    def __init__(self, method: Method, port: int = 0) -> None:
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"{self.address}{PATH}"
        self._method = method
        self._server: Server | None = None

    def __mapping__(self) -> dict[str, Handler]:
        return {PATH: Handler(self._method, Cardinality.UNARY_UNARY, bytes, bytes)}

    async def start(self) -> "BranchServer":
        self._server = BreakingServer([self], codec=RawCodec())
        await self._server.start("127.0.0.1", self.port)
        return self

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()


Serve = Callable[[Method], Awaitable[BranchServer]]


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    """Return a function that serves a method."""
    servers: list[BranchServer] = []

    async def start(method: Method) -> BranchServer:
        servers.append(BranchServer(method))
        return await servers[-1].start()

    yield start
    for server in servers:
        await server.stop()


@asynccontextmanager
async def calling(resolver: Resolver | None = None, **limits: Any) -> AsyncIterator[BranchCaller]:
    resolver = resolver or open_resolver()
    caller = BranchCaller(resolver, **limits)
    try:
        yield caller
    finally:
        await caller.close()
        await resolver.close()


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[BranchCaller]:
    async with calling() as made:
        yield made


async def call(
    caller: BranchCaller,
    url: str,
    *,
    payload: bytes = b"\x0a\x01x",
    headers: dict[str, str] | None = None,
    gid: str = "g1",
    timeout: float = 10,
) -> Answer:
    transaction = Transaction(
        gid, "saga", TransactionStatus.SUBMITTED, "grpc", options=Options(branch_headers=headers or {})
    )
    branch = Branch(gid, "01", "action", url, payload)
    return await caller.call(transaction, branch, timeout=timeout)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds, where there is no event for it."""
    async with asyncio.timeout(30):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


async def succeed(stream: "Stream[bytes, bytes]") -> None:
    await stream.recv_message()
    await stream.send_message(b"")


async def hang(stream: "Stream[bytes, bytes]") -> None:
    await asyncio.sleep(60)


# ---- what is sent ------------------------------------------------------------------------------------------


async def test_the_payload_goes_untouched_with_the_branch_as_metadata(
    caller: BranchCaller, serve: Serve
) -> None:
    seen: list[tuple[bytes | None, dict[str, Any]]] = []

    async def method(stream: "Stream[bytes, bytes]") -> None:
        seen.append((await stream.recv_message(), dict(stream.metadata or {})))
        await stream.send_message(b"reply")

    server = await serve(method)
    payload = bytes(range(256))
    answer = await call(caller, server.url, payload=payload, headers={"X-Token": "t", "Empty": ""})
    assert answer == Answer(Result.SUCCESS, "", 0)
    [(message, metadata)] = seen
    assert message == payload
    assert metadata == {
        "dtm-gid": "g1",
        "dtm-trans_type": "saga",
        "dtm-branch_id": "01",
        "dtm-op": "action",
        "x-token": "t",
    }


async def test_an_empty_payload_is_an_empty_message(caller: BranchCaller, serve: Serve) -> None:
    seen: list[bytes | None] = []

    async def method(stream: "Stream[bytes, bytes]") -> None:
        seen.append(await stream.recv_message())
        await stream.send_message(b"")

    await call(caller, (await serve(method)).url, payload=b"")
    assert seen == [b""]


async def test_headers_that_belong_to_grpc_are_left_out(caller: BranchCaller, serve: Serve) -> None:
    """As Go clients do; a mixed transaction may set Content-Type for its HTTP branches."""
    server = await serve(succeed)
    headers = {
        "Content-Type": "text/plain",
        "User-Agent": "x",
        "TE": "x",
        "grpc-timeout": "1n",
        "raw-bin": "b",
    }
    assert (await call(caller, server.url, headers=headers)).result is Result.SUCCESS


async def test_the_server_is_told_the_deadline(caller: BranchCaller, serve: Serve) -> None:
    seen: list[float] = []

    async def method(stream: "Stream[bytes, bytes]") -> None:
        assert stream.deadline is not None
        seen.append(stream.deadline.time_remaining())
        await succeed(stream)

    await call(caller, (await serve(method)).url, timeout=7)
    assert 5 < seen[0] <= 7


async def test_calls_share_one_connection(caller: BranchCaller, serve: Serve) -> None:
    peers = set()

    async def method(stream: "Stream[bytes, bytes]") -> None:
        assert stream.peer is not None
        peers.add(stream.peer.addr())
        await succeed(stream)

    server = await serve(method)
    answers = await asyncio.gather(*(call(caller, server.url) for _ in range(20)))
    assert {answer.result for answer in answers} == {Result.SUCCESS}
    assert len(peers) == 1


# ---- what is answered --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message", "result"),
    [
        (Status.ABORTED, "no money", Result.FAILURE),
        (Status.ABORTED, "ONGOING", Result.ONGOING),
        (Status.FAILED_PRECONDITION, "wait", Result.ONGOING),
        (Status.INTERNAL, "boom", Result.UNKNOWN),
        (Status.UNAVAILABLE, "later", Result.UNKNOWN),
        (Status.NOT_FOUND, "grüße 路", Result.UNKNOWN),
    ],
)
async def test_the_status_decides_and_its_message_is_the_text(
    caller: BranchCaller, serve: Serve, status: Status, message: str, result: Result
) -> None:
    async def method(stream: "Stream[bytes, bytes]") -> None:
        await stream.recv_message()
        raise GRPCError(status, message)

    assert await call(caller, (await serve(method)).url) == Answer(result, message, status.value)


async def test_a_method_that_does_not_exist_is_unknown(caller: BranchCaller, serve: Serve) -> None:
    server = await serve(succeed)
    answer = await call(caller, f"{server.address}/user.User/other")
    assert (answer.result, answer.grpc_status) == (Result.UNKNOWN, Status.UNIMPLEMENTED.value)


@pytest.mark.parametrize(("size", "result"), [(3 << 20, Result.SUCCESS), (10 << 20, Result.UNKNOWN)])
async def test_a_long_reply_is_not_kept(
    caller: BranchCaller, serve: Serve, size: int, result: Result
) -> None:
    async def method(stream: "Stream[bytes, bytes]") -> None:
        await stream.recv_message()
        await stream.send_message(reply)

    reply = bytes(size)
    server = await serve(method)
    await call(caller, server.url)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        answer = await call(caller, server.url)
        assert answer.result is result
        assert "at most 4194304" in answer.text or result is Result.SUCCESS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KiB


# ---- what goes wrong ---------------------------------------------------------------------------------------


async def test_a_refused_connection_is_unknown_and_unavailable(caller: BranchCaller) -> None:
    address = f"127.0.0.1:{free_port()}"
    answer = await call(caller, address + PATH)
    assert (answer.result, answer.grpc_status) == (Result.UNKNOWN, Status.UNAVAILABLE.value)
    assert f"cannot connect to {address}" in answer.text


async def test_an_unknown_host_is_unknown(caller: BranchCaller) -> None:
    answer = await call(caller, f"no-such-host.invalid:1{PATH}")
    assert answer.result is Result.UNKNOWN
    assert "no-such-host.invalid:1" in answer.text


@pytest.mark.parametrize(
    "url", ["host:8080", "host/a.B/C", "consul://h:1/x/a.B/C", "etcd://h:1/a.B/C", "host:x/a.B/C"]
)
async def test_a_row_with_a_bad_url_is_unknown(caller: BranchCaller, url: str) -> None:
    answer = await call(caller, url)
    assert answer.result is Result.UNKNOWN
    assert url in answer.text


@pytest.mark.parametrize("headers", [{"x-bad": "a\nb"}, {"x bad": "a"}, {"x-bad": "ü"}, {"x#": "a"}])
async def test_a_header_that_cannot_be_sent_is_unknown(
    caller: BranchCaller, serve: Serve, headers: dict[str, str]
) -> None:
    server = await serve(succeed)
    assert (await call(caller, server.url, headers=headers)).result is Result.UNKNOWN
    assert (await call(caller, server.url)).result is Result.SUCCESS


@asynccontextmanager
async def raw_server(answer: bytes, *, hold: bool = False) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer)
        await writer.drain()
        if hold:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 100, b"\0" * 1000])
async def test_a_server_that_does_not_speak_grpc_is_unknown(caller: BranchCaller, answer: bytes) -> None:
    async with raw_server(answer) as url:
        for _ in range(2):
            assert (await call(caller, url, timeout=2)).result is Result.UNKNOWN


@asynccontextmanager
async def h2_server(headers: list[tuple[bytes, bytes]], body: bytes = b"") -> AsyncIterator[str]:
    """Answer every call with these headers, byte by byte, and perhaps data; the stream ends with it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        configuration = H2Configuration(
            client_side=False, header_encoding=None, validate_outbound_headers=False
        )
        connection = H2Connection(configuration)
        connection.encoder = BlockEncoder(connection.encoder)  # type: ignore[assignment]  # quick for long ones
        connection.initiate_connection()
        while data := await reader.read(65_536):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    connection.send_headers(event.stream_id, headers, end_stream=not body)
                    if body:
                        connection.send_data(event.stream_id, body, end_stream=True)
            writer.write(connection.data_to_send())
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"


_OK = (b":status", b"200")
_GRPC = (b"content-type", b"application/grpc")


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ([(b":status", b"503")], b"", Status.UNAVAILABLE),  # a proxy's
        ([(b":status", b"404"), (b"content-type", b"text/html")], b"<html>", Status.UNIMPLEMENTED),
        ([_OK, _GRPC, (b"grpc-status", b"99")], b"", Status.INTERNAL),
        ([_OK, _GRPC, (b"grpc-status", b"x")], b"", Status.INTERNAL),
        ([_OK, _GRPC], b"\0\0\0\0\x09four", Status.INTERNAL),  # cut short
        ([_OK, _GRPC], b"\0", Status.INTERNAL),
        ([_OK, (b"grpc-status", b"10"), (b"grpc-message", b"%ff%")], b"", Status.ABORTED),
    ],
)
async def test_answers_that_are_not_as_they_should_be(
    caller: BranchCaller, headers: list[tuple[bytes, bytes]], body: bytes, status: Status
) -> None:
    async with h2_server(headers, body) as url:
        for _ in range(2):
            answer = await call(caller, url, timeout=2)
            assert answer.grpc_status == status.value, answer
            assert answer.result is (Result.FAILURE if status is Status.ABORTED else Result.UNKNOWN)


async def test_a_message_that_is_not_encoded_is_read_all_the_same(caller: BranchCaller) -> None:
    """A branch that says FAILURE in its own alphabet means it; its connection stays whole."""
    said = "no money, ü 事 %E4%BA%8B ".encode() + b"\xff"
    headers = [_OK, _GRPC, (b"x", b"\xff"), (b"grpc-status", b"10"), (b"grpc-message", said)]
    async with h2_server(headers) as url:
        for _ in range(2):
            answer = await call(caller, url, timeout=2)
            assert (answer.result, answer.text) == (Result.FAILURE, "no money, ü 事 事 \ufffd")


async def test_headers_that_cannot_be_read_are_unknown(caller: BranchCaller) -> None:
    broken = (b"x", b"y" * 3_000_000)
    async with h2_server([_OK, _GRPC, (b"grpc-status", b"0"), broken]) as url:
        for _ in range(2):
            assert (await call(caller, url, timeout=1)).result is Result.UNKNOWN


async def test_a_server_that_restarts_is_connected_to_again(caller: BranchCaller, serve: Serve) -> None:
    server = await serve(succeed)
    for _ in range(3):
        assert (await call(caller, server.url)).result is Result.SUCCESS
        await server.stop()
        assert (await call(caller, server.url)).result is Result.UNKNOWN
        await server.start()


async def test_a_connection_that_breaks_during_calls_leaves_the_callers_sound(
    caller: BranchCaller, serve: Serve
) -> None:
    """The calls are UNKNOWN, and the tasks that made them do not count as cancelled afterwards."""
    started = asyncio.Semaphore(0)

    async def method(stream: "Stream[bytes, bytes]") -> None:
        started.release()
        await asyncio.sleep(60)

    server = await serve(method)

    async def one() -> tuple[Answer, int]:
        answer = await call(caller, server.url)
        task = asyncio.current_task()
        assert task is not None
        async with asyncio.timeout(30):  # would end at once, were the task still cancelled
            await asyncio.sleep(0)
        return answer, task.cancelling()

    tasks = [asyncio.create_task(one()) for _ in range(10)]
    for _ in tasks:
        await started.acquire()
    await server.stop()
    for answer, cancelling in await asyncio.gather(*tasks):
        assert (answer.result, cancelling) == (Result.UNKNOWN, 0)
        assert "broke" in answer.text


async def test_a_cancellation_at_the_moment_a_connection_breaks_is_not_lost(
    caller: BranchCaller, serve: Serve
) -> None:
    started = asyncio.Event()

    async def method(stream: "Stream[bytes, bytes]") -> None:
        started.set()
        await asyncio.sleep(60)

    server = await serve(method)
    task = asyncio.create_task(call(caller, server.url))
    await started.wait()
    [pooled] = caller._grpc._channels._pool.values()
    pooled.channel.close()  # grpclib interrupts the waiting task …
    task.cancel()  # … and so do we, before it has run
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelling_a_call_passes_through(caller: BranchCaller, serve: Serve) -> None:
    server = await serve(hang)
    task = asyncio.create_task(call(caller, server.url))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await call(caller, server.url, timeout=0.1)).result is Result.UNKNOWN


# ---- time and places ---------------------------------------------------------------------------------------


async def test_a_hanging_server_is_unknown_at_the_deadline(caller: BranchCaller, serve: Serve) -> None:
    server = await serve(hang)
    began = asyncio.get_running_loop().time()
    answer = await call(caller, server.url, timeout=0.3)
    # whole milliseconds on uvloop, whose difference as floats may fall short by the last bit
    assert 0.3 <= round(asyncio.get_running_loop().time() - began, 3) < 30
    assert (answer.result, answer.grpc_status) == (Result.UNKNOWN, Status.DEADLINE_EXCEEDED.value)
    assert answer.text


async def test_a_server_that_takes_connections_and_says_nothing_is_unknown_at_the_deadline(
    caller: BranchCaller,
) -> None:
    async with raw_server(b"", hold=True) as url:
        answer = await call(caller, url, timeout=0.3)
    assert answer == Answer(
        Result.UNKNOWN, f"{url} gave no answer within 0.3 s", Status.DEADLINE_EXCEEDED.value
    )


async def test_a_connection_that_died_without_a_sign_is_replaced(caller: BranchCaller) -> None:
    """Nothing came over it while a call waited in vain, so the next call has a connection of its own."""
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        url = f"127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"
        for _ in range(3):
            assert (await call(caller, url, timeout=0.1)).result is Result.UNKNOWN
        assert connections == 3
        assert len(caller._grpc._channels) == 0


# ---- several endpoints -------------------------------------------------------------------------------------


async def _three(serve: Serve) -> tuple[list[BranchServer], list[str]]:
    seen: list[str] = []

    def method_of(number: int) -> Method:
        async def method(stream: "Stream[bytes, bytes]") -> None:
            seen.append(str(number))
            await succeed(stream)

        return method

    return [await serve(method_of(number)) for number in range(3)], seen


def _direct(servers: Sequence[BranchServer]) -> str:
    return f"direct:///{','.join(server.address for server in servers)}{PATH}"


async def test_several_endpoints_take_turns(caller: BranchCaller, serve: Serve) -> None:
    servers, seen = await _three(serve)
    for _ in range(6):
        assert (await call(caller, _direct(servers))).result is Result.SUCCESS
    assert seen == ["0", "1", "2", "0", "1", "2"]


async def test_every_address_behind_a_dns_name_takes_its_turn(serve: Serve) -> None:
    """PROTOCOL §10: `dns:///host:port`."""
    seen: list[str] = []
    addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    servers: list[Server] = []
    port = free_port()

    def method_of(address: str) -> Method:
        async def method(stream: "Stream[bytes, bytes]") -> None:
            seen.append(address)
            await succeed(stream)

        return method

    class Table(dict[str, Handler]):
        def __mapping__(self) -> dict[str, Handler]:
            return self

    for address in addresses[:2]:
        handler = Handler(method_of(address), Cardinality.UNARY_UNARY, bytes, bytes)
        servers.append(BreakingServer([Table({PATH: handler})], codec=RawCodec()))
        await servers[-1].start(address, port)
    names = Names(look_up=lambda _: addresses)
    try:
        for balancer, target in (("", f"dns:///user.svc:{port}"), (ROUND_ROBIN, f"user.svc:{port}")):
            seen.clear()
            async with calling(open_resolver(names, balancer=balancer), names=names) as caller:
                for _ in range(6):
                    assert (await call(caller, f"{target}{PATH}")).result is Result.SUCCESS
            assert min(map(seen.count, addresses[:2])) >= 2, "the third is dead"
    finally:
        await names.close()
        for server in servers:
            server.close()
            await server.wait_closed()


async def test_a_plain_host_is_one_endpoint(serve: Serve) -> None:
    """As a Go client takes it without a balancer: its first address that can be connected to."""
    server = await serve(succeed)
    names = Names(look_up=lambda _: ["127.0.0.9", "127.0.0.1"])
    async with calling(names=names) as caller:
        for _ in range(4):
            assert (await call(caller, f"user.svc:{server.port}{PATH}")).result is Result.SUCCESS
        assert len(caller._grpc._channels) == 1
    await names.close()


async def test_a_dead_endpoint_is_passed_over(caller: BranchCaller, serve: Serve) -> None:
    servers, seen = await _three(serve)
    await servers[1].stop()
    for _ in range(6):
        assert (await call(caller, _direct(servers))).result is Result.SUCCESS
    assert "1" not in seen
    assert set(seen) == {"0", "2"}


async def test_an_endpoint_that_does_not_react_costs_only_its_share_of_the_time(
    caller: BranchCaller, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve(succeed)
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def slow(factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        if host == "192.0.2.1":
            held.set()
            await asyncio.sleep(60)
        return await connect(factory, host, port, **options)

    held = asyncio.Event()
    monkeypatch.setattr(loop, "create_connection", slow)
    url = f"direct:///192.0.2.1:1,{server.address}{PATH}"
    assert (await call(caller, url, timeout=3)).result is Result.SUCCESS, "within its time"
    assert held.is_set()
    held.clear()
    assert (await call(caller, url, timeout=3)).result is Result.SUCCESS
    assert not held.is_set(), "known to be dead now"


async def test_all_endpoints_dead_is_unknown(caller: BranchCaller, serve: Serve) -> None:
    servers, _ = await _three(serve)
    for server in servers:
        await server.stop()
    answer = await call(caller, _direct(servers))
    assert answer.grpc_status == Status.UNAVAILABLE.value
    assert "nor to the other 2 endpoints" in answer.text


async def test_a_service_in_etcd_is_called_by_its_name(
    caller: BranchCaller, serve: Serve, etcd: EtcdServer
) -> None:
    """PROTOCOL §10: all three ways to write it; §11: as soon as it registers."""
    server = await serve(succeed)
    answer = await call(caller, f"etcd://{etcd.endpoint}/called.rpc{PATH}")
    assert (answer.result, answer.grpc_status) == (Result.UNKNOWN, Status.UNAVAILABLE.value)
    assert "no endpoint is registered" in answer.text
    registration = EtcdRegistration([etcd.endpoint], "called.rpc", server.address)
    await registration.start()
    try:

        async def succeeds() -> bool:
            answer = await call(caller, f"etcd://{etcd.endpoint}/called.rpc{PATH}")
            return answer.result is Result.SUCCESS

        await until(succeeds)
        for url in (f"discov://{etcd.endpoint}/called.rpc", f"etcd:///{etcd.endpoint}?key=called.rpc"):
            assert (await call(caller, f"{url}{PATH}")).result is Result.SUCCESS
    finally:
        await registration.stop()


async def test_etcd_being_away_is_unknown(caller: BranchCaller) -> None:
    answer = await call(caller, f"etcd://127.0.0.1:{free_port()}/user.rpc?user=u&password=secret{PATH}")
    assert answer.result is Result.UNKNOWN
    assert "etcd does not answer" in answer.text
    assert "secret" not in answer.text


# ---- the pool ----------------------------------------------------------------------------------------------


async def test_idle_connections_are_closed(serve: Serve) -> None:
    server = await serve(succeed)
    async with calling(channel_idle_seconds=0.1) as caller:
        assert (await call(caller, server.url)).result is Result.SUCCESS
        assert len(caller._grpc._channels) == 1

        async def closed() -> bool:
            return len(caller._grpc._channels) == 0

        await until(closed)
        assert (await call(caller, server.url)).result is Result.SUCCESS


async def test_the_number_of_connections_is_bounded(serve: Serve) -> None:
    servers, _ = await _three(serve)
    stuck = await serve(hang)
    async with calling(channels_max=2) as caller:
        for server in servers:
            assert (await call(caller, server.url)).result is Result.SUCCESS
            assert len(caller._grpc._channels) <= 2
        hanging = asyncio.create_task(call(caller, stuck.url, timeout=1))
        other = asyncio.create_task(call(caller, (await serve(hang)).url, timeout=1))
        await asyncio.sleep(0.1)
        answer = await call(caller, servers[0].url)
        assert "no more are allowed" in answer.text
        await asyncio.gather(hanging, other)


async def test_close_ends_the_calls(serve: Serve) -> None:
    server = await serve(hang)
    async with calling() as caller:
        running = asyncio.create_task(call(caller, server.url))
        await asyncio.sleep(0.1)
    assert (await running).result is Result.UNKNOWN


def test_a_discovery_error_is_unavailable() -> None:
    assert DiscoveryError.grpc_status == Status.UNAVAILABLE.value
