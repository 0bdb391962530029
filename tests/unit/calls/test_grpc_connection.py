"""Our end of HTTP/2 against the library's, and against anything that a server may send."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamReset
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.calls.grpc_connection import GrpcConnection
from coordinator.calls.grpc_reply import Broke, BrokenReply, NotServed, ReplyTooLong
from coordinator.http2 import frames
from coordinator.http2.frames import Frames, frame
from coordinator.http2.literals import literal

BLOCK = b"".join(
    literal(name, value)
    for name, value in [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/s/m"),
        (b":authority", b"h"),
        (b"te", b"trailers"),
    ]
)
HEADERS = [(":status", "200"), ("content-type", "application/grpc")]
TRAILERS = [("grpc-status", "0"), ("grpc-message", "")]


class Server:
    """The library's end, joined to ours without a network."""

    def __init__(self, connection: GrpcConnection, **first: int) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        if first:
            self.h2.update_settings({SettingCodes[name]: value for name, value in first.items()})
        self.connection = connection
        self.received: dict[int, bytes] = {}
        self.resets: list[int] = []
        self.is_closed = False
        self.writes = 0
        connection.connection_made(cast(asyncio.Transport, self))

    def write(self, data: bytes) -> None:
        self.writes += 1
        for event in self.h2.receive_data(data):
            match event:
                case RequestReceived(stream_id=int(number)):
                    self.received[number] = b""
                case DataReceived(stream_id=int(number), data=bytes(part)):
                    self.received[number] += part
                case StreamReset(stream_id=int(number)):
                    self.resets.append(number)

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed

    def flush(self) -> None:
        self.connection.data_received(self.h2.data_to_send())

    def answer(self, number: int, message: bytes = bytes(5)) -> None:
        self.h2.send_headers(number, HEADERS)
        self.h2.send_data(number, message)
        self.h2.send_headers(number, TRAILERS, end_stream=True)
        self.flush()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def call(connection: GrpcConnection, payload: bytes = b"") -> "asyncio.Task[tuple[int, str]]":
    return asyncio.create_task(connection.call(BLOCK, payload, reply_bytes_max=1000))


async def test_calls_of_one_turn_are_one_write_and_answered_each() -> None:
    connection = GrpcConnection()
    server = Server(connection)
    await turns()
    calls = [call(connection, b"x%d" % number) for number in range(3)]
    await turns()
    assert server.writes == 2, "the first says what is taken"
    assert list(server.received.values()) == [b"\0\0\0\0\2x%d" % number for number in range(3)]
    for number in reversed(list(server.received)):
        server.answer(number)
    assert await asyncio.gather(*calls) == [(0, "")] * 3
    assert not server.resets


async def test_a_long_message_is_sent_as_the_server_takes_it_and_its_table_is_told_empty() -> None:
    connection = GrpcConnection()
    server = Server(connection, INITIAL_WINDOW_SIZE=10, HEADER_TABLE_SIZE=0)
    server.flush()  # its settings come first
    running = call(connection, b"x" * 100_000)
    await turns()
    assert len(server.received[1]) == 10
    server.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 50_000})
    server.flush()
    await turns()
    assert len(server.received[1]) == 50_000, "a window that is widened counts for calls that run"
    for _ in range(3):
        server.h2.increment_flow_control_window(40_000)
        server.h2.increment_flow_control_window(40_000, 1)
        server.flush()
        await turns()
    assert server.received[1] == b"\0\0\1\x86\xa0" + b"x" * 100_000
    server.answer(1)
    assert await running == (0, "")


async def test_calls_wait_for_their_turn_and_one_that_is_cancelled_gives_its_own() -> None:
    connection = GrpcConnection()
    server = Server(connection, MAX_CONCURRENT_STREAMS=1)
    server.flush()
    first, second, third = call(connection), call(connection), call(connection)
    await turns()
    assert list(server.received) == [1]
    first.cancel()
    await turns()
    assert server.resets == [1]
    assert list(server.received) == [1, 3]
    second.cancel()
    await turns()
    server.answer(5)
    assert await third == (0, "")
    assert list(server.received) == [1, 3, 5]


