"""One connection to an HTTP branch, without a socket: answers in whatever pieces, and where they end."""

import asyncio
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from coordinator.calls.http_connection import HEAD_BYTES_MAX, Connection, Reply
from coordinator.calls.http_errors import Broken

BODY_BYTES_MAX: Final = 1000
REQUEST: Final = b"GET / HTTP/1.1\r\n\r\n"


class Wire(asyncio.Transport):
    """Stands for the socket. unsent: bytes of the request that are still to be written."""

    def __init__(self, protocol: Connection, unsent: int = 0) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_aborted = False
        self._protocol = protocol
        self._unsent = unsent

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self._unsent

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        if not self.is_aborted:
            self.is_aborted = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


class Branch:
    """The far side of one connection."""

    def __init__(self, unsent: int = 0) -> None:
        self.is_free = False
        self.losses = 0
        self.connection = Connection(
            asyncio.get_running_loop(),
            "http://branch:80",
            body_bytes_max=BODY_BYTES_MAX,
            when_free=self._freed,
            when_lost=self._lost,
        )
        self.wire = Wire(self.connection, unsent)
        self.connection.connection_made(self.wire)

    def _freed(self, _: Connection) -> None:
        self.is_free = True

    def _lost(self, _: Connection) -> None:
        self.losses += 1

    def says(self, *pieces: bytes) -> None:
        for piece in pieces:
            if not self.wire.is_aborted:
                self.connection.data_received(piece)

    def closes(self) -> None:
        if not self.wire.is_aborted:
            self.connection.eof_received()
            self.wire.abort()


async def answered(
    *pieces: bytes, ends: bool = True, is_followed: bool = False, request: bytes = REQUEST, unsent: int = 0
) -> tuple[Reply, Branch]:
    """Return what came, and the branch. Raises Broken. ends: the branch closes after the pieces."""
    branch = Branch(unsent)
    reply = Reply(is_followed=is_followed)
    done = branch.connection.exchange(request, reply)
    branch.says(*pieces)
    if ends and not done.done():
        branch.closes()
    try:
        await asyncio.wait_for(done, 30)
    finally:
        await asyncio.sleep(0)
        assert branch.losses == branch.wire.is_aborted, "whoever keeps connections is told, once"
        assert branch.is_free is not branch.wire.is_aborted, "free or closed, never both"
    return reply, branch


