"""What no proper gRPC client sends: each is answered as RFC 9113 wants it, and others are served on.

One connection over a plain socket in each test; SUBMIT's call waits until the test lets it end.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from struct import pack
from typing import Final

import pytest
from grpclib.reflection.v1.reflection_pb2 import ServerReflectionRequest
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hpack.hpack import encode_integer

from coordinator.api import grpc_call
from coordinator.api.grpc_frames import BALANCE_MAX
from coordinator.api.grpc_streams import METADATA_BYTES_MAX, STREAMS_MAX
from coordinator.http2 import frames
from coordinator.http2.frames import Code, Frame, Frames, frame
from coordinator.proto.dtmgimp import DtmGidReply, DtmRequest, DtmStub
from tests.unit.api.fakes import HOST, Grpc

FIRST: Final = frames.PREFACE + frames.settings({})
MESSAGE: Final = bytes(5)
SUBMIT, REFLECT = "/dtmgimp.Dtm/Submit", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
END: Final = frames.END_STREAM
WHOLE: Final = frames.END_HEADERS


def block(path: str = "/dtmgimp.Dtm/NewGid", *more: tuple[str, str], **other: str) -> bytes:
    """The headers of a call. other: in place of a pseudo-header's own value."""
    pairs = {"method": "POST", "scheme": "http", "path": path, "authority": "a", **other}
    fields = [(f":{name}", value) for name, value in pairs.items() if value]
    fields += [("te", "trailers"), ("content-type", "application/grpc"), *more]
    encoded: bytes = Encoder().encode([NeverIndexedHeaderTuple(*it) for it in fields], huffman=False)
    return encoded


def headers(stream: int, path: str = "/dtmgimp.Dtm/NewGid", flags: int = WHOLE) -> bytes:
    return frame(frames.HEADERS, flags, stream, block(path))


def data(stream: int, payload: bytes = MESSAGE, flags: int = END) -> bytes:
    return frame(frames.DATA, flags, stream, payload)


def window(stream: int, more: int) -> bytes:
    return frame(frames.WINDOW_UPDATE, 0, stream, pack(">I", more))


def request(message: bytes) -> bytes:
    return pack(">?I", False, len(message)) + message


