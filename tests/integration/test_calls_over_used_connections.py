"""Connections that branches close, reset or leave while they are kept for the next call (PROTOCOL §10).

A call over a connection that had served others and brought nothing is made once more, at once, on a fresh
one: never a second time, and never when something of an answer came.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Final

import pytest
import pytest_asyncio
from grpclib.const import Status as GrpcStatus
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived, StreamEnded
from h2.settings import SettingCodes
from hyperframe.frame import AltSvcFrame, GoAwayFrame

from coordinator.calls.base import Answer
from coordinator.calls.router import BranchCaller
from coordinator.discovery.default import PlainResolver
from coordinator.discovery.names import Names
from coordinator.discovery.open import ROUND_ROBIN, open_resolver
from coordinator.model import Branch, Result, Status, Transaction
from tests.support.block_encoder import BlockEncoder

PATH: Final = "/user.User/saveUser"
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[BranchCaller]:
    made = BranchCaller(PlainResolver())
    yield made
    await made.close()


async def call(
    caller: BranchCaller, url: str, *, payload: bytes = b"{}", protocol: str = "http", timeout: float = 5
) -> Answer:
    transaction = Transaction("g1", "saga", Status.SUBMITTED, protocol)
    return await caller.call(transaction, Branch("g1", "01", "action", url, payload), timeout=timeout)


# ---- HTTP --------------------------------------------------------------------------------------------------

CLOSE: Final = b"<close>"
RESET: Final = b"<reset>"


class HttpServer:
    """Answers by script: a list for each connection as they come, the last for all others."""

    def __init__(self, *scripts: list[bytes]) -> None:
        self._scripts = scripts
        self.url = ""
        self.requests: list[tuple[int, str]] = []  # connection and method
        self.connections = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.connections
        self.connections += 1
        script = self._scripts[min(number, len(self._scripts) - 1)]
        try:
            for answer in script:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if "content-length" in head.lower():
                    await reader.readexactly(2)
                self.requests.append((number, head.split()[0]))
                writer.write(answer.removesuffix(CLOSE).removesuffix(RESET))
                await writer.drain()
                if answer.endswith(RESET):
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                if answer.endswith((CLOSE, RESET)):
                    return
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def http(*scripts: list[bytes]) -> AsyncIterator[HttpServer]:
    made = HttpServer(*scripts)
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield made
    finally:
        server.close()


@pytest.mark.parametrize("ending", [CLOSE, RESET])
@pytest.mark.parametrize(("payload", "method"), [(b"{}", "POST"), (b"", "GET")])
async def test_a_call_that_meets_a_closed_connection_is_made_once_more_at_once(
    caller: BranchCaller, payload: bytes, method: str, ending: bytes
) -> None:
    async with http([OK, ending], [OK, OK]) as server:
        for _ in range(2):
            assert (await call(caller, server.url, payload=payload)).result is Result.SUCCESS
    assert server.requests == [(0, method), (0, method), (1, method)]


async def test_the_repeated_call_meets_no_other_connection_of_before(caller: BranchCaller) -> None:
    """All that were kept are dead: the server was restarted without a word."""
    async with http(*[[OK, RESET] for _ in range(5)], [OK, OK]) as server:
        await asyncio.gather(*(call(caller, server.url) for _ in range(5)))
        answers = await asyncio.gather(*(call(caller, server.url) for _ in range(5)))
    assert {answer.result for answer in answers} == {Result.SUCCESS}


@pytest.mark.parametrize("payload", [b"{}", b""])
async def test_it_is_never_made_a_third_time(caller: BranchCaller, payload: bytes) -> None:
    async with http([OK, CLOSE], [CLOSE]) as server:
        assert (await call(caller, server.url, payload=payload)).result is Result.SUCCESS
        assert (await call(caller, server.url, payload=payload)).result is Result.UNKNOWN
    assert [number for number, _ in server.requests] == [0, 0, 1]


@pytest.mark.parametrize("payload", [b"{}", b""])
async def test_a_fresh_connection_that_is_closed_says_that_the_branch_failed(
    caller: BranchCaller, payload: bytes
) -> None:
    async with http([CLOSE]) as server:
        assert (await call(caller, server.url, payload=payload)).result is Result.UNKNOWN
    assert len(server.requests) == 1


async def test_a_call_of_which_something_came_back_is_not_repeated(caller: BranchCaller) -> None:
    async with http([OK, b"HTTP/1.1 2" + CLOSE], [OK]) as server:
        assert (await call(caller, server.url)).result is Result.SUCCESS
        assert (await call(caller, server.url)).result is Result.UNKNOWN
    assert len(server.requests) == 2


async def test_what_is_said_to_an_idle_connection_answers_no_call(caller: BranchCaller) -> None:
    """Proxies say 408 to a connection that is not used, and close it: the next call was given that."""
    late = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    said = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await asyncio.sleep(0.02)  # another packet, after the answer was read
        writer.write(late)
        await writer.drain()
        said.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for _ in range(3):
            assert (await call(caller, url, payload=b"")).result is Result.SUCCESS
            await said.wait()
            said.clear()
            await asyncio.sleep(0.02)


# ---- gRPC --------------------------------------------------------------------------------------------------

_HEADERS: Final = [(":status", "200"), ("content-type", "application/grpc")]
_SUCCESS: Final = [("grpc-status", "0")]


class Connection:
    """One connection of a gRPC server whose frames a test sends."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.h2 = H2Connection(H2Configuration(client_side=False, validate_outbound_headers=False))
        self.h2.encoder = BlockEncoder(self.h2.encoder)  # type: ignore[assignment]  # takes no minutes for 1 MiB
        self.h2.initiate_connection()
        self.calls = 0

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def answer(
        self, stream: int, trailers: list[tuple[str, str]] | None = None, body: bytes = bytes(5)
    ) -> None:
        self.h2.send_headers(stream, _HEADERS)
        if body:
            self.h2.send_data(stream, body)
        self.h2.send_headers(stream, trailers or _SUCCESS, end_stream=True)
        self.flush()

    def leave(self, last_stream: int) -> None:
        frame = GoAwayFrame(0, last_stream_id=last_stream)  # h2's own would end its connection
        self.writer.write(self.h2.data_to_send() + frame.serialize())