# name, answer, body, whether another request may follow
WHOLE: Final = [
    ("length", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
    ("empty", b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n", b"", True),
    ("no content", b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    ("bare line feeds", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", b"hello", True),
    ("no reason", b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
    (
        "chunks",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX: y\r\n\r\n",
        b"hello",
        True,
    ),
    ("interim", b"HTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", True),
    ("close", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    ("1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    ("kept 1.0", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", b"ok", True),
    (
        "another protocol",
        b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"",
        False,
    ),
]
_names = [row[0] for row in WHOLE]
_rows = [row[1:] for row in WHOLE]


@pytest.mark.parametrize(("wire", "body", "is_kept"), _rows, ids=_names)
async def test_an_answer_is_the_same_in_whatever_pieces_it_comes(
    wire: bytes, body: bytes, is_kept: bool
) -> None:
    in_two = [(wire[:at], wire[at:]) for at in range(1, len(wire))]
    by_the_byte = [wire[at : at + 1] for at in range(len(wire))]
    for pieces in [(wire,), *in_two, by_the_byte]:
        reply, branch = await answered(*pieces, ends=False)
        assert bytes(reply.body) == body
        assert reply.status == reply.known_status()
        assert branch.is_free is is_kept


@pytest.mark.parametrize(("wire", "body", "is_kept"), _rows, ids=_names)
async def test_an_answer_that_is_cut_anywhere_is_no_answer(wire: bytes, body: bytes, is_kept: bool) -> None:
    for at in range(len(wire)):
        with pytest.raises(Broken) as broken:
            await answered(wire[:at])
        assert broken.value.what == ("the answer broke off" if at else "no answer")


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n"
    for body in (b"", b"h", b"hello"):
        reply, branch = await answered(head, body or b"")
        assert bytes(reply.body) == body
        assert not branch.is_free
    for coding in (b"chunked", b"gzip, chunked", b"gzip\r\nTransfer-Encoding: chunked"):
        with pytest.raises(Broken):
            await answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n" % coding)


@pytest.mark.parametrize(
    "more", [b"H", b"HTTP/1.1 409 Conflict\r\nContent-Length: 7\r\n\r\nFAILURE", b"nonsense", b"\0"]
)
@pytest.mark.parametrize("first", [row[1] for row in WHOLE if row[0] != "no content"])
async def test_what_follows_an_answer_changes_nothing_and_ends_the_connection(
    first: bytes, more: bytes
) -> None:
    alone, _ = await answered(first)
    reply, branch = await answered(first + more)
    assert (reply.status, bytes(reply.body)) == (alone.status, bytes(alone.body))
    assert reply.headers == alone.headers
    assert not branch.is_free
    assert not branch.connection.is_usable


async def test_one_exchange_follows_another() -> None:
    branch = Branch()
    for body in (b"one", b"two", b"three"):
        reply = Reply(is_followed=False)
        done = branch.connection.exchange(REQUEST + body, reply)
        branch.says(b"HTTP/1.1 200 OK\r\nX: %s\r\nContent-Length: %d\r\n\r\n%s" % (body, len(body), body))
        await done
        assert (reply.header(b"x"), bytes(reply.body)) == (body.decode(), body)
    assert branch.wire.written == [REQUEST + body for body in (b"one", b"two", b"three")]


async def test_an_answer_that_nobody_waits_for_any_more_ends_the_connection() -> None:
    """Else it would be given to the next call."""
    branch = Branch()
    reply = Reply(is_followed=False)
    done = branch.connection.exchange(REQUEST, reply)
    branch.says(b"HTTP/1.1 200 OK\r\nContent-Le")
    branch.connection.give_up(reply)
    assert not done.done()
    assert not branch.connection.is_usable
    with pytest.raises(Broken):
        await branch.connection.exchange(REQUEST, reply)
    await asyncio.sleep(0)
    assert branch.losses == 1


async def test_giving_up_what_has_come_leaves_the_next_exchange_alone() -> None:
    branch = Branch()
    first, second = Reply(is_followed=False), Reply(is_followed=False)
    done = branch.connection.exchange(REQUEST, first)
    branch.says(WHOLE[0][1])
    await done
    done = branch.connection.exchange(REQUEST, second)
    branch.connection.give_up(first)
    branch.says(WHOLE[1][1])
    await done
    assert second.status == 409


async def test_a_branch_that_speaks_before_it_is_asked_is_not_heard() -> None:
    branch = Branch()
    branch.says(b"SSH-2.0-OpenSSH\r\n")
    with pytest.raises(Broken, match="not HTTP"):
        await branch.connection.exchange(REQUEST, Reply(is_followed=False))
    await asyncio.sleep(0)


async def test_an_answer_before_the_request_is_written_counts_and_ends_the_connection() -> None:
    for request, is_kept in ((bytes(100_000), False), (REQUEST, True)):
        reply, branch = await answered(WHOLE[1][1], request=request, unsent=5)
        assert reply.status == 409
        assert branch.is_free is is_kept


@pytest.mark.parametrize(
    "head", [b"Content-Length: 9000\r\n", b"X: y\r\n", b"Content-Length: 9000000000\r\n"]
)
async def test_of_a_long_body_the_beginning_is_the_answer(head: bytes) -> None:
    reply, branch = await answered(b"HTTP/1.1 409 x\r\n%s\r\n" % head, *([b"x" * 300] * 10), ends=False)
    assert BODY_BYTES_MAX < len(reply.body) <= BODY_BYTES_MAX + 300
    assert not branch.is_free


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_the_body_of_a_redirect_that_is_followed_is_not_waited_for(status: int) -> None:
    head = b"HTTP/1.1 %d x\r\nLocation: /there\r\nContent-Length: 9\r\n\r\n" % status
    reply, branch = await answered(head, ends=False, is_followed=True)
    assert reply.header(b"location") == "/there"
    assert not branch.is_free, "its body is still to come"
    reply, branch = await answered(head + b"123456789", ends=False, is_followed=True)
    assert branch.is_free
    for other in (
        head.replace(b"Location", b"X"),
        b"HTTP/1.1 200 x\r\nLocation: /\r\nContent-Length: 9\r\n\r\n",
    ):
        with pytest.raises(Broken):
            await answered(other, is_followed=True)
    with pytest.raises(Broken):
        await answered(head, is_followed=False)


@pytest.mark.parametrize(
    ("begin", "on"),
    [
        (b"HTTP/1.1 200 x\r\nX: ", b"y" * 65_536),
        (b"HTTP/1.1 200 x\r\n", b"X: y\r\n" * 10_000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
        (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: ", b"y" * 65_536),
        (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n", b"X: y\r\n" * 10_000),
        (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2;x=", b"y" * 65_536),
    ],
    ids=["a header", "headers", "interim answers", "a trailer", "trailers", "an extension of a chunk"],
)
async def test_what_never_ends_is_broken_off(begin: bytes, on: bytes) -> None:
    times = HEAD_BYTES_MAX // len(on) + 3
    with pytest.raises(Broken, match=str(HEAD_BYTES_MAX)):
        await answered(begin + on, *([on] * times), ends=False)


_pieces = some.lists(
    some.binary(max_size=20)
    | some.sampled_from(
        [
            *(b"HTTP/1.1 ", b"200 OK\r\n", b"409 x\r\n", b"100 x\r\n\r\n", b"Content-Length: 2\r\n", b"\r\n"),
            *(
                b"Transfer-Encoding: chunked\r\n",
                b"2\r\nok\r\n",
                b"0\r\n\r\n",
                b"ok",
                b"\n",
                b"Upgrade: x\r\n",
            ),
            *(b"Connection: close\r\n", b"Connection: upgrade\r\n", b"101 x\r\n", b"HTTP/1.1 200 OK\r\n"),
        ]
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(_pieces)
def test_whatever_comes_the_exchange_ends_and_the_connection_is_free_or_closed(pieces: list[bytes]) -> None:
    async def once() -> None:
        try:
            reply, _ = await answered(*(piece for piece in pieces if piece))
        except Broken:
            return
        assert reply.status is not None

    asyncio.run(once())