class Client:
    """Sends anything; reads frames. decoder: as its settings have it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._frames = Frames()
        self.decoder = Decoder()

    def send(self, *pieces: bytes) -> None:
        self.writer.write(b"".join(pieces))

    async def frame(self, *kinds: int) -> Frame:
        """The next one of these kinds."""
        async with asyncio.timeout(20):
            while True:
                for each in self._frames:
                    if each.kind in kinds:
                        return each
                piece = await self._reader.read(65536)
                assert piece, "closed by the server"
                self._frames.feed(piece)

    async def status(self, stream: int) -> int:
        """The status of a call that ends; its headers are decoded on the way."""
        while True:
            ended, status = await self.ended()
            if ended == stream:
                return status

    async def ended(self) -> tuple[int, int]:
        """The next call that ends, and its status."""
        while True:
            each = await self.frame(frames.HEADERS)
            fields = {str(name): str(value) for name, value in self.decoder.decode(each.payload)}
            if each.flags & END:
                return each.stream, int(fields.get("grpc-status", "-1"))

    async def pong(self) -> None:
        """Everything that was sent is looked at."""
        self.send(frame(frames.PING, 0, 0, b"12345678"))
        await self.frame(frames.PING)

    async def goodbye(self) -> int:
        """Why the server says it."""
        return int.from_bytes((await self.frame(frames.GOAWAY)).payload[4:8])

    async def reset(self) -> tuple[int, int]:
        """Which stream, and why."""
        each = await self.frame(frames.RST_STREAM)
        return each.stream, int.from_bytes(each.payload)


@asynccontextmanager
async def client(grpc: Grpc, first: bytes = FIRST) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(HOST, grpc.port)
    one = Client(reader, writer)
    one.send(first)
    try:
        yield one
    finally:
        writer.transport.abort()


async def serves(grpc: Grpc) -> None:
    """Others are."""
    assert (await DtmStub(grpc.channel).new_gid(timeout=20)).gid == "gid-1"


# ---- the connection ends ----

BOMB = b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 200
GOODBYES: dict[str, tuple[bytes, Code]] = {
    "a frame that is too long": (b"\0\x40\1\0\0\0\0\0\1", Code.FRAME_SIZE_ERROR),
    "data of the connection": (data(0), Code.PROTOCOL_ERROR),
    "data of a call that nobody made": (data(1), Code.PROTOCOL_ERROR),
    "data of a server's call": (data(2), Code.PROTOCOL_ERROR),
    "a call without a number": (headers(0), Code.PROTOCOL_ERROR),
    "a call with a server's number": (headers(2), Code.PROTOCOL_ERROR),
    "more padding than bytes": (
        frame(frames.HEADERS, WHOLE | frames.PADDED, 1, b"\x0a" + b"x" * 9),
        Code.PROTOCOL_ERROR,
    ),
    "more padding than data": (
        headers(1, SUBMIT) + data(1, b"\x06" + MESSAGE, frames.PADDED | END),
        Code.PROTOCOL_ERROR,
    ),
    "padding without its length": (headers(1, SUBMIT) + data(1, b"", frames.PADDED), Code.PROTOCOL_ERROR),
    "half a priority": (
        frame(frames.HEADERS, WHOLE | frames.HAS_PRIORITY, 1, b"abcd"),
        Code.FRAME_SIZE_ERROR,
    ),
    "headers that go on and never began": (frame(frames.CONTINUATION, WHOLE, 1), Code.PROTOCOL_ERROR),
    "headers that go on behind their end": (
        headers(1, SUBMIT) + frame(frames.CONTINUATION, WHOLE, 1),
        Code.PROTOCOL_ERROR,
    ),
    "headers that go on in another call": (
        headers(1, flags=0) + frame(frames.CONTINUATION, WHOLE, 3),
        Code.PROTOCOL_ERROR,
    ),
    "a frame between headers": (
        headers(1, flags=0) + frame(frames.PING, 0, 0, bytes(8)),
        Code.PROTOCOL_ERROR,
    ),
    "an unknown frame between headers": (headers(1, flags=0) + frame(99, 0, 0), Code.PROTOCOL_ERROR),
    "headers in a hundred pieces": (
        headers(1, flags=0) + frame(frames.CONTINUATION, 0, 1) * 100,
        Code.ENHANCE_YOUR_CALM,
    ),
    "headers in long pieces": (
        headers(1, flags=0) + frame(frames.CONTINUATION, 0, 1, b"\x82" * 16_384) * 17,
        Code.ENHANCE_YOUR_CALM,
    ),
    "a few bytes that stand for much": (frame(frames.HEADERS, WHOLE, 1, BOMB), Code.ENHANCE_YOUR_CALM),
    "headers that cannot be read": (frame(frames.HEADERS, WHOLE, 1, b"\xbe"), Code.COMPRESSION_ERROR),
    "headers that are cut short": (frame(frames.HEADERS, WHOLE, 1, block()[:-3]), Code.COMPRESSION_ERROR),
    "a table larger than agreed on": (
        frame(frames.HEADERS, WHOLE, 1, b"\x3f\xff\xff\x03"),
        Code.COMPRESSION_ERROR,
    ),
    "settings of a call": (frame(frames.SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
    "half a setting": (frame(frames.SETTINGS, 0, 0, b"12345"), Code.FRAME_SIZE_ERROR),
    "settings acknowledged with settings": (frame(frames.SETTINGS, 1, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    "a window larger than any": (frames.settings({frames.STREAM_WINDOW: 2**31}), Code.FLOW_CONTROL_ERROR),
    "frames smaller than any": (frames.settings({frames.FRAME_BYTES: 16_383}), Code.PROTOCOL_ERROR),
    "frames larger than any": (frames.settings({frames.FRAME_BYTES: 2**24}), Code.PROTOCOL_ERROR),
    "two pushes": (frames.settings({frames.PUSHES: 2}), Code.PROTOCOL_ERROR),
    "a push": (frame(frames.PUSH_PROMISE, WHOLE, 1, bytes(4)), Code.PROTOCOL_ERROR),
    "a ping of a call": (frame(frames.PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "a short ping": (frame(frames.PING, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    "a reset of the connection": (frame(frames.RST_STREAM, 0, 0, bytes(4)), Code.PROTOCOL_ERROR),
    "a reset of a call that nobody made": (frame(frames.RST_STREAM, 0, 1, bytes(4)), Code.PROTOCOL_ERROR),
    "a short reset": (headers(1, SUBMIT) + frame(frames.RST_STREAM, 0, 1, bytes(3)), Code.FRAME_SIZE_ERROR),
    "a priority of nothing": (frame(frames.PRIORITY, 0, 0, bytes(5)), Code.PROTOCOL_ERROR),
    "a short priority": (frame(frames.PRIORITY, 0, 1, bytes(4)), Code.FRAME_SIZE_ERROR),
    "a goodbye of a call": (frame(frames.GOAWAY, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "half a goodbye": (frame(frames.GOAWAY, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    "a window that grows by nothing": (window(0, 0), Code.PROTOCOL_ERROR),
    "a window that grows beyond any": (window(0, 2**31 - 1), Code.FLOW_CONTROL_ERROR),
    "a window of a call that nobody made": (window(1, 1), Code.PROTOCOL_ERROR),
    "a short window": (frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
    "a window that settings make too large": (
        headers(1, SUBMIT) + window(1, 2**30) + frames.settings({frames.STREAM_WINDOW: 2**31 - 1}),
        Code.FLOW_CONTROL_ERROR,
    ),
}


@pytest.mark.parametrize("name", GOODBYES)
async def test_what_cannot_be_read_on_ends_the_connection_and_no_other(grpc: Grpc, name: str) -> None:
    sent, code = GOODBYES[name]
    grpc.service.hold = asyncio.Event()
    async with client(grpc) as one:
        one.send(sent)
        assert await one.goodbye() == code
    await serves(grpc)
    assert grpc.service.asked == []


@pytest.mark.parametrize(
    "preface", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03\x01\0"]
)
async def test_who_speaks_no_http2_is_told_so(grpc: Grpc, preface: bytes) -> None:
    async with client(grpc, preface) as one:
        assert await one.goodbye() == Code.PROTOCOL_ERROR
    await serves(grpc)


# ---- a call ends, the others go on ----

RESETS: dict[str, tuple[bytes, Code]] = {
    "data behind the end": (data(1), Code.STREAM_CLOSED),
    "headers behind the end": (headers(1), Code.STREAM_CLOSED),
    "a window that grows by nothing": (window(1, 0), Code.PROTOCOL_ERROR),
    "a window that grows beyond any": (window(1, 2**31 - 1), Code.FLOW_CONTROL_ERROR),
}


@pytest.mark.parametrize("name", RESETS)
async def test_what_is_wrong_with_a_call_ends_it_and_no_other(grpc: Grpc, name: str) -> None:
    sent, code = RESETS[name]
    grpc.service.hold = asyncio.Event()
    async with client(grpc) as one:
        one.send(headers(1, SUBMIT), data(1), headers(3, SUBMIT), data(3))
        await one.pong()
        one.send(sent)
        assert await one.reset() == (1, code)
        grpc.service.hold.set()
        assert await one.status(3) == 0
    assert [name for name, _ in grpc.service.asked] == ["submit", "submit"]


async def test_trailers_end_a_message_and_must(grpc: Grpc) -> None:
    async with client(grpc) as one:
        one.send(headers(1), data(1, MESSAGE, 0), headers(1, flags=WHOLE | END))
        assert await one.status(1) == 0
        one.send(headers(3, SUBMIT), headers(3))
        assert await one.reset() == (3, Code.PROTOCOL_ERROR)


async def test_numbers_do_not_come_again(grpc: Grpc) -> None:
    async with client(grpc) as one:
        one.send(headers(5), data(5))
        assert await one.status(5) == 0
        for number in (5, 3):
            one.send(headers(number))
            assert await one.reset() == (number, Code.STREAM_CLOSED)
        # What is on its way when a call ends is nobody's fault.
        one.send(data(5), window(5, 1), frame(frames.RST_STREAM, 0, 5, bytes(4)), headers(7), data(7))
        assert await one.status(7) == 0


async def test_more_calls_than_a_connection_may_have_are_refused_one_by_one(grpc: Grpc) -> None:
    grpc.service.hold = asyncio.Event()
    async with client(grpc) as one:
        for number in range(STREAMS_MAX + 1):
            one.send(headers(2 * number + 1, SUBMIT), data(2 * number + 1))
        assert await one.reset() == (2 * STREAMS_MAX + 1, Code.REFUSED_STREAM)
        grpc.service.hold.set()
        assert await one.status(1) == 0


MALFORMED: Final = {
    "no method": block(method=""),
    "no scheme": block(scheme=""),
    "no path": block(""),
    "two methods": block()[:1] + block(),
    "a pseudo-header of an answer": block("/p", (":status", "200")),
    "a pseudo-header behind others": block("") + b"\x04\x02/p",
    "a capital letter": block("/p", ("X-Team", "blue")),
    "a header without a name": block("/p", ("", "blue")),
    "a header of HTTP/1": block("/p", ("connection", "close")),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_call_is_answered_with_a_sentence_and_reset(grpc: Grpc, name: str) -> None:
    async with client(grpc) as one:
        one.send(frame(frames.HEADERS, WHOLE | END, 1, MALFORMED[name]))
        assert await one.status(1) == 3
        assert await one.reset() == (1, Code.PROTOCOL_ERROR)
        one.send(headers(3), data(3))
        assert await one.status(3) == 0


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (block(method="GET"), "405"),
        (block("/p", ("content-type", "application/json")), "415"),
        (block("/p", ("te", "gzip")), "400"),
    ],
)
async def test_what_is_no_grpc_is_answered_as_over_http(grpc: Grpc, head: bytes, status: str) -> None:
    async with client(grpc) as one:
        one.send(frame(frames.HEADERS, WHOLE | END, 1, head))
        answer = dict(one.decoder.decode((await one.frame(frames.HEADERS)).payload))
        assert answer[":status"] == status


# ---- odd, and right ----

ODD: dict[str, bytes] = {
    "padding": frame(frames.HEADERS, WHOLE | frames.PADDED, 1, b"\x03" + block() + b"abc")
    + data(1, b"\x04" + MESSAGE + b"abcd", frames.PADDED | END),
    "a priority": frame(frames.HEADERS, WHOLE | frames.HAS_PRIORITY, 1, bytes(5) + block()) + data(1),
    "a priority of a call to come": frame(frames.PRIORITY, 0, 7, bytes(5)) + headers(1) + data(1),
    "unknown frames and flags": frame(0xBE, 0xFF, 9, b"grease")
    + headers(1, flags=WHOLE | 0xD2 & ~0x28)
    + data(1),
    "unknown settings": frames.settings({0x0A0A: 7, 9: 1}) + headers(1) + data(1),
    "an end of its own": headers(1) + data(1, MESSAGE, 0) + data(1, b""),
    "a message in pieces": headers(1) + b"".join(data(1, b"\0", 0) for _ in MESSAGE) + data(1, b""),
    "headers in pieces": frame(frames.HEADERS, 0, 1, block()[:9])
    + frame(frames.CONTINUATION, 0, 1, block()[9:11])
    + frame(frames.CONTINUATION, WHOLE, 1, block()[11:])
    + data(1),
    "two messages where one is wanted": headers(1) + data(1, MESSAGE * 2),
    "a goodbye before": frame(frames.GOAWAY, 0, 0, bytes(8)) + headers(1) + data(1),
    "the reserved bit": headers(1)[:5] + b"\x80" + headers(1)[6:] + data(1),
}


@pytest.mark.parametrize("name", ODD)
async def test_what_is_odd_and_right_is_answered(grpc: Grpc, name: str) -> None:
    async with client(grpc) as one:
        one.send(ODD[name])
        assert await one.status(1) == 0


async def test_headers_alone_are_no_message(grpc: Grpc) -> None:
    async with client(grpc) as one:
        one.send(headers(1, SUBMIT, WHOLE | END))
        assert await one.status(1) == 13


async def test_who_may_keep_no_table_is_told_that_none_is_kept(grpc: Grpc) -> None:
    async with client(grpc, frames.PREFACE + frames.settings({frames.TABLE_BYTES: 0})) as one:
        one.decoder.max_allowed_table_size = 0
        for number in (1, 3):
            one.send(headers(number), data(number))
            assert await one.status(number) == 0


# ---- windows ----


def narrow(size: int) -> bytes:
    return frames.PREFACE + frames.settings({frames.STREAM_WINDOW: size})


async def received(one: Client, size: int) -> bytes:
    """So many bytes of messages."""
    found = b""
    while len(found) < size:
        found += (await one.frame(frames.DATA)).payload
    return found


ANSWER: Final = request(bytes(DtmGidReply(gid="gid-1")))


async def test_an_answer_waits_for_its_window_and_goes_as_far_as_it_opens(grpc: Grpc) -> None:
    async with client(grpc, narrow(0)) as one:
        one.send(headers(1), data(1))
        await one.frame(frames.HEADERS)
        found = b""
        for opened in (window(1, 1), frames.settings({frames.STREAM_WINDOW: 2}), window(1, 3)):
            one.send(opened)
            found += await received(one, 1)
        # Narrower than what is sent already: it is owed until more than that is given back.
        one.send(frames.settings({frames.STREAM_WINDOW: 0}), window(1, 1))
        await one.pong()
        one.send(window(1, 100))
        found += await received(one, len(ANSWER) - len(found))
        assert found == ANSWER
        assert await one.status(1) == 0


async def test_the_window_of_all_is_shared(grpc: Grpc) -> None:
    """When 65,535 bytes are on their way nobody's go on, whatever window a call has of its own."""
    asked = request(ServerReflectionRequest(file_containing_symbol="dtmgimp.Dtm").SerializeToString())
    async with client(grpc, narrow(2**31 - 1)) as one:
        one.send(headers(1, REFLECT), data(1, asked * 100))
        found = await received(one, frames.WINDOW_FIRST)
        assert len(found) == frames.WINDOW_FIRST
        one.send(headers(3), data(3))
        assert (await one.frame(frames.HEADERS)).stream == 3
        one.send(window(0, 2**20))
        ended = {each.stream for each in [await one.frame(frames.HEADERS) for _ in "12"] if each.flags & END}
        assert ended == {1, 3}


