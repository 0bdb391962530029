"""A gRPC connection may not cost more than it brings: floods, broken metadata, clients that read nothing."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import pack

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from loguru import logger

from coordinator.api import grpc_server
from coordinator.api.grpc_frames import BALANCE_A_CALL, BALANCE_A_SECOND, BALANCE_MAX, Balance, cost_of
from coordinator.api.grpc_server import GrpcServer
from coordinator.api.room import Room
from coordinator.http2.frames import Frame
from coordinator.proto.dtmgimp import DtmRequest, DtmStub
from tests.support.work import calls_counted
from tests.unit.api.fakes import HOST, FullTransport, Grpc, grpc_api

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
ENHANCE_YOUR_CALM = 11
FLOOD_FRAMES = 60_000
CALLS_MAX = FLOOD_FRAMES * 3  # fewer than a server makes that takes every frame in
NEW_GID = {
    ":method": "POST",
    ":scheme": "http",
    ":path": "/dtmgimp.Dtm/NewGid",
    ":authority": "a",
    "te": "trailers",
    "content-type": "application/grpc",
}


def frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return len(payload).to_bytes(3) + pack(">BBI", kind, flags, stream) + payload


def block(**more: str | bytes) -> bytes:
    """The headers of a call of NewGid, the same bytes each time."""
    named = {**NEW_GID, **{name.replace("_", "-"): value for name, value in more.items()}}
    return Encoder().encode([NeverIndexedHeaderTuple(*pair) for pair in named.items()], huffman=False)


def resets() -> Iterator[bytes]:
    head = block()
    for number in range(FLOOD_FRAMES // 2):
        stream = 2 * number + 1
        yield frame(HEADERS, stream, head, END_HEADERS) + frame(RESET, stream, pack(">I", 8))


def open_stream(*pieces: bytes) -> Iterator[bytes]:
    yield frame(HEADERS, 1, block(), END_HEADERS)
    for _ in range(FLOOD_FRAMES):
        yield from pieces


FLOODS = {
    "resets": resets,
    "settings": lambda: iter([frame(SETTINGS, 0, pack(">HI", 4, 65535))] * FLOOD_FRAMES),
    "long settings": lambda: iter([frame(SETTINGS, 0, pack(">HI", 4, 65535) * 2700)] * 300),
    "settings' acknowledgements": lambda: iter([frame(SETTINGS, 0, flags=1)] * FLOOD_FRAMES),
    "pings": lambda: iter([frame(PING, 0, b"x" * 8)] * FLOOD_FRAMES),
    "pongs": lambda: iter([frame(PING, 0, b"x" * 8, 1)] * FLOOD_FRAMES),
    "window updates": lambda: iter([frame(WINDOW, 0, pack(">I", 1))] * FLOOD_FRAMES),
    "priorities": lambda: iter([frame(PRIORITY, 1, pack(">IB", 3, 1))] * FLOOD_FRAMES),
    "unknown frames": lambda: iter([frame(0xBE, 0, b"grease")] * FLOOD_FRAMES),
    "empty data": lambda: open_stream(frame(DATA, 1)),
    "tiny data": lambda: open_stream(frame(DATA, 1, b"x")),
    "window updates of a stream": lambda: open_stream(frame(WINDOW, 1, pack(">I", 1))),
}


def flood(port: int, pieces: Iterator[bytes], *, reads: bool = True) -> bytes:
    """Send as fast as it goes, until the server closes; returns what it said."""
    said = b""
    with socket.create_connection((HOST, port), timeout=20) as plain:
        data = PREFACE + frame(SETTINGS, 0) + b"".join(pieces)

        def send() -> None:
            with contextlib.suppress(OSError):
                plain.sendall(data)

        sending = threading.Thread(target=send)
        sending.start()
        with contextlib.suppress(ConnectionError):
            while reads and (piece := plain.recv(65536)):
                said += piece
        sending.join()
    return said


def goodbyes(said: bytes) -> list[int]:
    """The error codes of the GOAWAY frames in what the server said."""
    found = []
    while len(said) >= 9:
        length, kind = int.from_bytes(said[:3]), said[3]
        if kind == GOAWAY:
            found.append(int.from_bytes(said[13:17]))
        said = said[9 + length :]
    return found


def answers(said: bytes) -> list[dict[str, str]]:
    """The headers in what the server said."""
    found, decoder = [], Decoder()
    while len(said) >= 9:
        length, kind = int.from_bytes(said[:3]), said[3]
        if kind == HEADERS:
            found.append({str(name): str(value) for name, value in decoder.decode(said[9 : 9 + length])})
        said = said[9 + length :]
    return found


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def log_lines() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message} {exception}", diagnose=False)
    yield lines
    logger.remove(sink)


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_is_ended_and_others_hardly_notice(grpc: Grpc, kind: str) -> None:
    """53,000 resets were 12 s of standstill and 440 MB that never came back."""
    stub = DtmStub(grpc.channel)
    sizes = []
    for _ in range(3):
        flooding = asyncio.create_task(asyncio.to_thread(flood, grpc.port, FLOODS[kind]()))
        while not flooding.done():
            with calls_counted() as work:  # the server's, too: it works in this thread
                async with asyncio.timeout(60):
                    await stub.new_gid()
            assert work.made < CALLS_MAX
        said = await flooding
        sizes.append(resident_bytes())
        # A client that still sends when it is closed may lose the last word to the kernel's reset.
        assert goodbyes(said) in ([ENHANCE_YOUR_CALM], [])
    assert sizes[2] - sizes[0] < 20_000_000


async def test_a_flood_is_told_to_calm_down(grpc: Grpc) -> None:
    reader, writer = await asyncio.open_connection(HOST, grpc.port)
    writer.write(PREFACE + frame(SETTINGS, 0) + frame(PING, 0, b"x" * 8) * (BALANCE_MAX + 100))
    assert goodbyes(await asyncio.wait_for(reader.read(), 30))[:1] == [ENHANCE_YOUR_CALM]
    writer.close()


async def test_header_blocks_that_never_end_are_no_http2(grpc: Grpc) -> None:
    reader, writer = await asyncio.open_connection(HOST, grpc.port)
    head = frame(HEADERS, 1, block())
    writer.write(PREFACE + frame(SETTINGS, 0) + head + frame(CONTINUATION, 1) * 100)
    assert len(goodbyes(await asyncio.wait_for(reader.read(), 30))) == 1
    writer.close()
    assert (await DtmStub(grpc.channel).new_gid()).gid == "gid-1"


async def test_many_calls_one_after_another_cost_nothing(grpc: Grpc) -> None:
    """More frames than the balance has: each call earns its own."""
    stub = DtmStub(grpc.channel)
    before = grpc.channel._protocol  # type: ignore[attr-defined]
    for _ in range(25):
        await asyncio.gather(*[stub.submit(DtmRequest(gid="g")) for _ in range(100)])
    assert grpc.channel._protocol is before or before is None  # type: ignore[attr-defined]
    assert len(grpc.service.asked) == 2500


async def test_what_was_cancelled_before_it_began_is_forgotten(grpc: Grpc) -> None:
    reader, writer = await asyncio.open_connection(HOST, grpc.port)
    head = block()
    for stream in range(1, 401, 2):
        writer.write(b"" if stream > 1 else PREFACE + frame(SETTINGS, 0))
        writer.write(frame(HEADERS, stream, head, END_HEADERS) + frame(RESET, stream, pack(">I", 8)))
    writer.write(frame(PING, 0, b"the last"))
    await asyncio.wait_for(reader.readuntil(b"the last"), 30)
    await DtmStub(grpc.channel).new_gid()
    assert grpc.server.connections
    for connection in grpc.server.connections:
        assert len(connection.streams.calls) <= 1
    assert len(grpc.server._running) <= 1
    writer.close()


# ---- metadata ----


METADATA = [
    ({"x": b"\xff"}, Status.INVALID_ARGUMENT, "has a byte that is not ASCII"),
    ({"x": "ü"}, Status.INVALID_ARGUMENT, "has a byte that is not ASCII"),
    ({"user_agent": b"\x80"}, Status.INVALID_ARGUMENT, "has a byte that is not ASCII"),
    ({"grpc_timeout": b"\xff"}, Status.INVALID_ARGUMENT, "has a byte that is not ASCII"),
    ({"x_bin": "a"}, Status.INVALID_ARGUMENT, "is not base64"),
    ({"grpc_timeout": "0n"}, Status.DEADLINE_EXCEEDED, "has passed"),
    ({"grpc_timeout": "1n"}, Status.DEADLINE_EXCEEDED, "has passed"),
    *(
        ({"grpc_timeout": value}, Status.INVALID_ARGUMENT, "grpc-timeout is no time-out")
        for value in (
            "",
            "soon",
            "1",
            "S",
            "-1S",
            "1.5S",
            "1X",
            "1S ",
            "\x1b[2J",
            "1" * 9 + "S",
            "9" * 308 + "S",
        )
    ),
    ({":path": "/dtmgimp.Dtm/Nothing"}, Status.UNIMPLEMENTED, "unknown method"),
]


@pytest.mark.parametrize(("metadata", "status", "sentence"), METADATA, ids=range(len(METADATA)))
async def test_broken_metadata_is_that_calls_error_and_the_connection_lives(
    grpc: Grpc, metadata: dict[str, str | bytes], status: Status, sentence: str
) -> None:
    with log_lines() as lines:
        reader, writer = await asyncio.open_connection(HOST, grpc.port)
        writer.write(PREFACE + frame(SETTINGS, 0) + frame(HEADERS, 1, block(**metadata), END_HEADERS))
        said = await asyncio.wait_for(reader.readuntil(frame(RESET, 1, b"\0" * 4)), 30)
        [answer] = answers(said)
        assert answer["grpc-status"] == str(status.value)
        assert sentence in answer["grpc-message"]
        writer.write(frame(HEADERS, 3, block(), END_HEADERS) + frame(DATA, 3, b"\0" * 5, END_STREAM))
        await asyncio.wait_for(reader.readuntil(b"gid-1"), 30)
        writer.close()
    assert not lines


@pytest.mark.parametrize("size", [9_000, 60_000, 200_000])
async def test_big_metadata_is_taken(grpc: Grpc, size: int) -> None:
    reader, writer = await asyncio.open_connection(HOST, grpc.port)
    writer.write(PREFACE + frame(SETTINGS, 0))
    for stream in (1, 3):
        head = block(x="x" * size)
        pieces = [head[start : start + 16_384] for start in range(0, len(head), 16_384)]
        writer.write(frame(HEADERS, stream, pieces[0], END_HEADERS if len(pieces) == 1 else 0))
        for piece in pieces[1:]:
            writer.write(frame(CONTINUATION, stream, piece, END_HEADERS if piece is pieces[-1] else 0))
        writer.write(frame(DATA, stream, b"\0" * 5, END_STREAM))
        await asyncio.wait_for(reader.readuntil(b"gid-1"), 30)
    writer.close()


# ---- bytes of requests ----


async def test_messages_beyond_the_room_are_refused_and_room_comes_back() -> None:
    """PROTOCOL §2: full is RESOURCE_EXHAUSTED."""
    room = Room(100_000)
    async with grpc_api(room) as grpc:
        grpc.service.hold = asyncio.Event()
        stub = DtmStub(grpc.channel)
        held = asyncio.create_task(stub.submit(DtmRequest(gid="g", bin_payloads=[b"x" * 60_000])))
        await asyncio.wait_for(grpc.service.was_asked.wait(), 30)
        with pytest.raises(GRPCError, match="has no room for this one") as raised:
            await stub.submit(DtmRequest(gid="h", bin_payloads=[b"x" * 60_000]), timeout=5)
        assert raised.value.status is Status.RESOURCE_EXHAUSTED
        grpc.service.hold.set()
        await held
        await stub.submit(DtmRequest(gid="h", bin_payloads=[b"x" * 60_000]), timeout=5)
    assert room.taken == 0


# ---- connections ----


async def test_connections_that_say_nothing_lock_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_server, "connections_max", lambda: 3)
    async with grpc_api() as grpc:
        await DtmStub(grpc.channel).new_gid()
        silent = [await asyncio.open_connection(HOST, grpc.port) for _ in range(10)]
        other = Channel(HOST, grpc.port)
        assert (await DtmStub(other).new_gid()).gid == "gid-1"
        assert (await DtmStub(grpc.channel).new_gid()).gid == "gid-1"
        other.close()
        for _, writer in silent:
            writer.close()


async def test_with_all_connections_at_work_the_next_is_sent_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_server, "connections_max", lambda: 1)
    async with grpc_api() as grpc:
        grpc.service.hold = asyncio.Event()
        working = asyncio.create_task(DtmStub(grpc.channel).submit(DtmRequest(gid="g")))
        await asyncio.wait_for(grpc.service.was_asked.wait(), 30)
        reader, writer = await asyncio.open_connection(HOST, grpc.port)
        assert goodbyes(await asyncio.wait_for(reader.read(), 30)) == [0]
        writer.close()
        grpc.service.hold.set()
        await working


# ---- the rules ----


@pytest.mark.parametrize("size", [1, 2, 7, 9, 10, 1000])
async def test_frames_are_found_wherever_the_pieces_end(grpc: Grpc, size: int) -> None:
    sent = PREFACE + frame(SETTINGS, 0) + frame(HEADERS, 1, block(), END_HEADERS)
    sent += frame(DATA, 1, b"\0" * 5, END_STREAM) + frame(PING, 0, b"the last")
    reader, writer = await asyncio.open_connection(HOST, grpc.port)
    for start in range(0, len(sent), size):
        writer.write(sent[start : start + size])
        await asyncio.sleep(0)
    await asyncio.wait_for(reader.readuntil(b"gid-1"), 30)
    writer.close()


@pytest.mark.parametrize(
    ("sent", "cost"),
    [
        (Frame(PING, 0, 0, b"x" * 8), 1),
        (Frame(DATA, 0, 1, b"x" * 200), 0),
        (Frame(DATA, 0, 1, b"x"), 1),
        (Frame(RESET, 0, 1, b"1234"), 1),
        (Frame(HEADERS, 0, 1, b"x"), 0),
        (Frame(SETTINGS, 0, 0, b"x" * 6400), 110),
    ],
)
def test_what_a_frame_costs(sent: Frame, cost: int) -> None:
    assert cost_of(sent) == cost


class Written(FullTransport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.said = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said += bytes(data)


@pytest.mark.parametrize(
    ("sent", "turns"),
    [
        (frame(PING, 0, b"x" * 8) * 100, [32, 64, 96, 100]),
        (frame(SETTINGS, 0, pack(">HI", 4, 65535) * 1000) * 3, [1, 2, 3]),
    ],
)
async def test_a_piece_ends_after_so_many_frames_or_so_much_cost(sent: bytes, turns: list[int]) -> None:
    """Others have their turn between."""
    connection, transport = GrpcServer({}).connection(), Written()
    connection.connection_made(transport)
    connection.data_received(PREFACE + sent)
    seen = []
    while not seen or seen[-1] < turns[-1]:
        assert transport.reads == (len(seen) == len(turns) - 1)
        await asyncio.sleep(0)
        seen.append(answered(transport.said))
    assert seen == turns
    connection.connection_lost(None)


def answered(said: bytes) -> int:
    """How many frames were acknowledged."""
    found = 0
    while len(said) >= 9:
        found += said[3] in {PING, SETTINGS} and said[4] == 1
        said = said[9 + int.from_bytes(said[:3]) :]
    return found


def test_a_balance_is_spent_and_earned() -> None:
    balance = Balance(0.0)
    assert balance.pay(BALANCE_MAX, 0.0)
    assert not balance.pay(1, 0.0)
    balance.answered()
    assert balance.pay(BALANCE_A_CALL - 1, 0.0)
    assert balance.pay(BALANCE_A_SECOND, 1.0)
    assert balance.pay(BALANCE_MAX, 1000.0)
    assert not balance.pay(1, 1000.0)