async def test_a_server_that_names_no_limit_takes_any_number_of_calls() -> None:
    connection, transport = GrpcConnection(), Silent()
    connection.connection_made(cast(asyncio.Transport, transport))
    connection.data_received(frames.settings({}))
    calls = [call(connection) for _ in range(150)]
    await turns()
    sent = Frames()
    sent.feed(transport.written.removeprefix(frames.PREFACE))
    assert sum(each.kind == frames.HEADERS for each in sent) == 150
    for each in calls:
        each.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def answered(connection: GrpcConnection, server: Server) -> None:
    """So that the connection counts as one that served calls."""
    running = call(connection)
    await turns()
    server.answer(max(server.received))
    await running


def window_update(connection: GrpcConnection) -> None:
    connection.data_received(frame(frames.WINDOW_UPDATE, 0, 3, b"\0\0\0\1"))


def leave_after_it(connection: GrpcConnection) -> None:
    connection.data_received(frame(frames.GOAWAY, 0, 0, b"\0\0\0\3\0\0\0\0"))


def leave_before_it(connection: GrpcConnection) -> None:
    connection.data_received(frame(frames.GOAWAY, 0, 0, b"\0\0\0\1\0\0\0\0"))


def say_nothing(_: GrpcConnection) -> None:
    pass


@pytest.mark.parametrize(
    ("before", "may_be_repeated"),
    [(say_nothing, True), (leave_before_it, True), (window_update, False), (leave_after_it, False)],
)
async def test_a_call_that_the_server_has_shown_to_have_is_not_repeated(
    before: Callable[[GrpcConnection], None], may_be_repeated: bool
) -> None:
    connection = GrpcConnection()
    await answered(connection, Server(connection))
    running = call(connection)
    await turns()
    before(connection)
    connection.eof_received()
    with pytest.raises(Broke) as broke:
        await running
    assert isinstance(broke.value, NotServed) is may_be_repeated


async def test_a_reset_is_not_answered_by_one() -> None:
    connection = GrpcConnection()
    server = Server(connection, INITIAL_WINDOW_SIZE=10)
    server.flush()
    running = call(connection, b"x" * 100)
    await turns()
    server.h2.reset_stream(1)
    server.flush()
    with pytest.raises(Broke):
        await running
    await turns()
    assert not server.resets


async def test_an_answer_before_the_whole_message_ends_the_call() -> None:
    connection = GrpcConnection()
    server = Server(connection, INITIAL_WINDOW_SIZE=10)
    server.flush()
    running = call(connection, b"x" * 100)
    await turns()
    server.h2.send_headers(
        1, [*HEADERS, ("grpc-status", "9"), ("grpc-message", "no%20pear")], end_stream=True
    )
    server.flush()
    assert await running == (9, "no pear")
    await turns()
    assert server.resets == [1], "nobody sends the rest"


@pytest.mark.parametrize(
    ("message", "kind"),
    [(b"\0\0\0\x10\0" + bytes(10), ReplyTooLong), (b"\0\0\0\0\5abc", BrokenReply), (b"\0\0", BrokenReply)],
)
async def test_a_reply_that_is_too_long_or_broken_off_is_no_success(
    message: bytes, kind: type[Exception]
) -> None:
    connection = GrpcConnection()
    server = Server(connection)
    running = call(connection)
    await turns()
    server.answer(1, message)
    with pytest.raises(kind):
        await running


async def test_a_server_that_asks_and_does_not_read_is_left() -> None:
    connection = GrpcConnection()
    Server(connection)
    connection.pause_writing()
    connection.data_received(frame(frames.PING, 0, 0, bytes(8)) * 2000)
    assert connection.is_lost


frames_of_any_kind = st.builds(
    frame,
    st.integers(0, 12),
    st.integers(0, 255),
    st.sampled_from([0, 1, 1, 1, 2, 3, 5, 2**31 - 1]),
    st.binary(max_size=60) | st.just(literal(b":status", b"200")) | st.just(literal(b"grpc-status", b"0")),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(frames_of_any_kind | st.binary(max_size=30), max_size=8))
def test_whatever_comes_each_call_ends_with_the_connection(parts: list[bytes]) -> None:
    async def played() -> None:
        connection = GrpcConnection()
        connection.connection_made(cast(asyncio.Transport, Silent()))
        running = [call(connection), call(connection)]
        await turns(2)
        for part in parts:
            connection.data_received(part)
            await turns(2)
        connection.connection_lost(None)
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            assert isinstance(outcome, tuple | Broke | BrokenReply | ReplyTooLong)

    asyncio.run(played())


class Silent:
    """A transport to nobody."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        pass

    abort = close

    def is_closing(self) -> bool:
        return False