async def test_answers_that_nobody_takes_are_given_up(grpc: Grpc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_call, "UNREAD_SECONDS_MAX", 0.05)
    async with client(grpc, narrow(0)) as one:
        one.send(headers(1), data(1))
        assert await one.reset() == (1, Code.CANCEL)
        one.send(window(1, 100), frames.settings({frames.STREAM_WINDOW: 1000}), headers(3), data(3))
        assert await one.status(3) == 0


async def test_who_gives_up_an_answer_that_waits_leaves_its_room_to_others(grpc: Grpc) -> None:
    async with client(grpc, narrow(0)) as one:
        for number in (1, 3, 5):
            one.send(headers(number), data(number))
        await one.pong()
        one.send(window(1, 100), frame(frames.RST_STREAM, 0, 1, pack(">I", 8)), window(3, 100))
        assert await one.status(3) == 0
        one.send(window(5, 100))
        assert await one.status(5) == 0


async def test_messages_of_a_stream_that_nobody_reads_yet_fill_their_window_and_no_more(
    grpc: Grpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reflection answers one question after the other; its client takes none of the answers."""
    asked = request(ServerReflectionRequest(file_containing_symbol="dtmgimp.Dtm").SerializeToString())
    async with client(grpc, narrow(0)) as one:
        one.send(headers(1, REFLECT))
        piece = asked * (16_000 // len(asked))
        for _ in range(grpc_call.WINDOW_BYTES // len(piece) + 2):
            one.send(data(1, piece, 0))
            await one.writer.drain()
        assert await one.reset() == (1, Code.FLOW_CONTROL_ERROR)
    await serves(grpc)


async def test_a_stream_of_questions_goes_on_as_long_as_it_is_read(grpc: Grpc) -> None:
    asked = request(ServerReflectionRequest(list_services="x" * 60_000).SerializeToString())
    first = narrow(2**31 - 1) + window(0, 2**30)
    async with client(grpc, first) as one:
        one.send(headers(1, REFLECT))
        told = 0
        for _ in range(100):  # 6 MB
            for at in range(0, len(asked), 16_000):
                one.send(data(1, asked[at : at + 16_000], 0))
            each = await one.frame(frames.DATA, frames.WINDOW_UPDATE)
            while each.kind != frames.DATA:
                told += each.stream == 1
                each = await one.frame(frames.DATA, frames.WINDOW_UPDATE)
        assert told
        one.send(data(1, b""))
        assert await one.status(1) == 0


async def test_a_message_longer_than_the_first_window_is_taken(grpc: Grpc) -> None:
    message = request(bytes(DtmRequest(gid="g", bin_payloads=[b"x" * 60_000])))
    async with client(grpc) as one:
        one.send(headers(1, SUBMIT))
        for at in range(0, len(message), 1000):
            one.send(data(1, message[at : at + 1000], END if at + 1000 >= len(message) else 0))
        assert await one.status(1) == 0


# ---- what it costs ----


def huffman(size: int) -> bytes:
    """A header of so many x, each 1111001; the library's encoder takes half a minute for it."""
    value = int("1111001" * 8, 2).to_bytes(7) * (size // 8)
    length = encode_integer(len(value), 7)
    length[0] |= 0x80
    return b"\x10\x01x" + bytes(length) + value


async def test_headers_that_are_dear_to_read_are_paid_for(grpc: Grpc) -> None:
    """Huffman's code costs a hundred times as much as plain bytes."""
    coded = block() + huffman(METADATA_BYTES_MAX - 2000)
    pieces = [coded[at : at + 16_384] for at in range(0, len(coded), 16_384)]
    async with client(grpc) as one:
        for number in (1, 3):
            one.send(frame(frames.HEADERS, 0, number, pieces[0]))
            for piece in pieces[1:]:
                one.send(frame(frames.CONTINUATION, WHOLE if piece is pieces[-1] else 0, number, piece))
            one.send(data(number))
            if number == 1:
                assert await one.status(1) == 0
        assert await one.goodbye() == Code.ENHANCE_YOUR_CALM
    await serves(grpc)


# What a new connection may cost beside a thousand small messages, its first settings and a ping.
LEFT: Final = BALANCE_MAX - STREAMS_MAX - 50
WAITING: dict[str, Callable[[], bytes]] = {
    "windows of a call": lambda: window(1, 1) * LEFT,
    "windows of all": lambda: window(0, 1) * LEFT,
    "settings": lambda: frames.settings({frames.STREAM_WINDOW: 0}) * (LEFT // 10),
}


@pytest.mark.parametrize("kind", WAITING)
async def test_a_thousand_answers_that_wait_cost_little_while_they_wait(grpc: Grpc, kind: str) -> None:
    async with client(grpc, narrow(0)) as one:
        for number in range(1, 2 * STREAMS_MAX, 2):
            one.send(headers(number), data(number))
        for _ in range(STREAMS_MAX):
            await one.frame(frames.HEADERS)
        one.send(WAITING[kind]())
        await one.pong()
    await serves(grpc)
