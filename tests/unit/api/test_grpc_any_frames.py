"""Whatever frames come: the connection lives or says goodbye, and nothing is left behind."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.api.grpc_call import Call, Method
from coordinator.api.grpc_server import GrpcServer
from coordinator.api.room import Room
from coordinator.http2 import frames
from coordinator.http2.frames import Frames, frame
from coordinator.http2.literals import literal
from tests.unit.api.fakes import FullTransport

HEAD = {
    b":method": b"POST",
    b":scheme": b"http",
    b":path": b"/s/single",
    b"te": b"trailers",
    b"content-type": b"application/grpc",
}


def block(path: bytes, *more: tuple[bytes, bytes]) -> bytes:
    return b"".join([literal(*pair) for pair in ({**HEAD, b":path": path}.items())]) + b"".join(
        [literal(*pair) for pair in more]
    )


BLOCKS = [
    block(b"/s/single"),
    block(b"/s/stream"),
    block(b"/s/none"),
    block(b"/s/single", (b"grpc-timeout", b"1m")),
    block(b"/s/single", (b"x", b"y" * 9000)),
    b"\x20",
    b"\x40\x01x\x01y",
    b"\xbe",
]
MESSAGES = [
    bytes(5),
    b"\0\0\0\0\3abc",
    b"\0\0\0\x01\0" + bytes(256),
    b"\0\0\0",
    b"\1\0\0\0\0",
    b"\0\xff\0\0\0",
]
streams = st.sampled_from([0, 1, 1, 1, 2, 3, 3, 5, 7])
proper = st.one_of(
    st.builds(
        lambda flags, stream, payload: frame(frames.HEADERS, flags, stream, payload),
        st.sampled_from([4, 5, 4, 0]),
        streams,
        st.sampled_from(BLOCKS),
    ),
    st.builds(
        lambda flags, stream, payload: frame(frames.DATA, flags, stream, payload),
        st.sampled_from([0, 1]),
        streams,
        st.sampled_from(MESSAGES),
    ),
    st.builds(
        lambda stream, code: frame(frames.RST_STREAM, 0, stream, frames.number(code)),
        streams,
        st.integers(0, 13),
    ),
    st.builds(
        lambda stream, more: frame(frames.WINDOW_UPDATE, 0, stream, frames.number(more)),
        streams,
        st.sampled_from([1, 7, 70_000, 2**31 - 1]),
    ),
    st.builds(
        lambda name, value: frames.settings({name: value}),
        st.integers(0, 7),
        st.sampled_from([0, 1, 9, 20_000, 2**31 - 1]),
    ),
    st.just(frame(frames.PING, 0, 0, bytes(8))),
)
wild = st.builds(frame, st.integers(0, 11), st.integers(0, 255), streams, st.binary(max_size=40))
moves = st.one_of(proper, proper, proper, wild, st.sampled_from(["pause", "resume", "turn", "turn"]))


class Taking(FullTransport):
    """Closes as a socket does: once, and tells nobody before the loop's next turn."""

    def __init__(self) -> None:
        super().__init__()
        self.said = b""
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


async def single(call: Call) -> None:
    message = await call.receive()
    await call.protected(asyncio.sleep(0))
    await call.reply(message or b"nothing")


async def stream(call: Call) -> None:
    while (message := await call.receive()) is not None:
        await call.send(message)
    call.end()


@settings(max_examples=300, deadline=None)
@given(st.lists(moves, max_size=30), st.integers(1, 60) | st.just(100_000))
def test_whatever_comes_nothing_is_left_behind(given_moves: list[bytes | str], size: int) -> None:
    async def played() -> None:
        room = Room(10_000)
        server = GrpcServer({"/s/single": Method(single), "/s/stream": Method(stream, False)}, room, 1000)
        connection, transport = server.connection(), Taking()
        connection.connection_made(transport)
        connection.data_received(frames.PREFACE)
        together = b""
        for move in [*given_moves, "turn"]:
            if isinstance(move, bytes):
                together += move
                continue
            for at in range(0, len(together), size):
                connection.data_received(together[at : at + size])
            together = b""
            match move:
                case "pause":
                    connection.pause_writing()
                case "resume":
                    connection.resume_writing()
                case "turn":
                    await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        connection.connection_lost(None)
        await server.wait_closed()
        for _ in range(5):
            await asyncio.sleep(0)
        assert (room.taken, room._held, server._running, connection.streams.calls) == (0, {}, {}, {})
        assert not server.connections
        goodbyes = kinds(transport.said).count(frames.GOAWAY)
        assert goodbyes == transport.is_closed

    asyncio.run(played())


def kinds(said: bytes) -> list[int]:
    """Of the frames in what the server said, which are all whole."""
    found = Frames()
    found.feed(said)
    read = [each.kind for each in found]
    assert not found._data[found._at :]
    return read
