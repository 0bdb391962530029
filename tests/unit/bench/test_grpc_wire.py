"""The load generator's gRPC client, against grpclib's server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from hpack import Decoder

from bench.grpc_wire import STREAMS_MAX, CallFailed, Connection, connect, header_block
from tests.support.grpc_server import BreakingServer, RawCodec
from tests.support.ports import HOST, free_port


class Service:
    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.all_came = asyncio.Event()

    async def echo(self, stream: Any) -> None:
        self.asked.append(await stream.recv_message())
        await stream.send_message(self.asked[-1])

    async def refuse(self, stream: Any) -> None:
        await stream.recv_message()
        raise GRPCError(Status.ABORTED, "no money")

    async def wait_for_all(self, stream: Any) -> None:
        self.asked.append(await stream.recv_message())
        if len(self.asked) == STREAMS_MAX:
            self.all_came.set()
        await self.all_came.wait()
        await stream.send_message(b"")

    async def hang(self, stream: Any) -> None:
        await stream.recv_message()
        self.all_came.set()
        await asyncio.Event().wait()

    def __mapping__(self) -> dict[str, Handler]:
        methods = (self.echo, self.refuse, self.wait_for_all, self.hang)
        return {f"/a.B/{it.__name__}": Handler(it, Cardinality.UNARY_UNARY, bytes, bytes) for it in methods}


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Service, BreakingServer, Connection]]:
    service, port = Service(), free_port()
    server = BreakingServer([service], codec=RawCodec())
    await server.start(HOST, port)
    connection = await connect(HOST, port)
    try:
        yield service, server, connection
    finally:
        connection.close()
        server.close()
        await server.wait_closed()


async def test_a_call_brings_its_message_and_ends_when_it_is_answered():
    async with served() as (service, _, connection):
        await connection.call("/a.B/echo", b"hello")
        assert service.asked == [b"hello"]


async def test_an_answer_that_is_not_ok_fails_the_call_and_no_other():
    async with served() as (_, _, connection):
        for _ in range(2):
            with pytest.raises(CallFailed, match="status 10: no money"):
                await connection.call("/a.B/refuse", b"")
        with pytest.raises(CallFailed, match="status 12"):
            await connection.call("/a.B/unknown", b"")
        await connection.call("/a.B/echo", b"")


async def test_calls_at_a_time_go_over_one_connection():
    async with served() as (service, _, connection):
        numbers = [f"{it}".encode() for it in range(STREAMS_MAX)]
        await asyncio.gather(*(connection.call("/a.B/wait_for_all", it) for it in numbers))
        assert sorted(service.asked) == sorted(numbers)


async def test_messages_outlast_the_first_window_of_flow_control():
    async with served() as (service, _, connection):
        for _ in range(100):
            await connection.call("/a.B/echo", bytes(2000))
        assert len(service.asked) == 100


async def test_a_server_that_goes_away_fails_what_waits_and_what_comes():
    async with served() as (service, server, connection):
        waiting = asyncio.create_task(connection.call("/a.B/hang", b""))
        await service.all_came.wait()
        server.close()
        with pytest.raises(CallFailed):
            await waiting
        with pytest.raises(CallFailed):
            await connection.call("/a.B/echo", b"")


async def test_frames_that_arrive_in_pieces_are_put_together():
    async with served() as (_, _, connection):
        whole = connection.data_received
        connection.data_received = lambda data: [whole(data[it : it + 1]) for it in range(len(data))]  # type: ignore[method-assign,assignment,func-returns-value]
        await connection.call("/a.B/echo", b"hello")


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 254, 255, 300, 20000])
def test_header_values_of_any_length_can_be_read(length: int):
    fields = {":path": "/a", "x": "v" * length}
    assert dict(Decoder().decode(header_block(fields))) == fields
