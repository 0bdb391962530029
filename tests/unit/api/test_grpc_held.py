"""What gRPC clients make the server hold is counted and bounded, and no turn of its loop is long."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest
from grpclib.reflection.v1.reflection_pb2 import ServerReflectionRequest

from coordinator.api import grpc_health, grpc_streams
from coordinator.api.grpc_server import GrpcServer
from coordinator.api.room import Room
from coordinator.http2 import frames
from coordinator.http2.frames import Code, frame
from coordinator.proto.dtmcoordinator import GidRequest
from coordinator.store.base import Stored
from tests.unit.api.fakes import FakeReadiness, FullTransport, Grpc, grpc_api
from tests.unit.api.test_grpc_hostile import (
    REFLECT,
    SUBMIT,
    WHOLE,
    block,
    client,
    data,
    headers,
    narrow,
    request,
    serves,
    window,
)
from tests.unit.api.test_grpc_operator import BRANCH, FAILED

WATCH = "/grpc.health.v1.Health/Watch"
BUSY = 8  # RESOURCE_EXHAUSTED
INDEXED = b"\x40\x02xy\x00"  # a header that the table keeps from here on
AGAIN = b"\xbe"  # and in one byte


async def test_many_connections_that_come_in_one_turn_are_bounded_too() -> None:
    server = GrpcServer({}, connections_at_most=3)
    for _ in range(50):
        server.connection().connection_made(FullTransport())
    assert len([one for one in server.connections if not one.is_closing]) == 3
    for one in tuple(server.connections):
        one.connection_lost(None)


async def test_metadata_of_few_bytes_counts_as_what_it_takes() -> None:
    """4,000 headers of one byte each are half a megabyte as long as the call waits."""
    room = Room(1_000_000)
    async with grpc_api(room) as grpc, client(grpc) as one:
        one.send(frame(frames.HEADERS, WHOLE, 1, block(SUBMIT) + INDEXED))
        for number in (3, 5):
            one.send(frame(frames.HEADERS, WHOLE, number, block(SUBMIT) + AGAIN * 4000))
        assert await one.status(5) == BUSY
        one.send(headers(7), data(7))
        assert await one.status(7) == 0
    assert room.taken == 0


async def test_headers_by_the_thousand_are_paid_for(grpc: Grpc) -> None:
    async with client(grpc) as one:
        one.send(frame(frames.HEADERS, WHOLE, 1, block() + INDEXED))
        for number in range(3, 31, 2):
            one.send(frame(frames.HEADERS, WHOLE, number, block("/p") + AGAIN * 7000))
        assert await one.goodbye() == Code.ENHANCE_YOUR_CALM
    await serves(grpc)


async def test_headers_in_pieces_count_until_they_are_whole() -> None:
    room = Room(100_000)
    async with grpc_api(room) as grpc, client(grpc) as one:
        long = block("/dtmgimp.Dtm/NewGid", ("x", "y" * 5000))
        one.send(frame(frames.HEADERS, 0, 1, long[:4000]), frame(frames.CONTINUATION, 0, 1, long[4000:]))
        one.send(frame(frames.CONTINUATION, WHOLE, 1), data(1))
        assert await one.status(1) == 0
        assert room.taken == 0
        one.send(frame(frames.HEADERS, 0, 3, block()))
        one.send(*[frame(frames.CONTINUATION, 0, 3, bytes(16_000))] * 5)
        assert await one.goodbye() == Code.ENHANCE_YOUR_CALM
        assert room.taken == 0
        await serves(grpc)


async def test_headers_that_do_not_end_in_time_end_the_connection(
    grpc: Grpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_streams, "HEADERS_SECONDS_MAX", 0.05)
    async with client(grpc) as one:
        one.send(frame(frames.HEADERS, 0, 1, block()), frame(frames.CONTINUATION, WHOLE, 1), data(1))
        assert await one.status(1) == 0
        one.send(frame(frames.HEADERS, 0, 3, block()))
        assert await one.goodbye() == Code.ENHANCE_YOUR_CALM
    await serves(grpc)


# ---- calls that wait ----


async def test_calls_that_wait_for_their_message_are_counted() -> None:
    room = Room(1_000_000)
    async with grpc_api(room) as grpc, client(grpc) as one:
        one.send(*[headers(number, SUBMIT) for number in range(1, 601, 2)])
        assert await one.status(599) == BUSY
        assert room.taken <= 1_000_000
        one.send(data(1), headers(601), data(601))
        assert await one.status(1) == 0
        assert await one.status(601) == 0
    assert room.taken == 0


async def test_a_call_that_was_waited_for_holds_its_message_alone() -> None:
    room = Room(1_000_000)
    async with grpc_api(room) as grpc, client(grpc) as one:
        grpc.service.hold = asyncio.Event()
        one.send(headers(1, SUBMIT))
        await one.pong()
        one.send(data(1))
        await asyncio.wait_for(grpc.service.was_asked.wait(), 30)
        assert room.taken == 0
        grpc.service.hold.set()
        assert await one.status(1) == 0


async def test_answers_that_wait_for_their_client_are_counted() -> None:
    """A hundred bytes ask for megabytes, and the window for them never opens."""
    room = Room(1_000_000)
    async with grpc_api(room) as grpc, client(grpc, narrow(0)) as one:
        grpc.service.stored = Stored(FAILED, (replace(BRANCH, payload=bytes(300_000)),))
        asked = request(bytes(GidRequest(gid="g")))
        numbers = {1, 3, 5, 7}
        for number in sorted(numbers):
            one.send(headers(number, "/dtmcoordinator.Operator/Query"), data(number, asked))
        refused, status = await one.ended()  # large answers are made in threads: any of them may be the last
        assert refused in numbers
        assert status == BUSY
        assert 600_000 < room.taken <= 1_000_000
        for number in numbers - {refused}:
            one.send(frame(frames.RST_STREAM, 0, number, bytes(4)))
        await one.pong()
    assert room.taken == 0


async def test_who_watches_the_health_costs_nothing_while_nothing_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_health, "WATCH_SECONDS", 0.01)
    looked: list[float] = []
    several = asyncio.Event()

    def problems(self: FakeReadiness) -> Mapping[str, str]:
        looked.append(asyncio.get_running_loop().time())
        if len(looked) >= 5:
            several.set()
        return self.found

    room = Room(1_000_000)
    async with grpc_api(room) as grpc, client(grpc) as one:
        for number in range(1, 601, 2):
            one.send(headers(number, WATCH), data(number))
        assert await one.status(599) == BUSY
        monkeypatch.setattr(FakeReadiness, "problems", problems)
        await asyncio.wait_for(several.wait(), 30)
        assert looked[4] - looked[0] > 0.03  # once for all of them, whenever it is time
        grpc.readiness.found["database"] = "gone"
        told = {(await one.frame(frames.DATA)).stream for _ in range(room.taken // 4096)}
        assert len(told) > 200
    assert room.taken == 0


# ---- streams of questions ----


async def test_a_thousand_questions_at_once_leave_others_their_turn(grpc: Grpc) -> None:
    """What was one step of the loop, for seconds, is one for each."""
    async with client(grpc, narrow(2**31 - 1) + window(0, 2**30)) as one, client(grpc) as other:
        one.send(headers(1, REFLECT), data(1, bytes(5) * 3000, 0))
        await one.frame(frames.DATA)
        other.send(headers(1), data(1))
        assert await other.status(1) == 0
        one.send(data(1, b""))
        assert await one.status(1) == 0


async def test_questions_are_counted_until_they_are_answered() -> None:
    """Whole ones that wait, half ones, and the one whose answer waits for its window."""
    room = Room(2_000_000)
    asked = request(ServerReflectionRequest(list_services="x" * 10_000).SerializeToString())
    async with grpc_api(room) as grpc, client(grpc, narrow(0)) as one:
        one.send(headers(1, REFLECT), data(1, asked, 0))
        await one.frame(frames.HEADERS)
        assert room.taken >= 10_000  # the answer waits
        before = room.taken
        one.send(data(1, asked[:9_000], 0), data(1, asked[9_000:], 0), data(1, asked[:9_000], 0))
        await one.pong()
        assert room.taken >= before + 20_000
        one.send(window(1, 2**20))
        for _ in range(2):
            await one.frame(frames.DATA)
        await one.pong()
        assert 10_000 <= room.taken <= 20_000  # half a question
        one.send(data(1, asked[9_000:]))
        assert await one.status(1) == 0
        one.send(headers(3, REFLECT), data(3, bytes(5) * 3000, 0))
        one.send(frame(frames.RST_STREAM, 0, 3, bytes(4)))
        await one.pong()
    assert room.taken == 0