Behaviour = Callable[
    [Connection, int], Coroutine[None, None, None]
]  # of the connection and the call's stream


class GrpcServer:
    """Does with each call what the test says, by the number of its connection."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self._behaviours = behaviours
        self.url = ""
        self.calls: list[int] = []  # connections
        self.authorities: set[str | bytes] = set()  # that it was called by
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()  # the loop tells

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self._connections
        self._connections += 1
        behave = self._behaviours[min(number, len(self._behaviours) - 1)]
        connection = Connection(writer)
        connection.flush()
        try:
            while data := await reader.read(65_536):
                for event in connection.h2.receive_data(data):
                    if isinstance(event, RequestReceived):
                        self.calls.append(number)
                        self.authorities.add(dict(event.headers or ())[b":authority"])
                        connection.calls += 1
                    elif isinstance(event, StreamEnded):
                        task = asyncio.create_task(behave(connection, event.stream_id or 0))
                        self._tasks.add(task)
                        task.add_done_callback(self._done)
                connection.flush()
        except ConnectionError:
            return
        finally:
            writer.close()


@asynccontextmanager
async def grpc(*behaviours: Behaviour) -> AsyncIterator[GrpcServer]:
    made = GrpcServer(*behaviours)
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.url = f"127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"
    try:
        yield made
    finally:
        server.close()
        for task in list(made._tasks):
            task.cancel()


async def well(connection: Connection, stream: int) -> None:
    connection.answer(stream)


async def hang(connection: Connection, stream: int) -> None:
    await asyncio.sleep(60)


async def close(connection: Connection, stream: int) -> None:
    connection.writer.close()


def first(times: int, then: Behaviour) -> Behaviour:
    """Answer so many calls of a connection, then do something else."""

    async def behave(connection: Connection, stream: int) -> None:
        await (well if connection.calls <= times else then)(connection, stream)

    return behave


async def call_grpc(caller: BranchCaller, server: GrpcServer, timeout: float = 5) -> Answer:
    return await call(caller, server.url, payload=b"x", protocol="grpc", timeout=timeout)


async def test_a_grpc_call_that_meets_a_closed_connection_is_made_once_more_at_once(
    caller: BranchCaller,
) -> None:
    async with grpc(first(1, close), well) as server:
        for _ in range(3):
            assert (await call_grpc(caller, server)).result is Result.SUCCESS
        assert server.calls == [0, 0, 1, 1]


async def test_a_grpc_call_is_never_made_a_third_time(caller: BranchCaller) -> None:
    async with grpc(first(1, close), close) as server:
        assert (await call_grpc(caller, server)).result is Result.SUCCESS
        assert (await call_grpc(caller, server)).grpc_status == GrpcStatus.UNAVAILABLE.value
        assert server.calls == [0, 0, 1]


async def test_a_fresh_grpc_connection_that_is_closed_says_that_the_branch_failed(
    caller: BranchCaller,
) -> None:
    async with grpc(close) as server:
        assert (await call_grpc(caller, server)).grpc_status == GrpcStatus.UNAVAILABLE.value
        assert server.calls == [0]


async def test_a_grpc_call_of_which_something_came_back_is_not_repeated(caller: BranchCaller) -> None:
    async def half(connection: Connection, stream: int) -> None:
        connection.h2.send_headers(stream, _HEADERS)
        connection.flush()
        connection.writer.close()

    async with grpc(first(1, half), well) as server:
        assert (await call_grpc(caller, server)).result is Result.SUCCESS
        assert (await call_grpc(caller, server)).result is Result.UNKNOWN
        assert server.calls == [0, 0]


async def test_a_server_that_leaves_answers_the_calls_it_has_and_gets_no_more(caller: BranchCaller) -> None:
    """GOAWAY, as every Go server says it when it stops: calls under way were UNKNOWN."""
    left, may_end = asyncio.Event(), asyncio.Event()

    async def leaving(connection: Connection, stream: int) -> None:
        connection.leave(stream)
        left.set()
        await may_end.wait()
        connection.answer(stream)

    async with grpc(leaving, well) as server:
        slow = asyncio.create_task(call_grpc(caller, server))
        await left.wait()
        await asyncio.sleep(0.05)
        for _ in range(2):
            assert (await call_grpc(caller, server)).result is Result.SUCCESS
        may_end.set()
        assert (await slow).result is Result.SUCCESS
        assert server.calls == [0, 1, 1]


async def test_a_call_that_a_leaving_server_has_not_looked_at_is_made_once_more(caller: BranchCaller) -> None:
    async def leaving(connection: Connection, stream: int) -> None:
        connection.leave(0)

    async with grpc(leaving, well) as server:
        assert (await call_grpc(caller, server)).result is Result.SUCCESS
        assert server.calls == [0, 1]
    async with grpc(leaving) as server:
        assert (await call_grpc(caller, server)).result is Result.UNKNOWN
        assert server.calls == [0, 1]


async def test_a_call_that_the_server_refuses_to_look_at_is_made_once_more(caller: BranchCaller) -> None:
    async def refuse(connection: Connection, stream: int) -> None:
        if connection.calls > 1:
            return await well(connection, stream)
        connection.h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
        return connection.flush()

    async with grpc(refuse) as server:
        assert (await call_grpc(caller, server)).result is Result.SUCCESS
        assert server.calls == [0, 0]


async def test_a_call_that_the_server_breaks_off_is_not_repeated(caller: BranchCaller) -> None:
    async def reset(connection: Connection, stream: int) -> None:
        connection.h2.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
        connection.flush()

    async with grpc(first(1, reset)) as server:
        assert (await call_grpc(caller, server)).result is Result.SUCCESS
        assert (await call_grpc(caller, server)).result is Result.UNKNOWN
        assert server.calls == [0, 0]


# ---- one call's trouble is its own -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trailers",
    [
        [("x", "y" * 70_000)],
        [("x", "y" * (1 << 20))],
        [(f"x-{number}", "y" * 100) for number in range(8000)],
    ],
    ids=["70 kB", "1 MiB", "8000 of them"],
)
@pytest.mark.parametrize(("status", "result"), [("0", Result.SUCCESS), ("10", Result.FAILURE)])
async def test_long_trailers_are_read(
    caller: BranchCaller, trailers: list[tuple[str, str]], status: str, result: Result
) -> None:
    async def long(connection: Connection, stream: int) -> None:
        connection.answer(stream, [("grpc-status", status), *trailers])

    async with grpc(long) as server:
        for _ in range(2):
            assert (await call_grpc(caller, server)).result is result
        assert server.calls == [0, 0]


async def test_trailers_in_many_small_frames_are_read(caller: BranchCaller) -> None:
    async def small(connection: Connection, stream: int) -> None:
        connection.h2.streams[stream].max_outbound_frame_size = 1024
        connection.answer(stream, [*_SUCCESS, ("x", "y" * 300_000)])

    async with grpc(small) as server:
        assert (await call_grpc(caller, server)).result is Result.SUCCESS


@pytest.mark.parametrize("has_answered", [False, True])
async def test_trailers_without_end_are_one_calls_trouble(caller: BranchCaller, has_answered: bool) -> None:
    """The call that they come for is UNKNOWN, once; the others over its connection are answered."""
    begun, waiting, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
    endless: set[int] = set()

    async def behave(connection: Connection, stream: int) -> None:
        if not endless:
            endless.add(stream)
            begun.set()
            await waiting.wait()
            connection.answer(stream, [*_SUCCESS, ("x", "y" * 3_000_000)])
            may_end.set()
            return
        waiting.set()
        await may_end.wait()
        connection.answer(stream)

    async with grpc(first(1, behave) if has_answered else behave) as server:
        if has_answered:
            assert (await call_grpc(caller, server)).result is Result.SUCCESS
        bad = asyncio.create_task(call_grpc(caller, server))
        await begun.wait()
        others = [asyncio.create_task(call_grpc(caller, server)) for _ in range(5)]
        answer = await bad
        assert answer.grpc_status == GrpcStatus.RESOURCE_EXHAUSTED.value
        assert "headers of more than 2097152 bytes" in answer.text
        assert {(await other).result for other in others} == {Result.SUCCESS}


async def test_frames_and_answers_that_say_nothing_to_us_change_nothing(caller: BranchCaller) -> None:
    """Early hints, ALTSVC, frames of extensions: any of them ended the connection, and all its calls."""

    async def chatty(connection: Connection, stream: int) -> None:
        connection.h2.send_headers(stream, [(":status", "103"), ("link", "</x>")])
        connection.flush()
        connection.writer.write(AltSvcFrame(0, origin=b"example.com", field=b'h2=":1"').serialize())
        connection.writer.write(b"\0\0\1\x20\0\0\0\0\0x")  # a type that nobody knows
        connection.answer(stream)

    async with grpc(chatty) as server:
        for _ in range(2):
            assert (await call_grpc(caller, server)).result is Result.SUCCESS
        assert server.calls == [0, 0]


@pytest.mark.parametrize(
    ("status", "result"), [("10", Result.FAILURE), ("9", Result.ONGOING), ("0", Result.UNKNOWN)]
)
async def test_a_status_counts_after_half_a_message(
    caller: BranchCaller, status: str, result: Result
) -> None:
    async def half(connection: Connection, stream: int) -> None:
        connection.answer(stream, [("grpc-status", status), ("grpc-message", "m")], b"\0\0\0\0\x09four")

    async with grpc(half) as server:
        assert (await call_grpc(caller, server)).result is result


async def test_calls_that_wait_for_their_turn_go_elsewhere_when_the_server_leaves(
    caller: BranchCaller,
) -> None:
    """At most so many calls at a time, it says; those that waited for a place hung to their deadlines."""

    async def crowded(connection: Connection, stream: int) -> None:
        await asyncio.sleep(0.1)
        connection.leave(stream)
        connection.answer(stream)

    async with grpc(crowded, well) as server:
        original = Connection.__init__

        def limited(self: Connection, writer: asyncio.StreamWriter) -> None:
            original(self, writer)
            self.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Connection, "__init__", limited)
            running = asyncio.create_task(call_grpc(caller, server))
            await asyncio.sleep(0.05)
            answers = await asyncio.gather(running, *(call_grpc(caller, server) for _ in range(3)))
        assert {answer.result for answer in answers} == {Result.SUCCESS}


@pytest.mark.parametrize("balancer", ["", ROUND_ROBIN])
@pytest.mark.parametrize("scheme", ["", "dns:///", "direct:///"])
async def test_a_server_is_called_by_its_name(scheme: str, balancer: str) -> None:
    """What stands in front of several services tells them apart by it; an address says nothing."""
    names = Names(look_up=lambda _: ["127.0.0.1"])
    resolver = open_resolver(names, balancer=balancer)
    caller = BranchCaller(resolver, names=names)
    try:
        async with grpc(well) as server:
            place = server.url.replace("127.0.0.1", "user.svc").removesuffix(PATH)
            answer = await call(caller, f"{scheme}{place}{PATH}", protocol="grpc")
            assert answer.result is Result.SUCCESS
            assert server.authorities == {place.encode()}
    finally:
        await caller.close()
        await resolver.close()
        await names.close()
