"""What a client may cost over HTTP: connections, bytes, unread answers, headers; and what is no HTTP."""

import asyncio
import json
import select
import socket
from datetime import UTC, datetime

import pytest
from aiohttp.test_utils import make_mocked_request
from aiohttp.web import BaseRequest, Response

from coordinator.access.permissions import ANYBODY, Principal
from coordinator.api import http as http_module
from coordinator.api import unread
from coordinator.api.connections import CONNECTIONS_MAX, connections_max
from coordinator.api.http_answer import Answer
from coordinator.api.http_server import HEADERS_BYTES_MAX
from coordinator.api.room import Room
from coordinator.api.turns import QUERIES_AT_ONCE, WAITING_MAX, Turns
from coordinator.api.unread import Unread
from coordinator.errors import Busy
from coordinator.model import Status, Transaction
from tests.unit.api.fakes import BODY_BYTES_MAX, HOST, Http, http_api

PING = b"GET /api/ping HTTP/1.1\r\nHost: a\r\n\r\n"
SUBMIT = b"POST /api/dtmsvr/submit HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


class Client:
    """A connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def of(cls, http: Http) -> "Client":
        return cls(*await asyncio.open_connection(HOST, http.port))

    async def ask(self, *pieces: bytes) -> tuple[bytes, bytes]:
        """Returns head and body of the answer."""
        self.writer.writelines(pieces)
        async with asyncio.timeout(30):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.rpartition(b"Content-Length: ")[2].split(b"\r\n")[0])
            return head, await self.reader.readexactly(length)

    async def ended(self) -> None:
        """Returns when the server has closed it."""
        async with asyncio.timeout(30):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass
        self.writer.close()


# ---- connections ----


async def test_with_all_connections_taken_the_one_that_waits_longest_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_module, "connections_max", lambda: 3)
    async with http_api() as http:
        first, second, third = [await Client.of(http) for _ in range(3)]
        for one in (second, third, first):  # which therefore waits for its next request the shortest
            await one.ask(PING)
            await asyncio.sleep(0.01)  # the loop's clock is no finer than a millisecond
        fourth = await Client.of(http)
        assert (await fourth.ask(PING))[0].startswith(b"HTTP/1.1 200")
        await second.ended()
        for one in (first, third, fourth):
            assert (await one.ask(PING))[0].startswith(b"HTTP/1.1 200")
            one.writer.close()


async def test_connections_that_say_nothing_lock_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "connections_max", lambda: 3)
    async with http_api() as http:
        silent = [await Client.of(http) for _ in range(20)]
        asking = await Client.of(http)
        for _ in range(3):
            assert (await asking.ask(PING))[0].startswith(b"HTTP/1.1 200")
        for one in (*silent, asking):
            one.writer.close()


async def test_with_all_connections_at_work_the_next_one_is_told_to_come_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_module, "connections_max", lambda: 2)
    async with http_api() as http:
        http.service.hold = asyncio.Event()
        working = [await Client.of(http) for _ in range(2)]
        asked = [asyncio.create_task(one.ask(SUBMIT % 2, b"{}")) for one in working]
        while len(http.service.asked) < 2:
            http.service.was_asked.clear()
            await http.service.was_asked.wait()
        third = await Client.of(http)
        head, body = await third.ask()
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json")
        assert b"\r\nRetry-After: 1\r\n" in head
        assert json.loads(body) == {"message": "the coordinator has all the connections that it takes"}
        await third.ended()
        http.service.hold.set()
        for head, _ in await asyncio.gather(*asked):
            assert head.startswith(b"HTTP/1.1 200")
        for one in working:
            one.writer.close()


def test_the_bound_leaves_descriptors_for_the_rest() -> None:
    assert 0 < connections_max() <= CONNECTIONS_MAX


# ---- bytes of requests ----


async def test_requests_that_trickle_in_do_not_fill_the_memory_nor_shut_out_others() -> None:
    """PROTOCOL §2: full is 503, before the body is read."""
    size = BODY_BYTES_MAX - 1
    async with http_api(room=Room(4 * BODY_BYTES_MAX)) as http:
        held = [await Client.of(http) for _ in range(6)]
        for one in held:
            one.writer.write(SUBMIT % BODY_BYTES_MAX + b" " * size)
        heads = []
        asking = [asyncio.create_task(one.ask()) for one in held]
        async with asyncio.timeout(30):
            for done in asyncio.as_completed(asking):
                heads.append(await done)
                if len(heads) == 3:  # three fit, and wait for their last byte
                    break
        for head, body in heads:
            assert head.startswith(b"HTTP/1.1 503")
            assert b"\r\nRetry-After: 1\r\n" in head
            assert "has no room for this one" in json.loads(body)["message"]
        other = await Client.of(http)
        assert (await other.ask(SUBMIT % 2, b"{}"))[0].startswith(b"HTTP/1.1 200")
        late = await Client.of(http)
        assert (await late.ask(SUBMIT % BODY_BYTES_MAX + b" " * 4))[0].startswith(b"HTTP/1.1 503")
        for one in (*held, other, late):
            one.writer.transport.abort()
        await asyncio.gather(*asking, return_exceptions=True)
        again = await Client.of(http)  # what they held is free again
        async with asyncio.timeout(30):
            while (await again.ask(SUBMIT % BODY_BYTES_MAX, b" " * BODY_BYTES_MAX))[0][9:12] != b"500":
                pass
        again.writer.close()


def test_a_room_counts_what_is_held_until_it_is_released() -> None:
    room, first, second = Room(100), object(), object()
    room.take(first, 60, arriving=True)
    room.take(first, 15, arriving=True)
    with pytest.raises(Busy, match="75 bytes of requests"):
        room.take(first, 1, arriving=True)
    room.take(second, 25)
    with pytest.raises(Busy):
        room.take(second, 1)
    room.release(first)
    room.release(first)
    assert room.taken == 25
    room.release(second)
    assert room.taken == 0


# ---- answers that nobody reads ----


def many(count: int) -> list[Transaction]:
    now = datetime.now(UTC)
    return [
        Transaction(f"g{number}", "saga", Status.SUCCEED, rollback_reason="x" * 10_000, create_time=now)
        for number in range(count)
    ]


async def test_who_does_not_read_his_answers_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 readers of 11 MB each who read nothing were 500 MB for minutes."""
    monkeypatch.setattr(unread, "SECONDS_MAX", 0.3)
    monkeypatch.setattr(unread, "_SWEEP_SECONDS", 0.05)
    async with http_api() as http:
        http.service.transactions = many(1000)
        for end in (b"", b"Connection: close\r\n"):
            with socket.create_connection((HOST, http.port)) as plain:
                plain.setblocking(False)
                plain.sendall(b"GET /api/dtmsvr/all?limit=1000 HTTP/1.1\r\nHost: a\r\n" + end + b"\r\n")
                await _broken_off(plain)
        status, _, text = await http.call("GET", "/api/dtmsvr/all?limit=1000")
        assert (status, len(json.loads(text)["transactions"])) == (200, 1000)


async def _broken_off(one: socket.socket) -> None:
    """Returns when the other end has reset the connection, without reading from it."""
    gone = select.poll()
    gone.register(one, select.POLLHUP)
    async with asyncio.timeout(30):
        while not gone.poll(0):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


async def test_who_reads_slowly_gets_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "SECONDS_MAX", 0.5)
    monkeypatch.setattr(unread, "_SWEEP_SECONDS", 0.05)
    async with http_api() as http:
        http.service.transactions = many(1000)
        client = Client(*await asyncio.open_connection(HOST, http.port, limit=1024))
        client.writer.write(b"GET /api/dtmsvr/all?limit=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await client.reader.readuntil(b"\r\n\r\n")
        left = int(head.rpartition(b"Content-Length: ")[2].split(b"\r\n")[0])
        assert left > 10_000_000
        while left:
            left -= len(await client.reader.read(500_000))
            await asyncio.sleep(0.02)
        client.writer.close()


class Standing(asyncio.Transport):
    """A transport with so many bytes in its buffer."""

    def __init__(self, left: int, *, closing: bool = False) -> None:
        super().__init__()
        self.left = left
        self.closing = closing
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.left

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize(
    ("paused", "closing", "sizes", "aborted"),
    [
        (True, False, (100_000, 100_000, 100_000), True),  # at 0, 9 and 10 seconds
        (False, True, (10, 10, 10), True),  # closed, and the rest is not taken
        (True, False, (100_000, 99_999, 99_998), True),  # a byte now and then is no reading
        (True, False, (100_000, 80_000, 80_000), False),
        (True, False, (0, 100_000, 100_000), False),
        (False, False, (100_000, 100_000, 100_000), False),  # not paused: more may have been written
    ],
)
def test_no_progress_for_ten_seconds_is_the_end(
    paused: bool, closing: bool, sizes: tuple[int, ...], aborted: bool
) -> None:
    transport = Standing(0, closing=closing)
    watch = Unread(lambda: [(transport, paused)])
    for now, left in zip((0.0, 9.0, 10.0), sizes, strict=True):
        transport.left = left
        watch.sweep(now)
    assert transport.aborted == aborted


# ---- headers ----


@pytest.mark.parametrize(
    ("count", "size"), [(1, 9_000), (1, 100_000), (1, 1_000_000), (100, 10_000), (16, 60_000)]
)
async def test_big_headers_are_taken(http: Http, count: int, size: int) -> None:
    client = await Client.of(http)
    lines = [b"X-%d: %b\r\n" % (number, b"x" * size) for number in range(count)]
    for _ in range(2):
        head, _ = await client.ask(PING[:-2], *lines, b"\r\n")
        assert head.startswith(b"HTTP/1.1 200")
    head, _ = await client.ask(SUBMIT[:-2] % BODY_BYTES_MAX, *lines, b"\r\n", b"{}".ljust(BODY_BYTES_MAX))
    assert head.startswith(b"HTTP/1.1 200")
    client.writer.close()


@pytest.mark.parametrize(("count", "size"), [(1, HEADERS_BYTES_MAX + 100_000), (24, 60_000)])
async def test_headers_of_more_than_a_mebibyte_are_an_error_in_the_protocols_form(
    http: Http, count: int, size: int
) -> None:
    client = await Client.of(http)
    lines = [b"X-%d: %b\r\n" % (number, b"x" * size) for number in range(count)]
    head, body = await client.ask(PING[:-2], *lines)  # never ended
    assert head.startswith(b"HTTP/1.0 500")
    assert "all headers together 1048576" in json.loads(body)["message"]
    await client.ended()
    assert (await http.call("GET", "/api/ping"))[0] == 200


# ---- what is no HTTP ----

NO_HTTP = [
    b"NOT-A-METHOD /api/ping HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /api/ping\r\n\r\n",
    b"GET /api/ping HTTP/0.9\r\nHost: a\r\n\r\n",
    b"GET /api/ping HTTP/1.2\r\nHost: a\r\n\r\n",
    b"GET /api/ping HTTP/2.0\r\nHost: a\r\n\r\n",
    b"GET /api/ping HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET /api/ping FTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/ping HTTP/1.1\r\n\r\n",  # no Host
    b"GET /api/ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /api/ping HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
    b"GET /api/ping HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    b"GET /api/ping HTTP/1.1\r\nHost: a\r\nX y: a\r\n\r\n",
    b"GET /api/ping HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 200 + b"\r\n",
    b"GET /api/ping?\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/\x1b[31mping HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /api/ping HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/ping HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST /api/ping HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /api/ping HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: magic\r\n\r\n",
]


@pytest.mark.parametrize("sent", NO_HTTP, ids=range(len(NO_HTTP)))
async def test_what_is_no_http_has_an_answer_in_the_protocols_form(http: Http, sent: bytes) -> None:
    """PROTOCOL §2; and nobody learns which version of which library runs here."""
    client = await Client.of(http)
    head, body = await client.ask(sent)
    assert head.split(b" ", 2)[1] == b"400", head
    assert b"\r\nContent-Type: application/json" in head
    assert b"\r\nServer: dtm-coordinator\r\n" in head
    assert json.loads(body)["message"].isprintable()
    for name in (b"aiohttp", b"python"):
        assert name not in (head + body).lower()
    await client.ended()
    assert (await http.call("GET", "/api/ping"))[0] == 200


# ---- what takes long ----

LONG = ["all?limit=0", "scanKV?cat=topics", "query?gid=a"]


@pytest.mark.parametrize("call", LONG)
async def test_work_for_clients_that_have_gone_is_not_done(http: Http, call: str) -> None:
    """Someone asks and leaves, over and over: that must not keep the server busy."""
    http.service.hold = asyncio.Event()
    for _ in range(50):
        leaving = await Client.of(http)
        leaving.writer.write(b"GET /api/dtmsvr/%b HTTP/1.1\r\nHost: a\r\n\r\n" % call.encode())
        leaving.writer.close()
        await leaving.writer.wait_closed()
    staying = await Client.of(http)
    answer = asyncio.create_task(
        staying.ask(b"GET /api/dtmsvr/%b HTTP/1.1\r\nHost: a\r\n\r\n" % call.encode())
    )
    other = await Client.of(http)
    for _ in range(3):  # by then every one that left is known to have left
        assert (await other.ask(PING))[0].startswith(b"HTTP/1.1 200")
    http.service.hold.set()
    assert (await answer)[0].startswith(b"HTTP/1.1 200")
    assert len(http.service.asked) <= QUERIES_AT_ONCE + 1
    for one in (staying, other):
        one.writer.close()
        await one.writer.wait_closed()


@pytest.mark.parametrize("call", LONG)
async def test_a_queue_for_what_takes_long_has_an_end(http: Http, call: str) -> None:
    http.service.hold = asyncio.Event()
    clients = [await Client.of(http) for _ in range(WAITING_MAX + QUERIES_AT_ONCE + 1)]
    asked = [
        asyncio.create_task(one.ask(b"GET /api/dtmsvr/%b HTTP/1.1\r\nHost: a\r\n\r\n" % call.encode()))
        for one in clients
    ]
    async with asyncio.timeout(30):
        refused, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    for one in refused:
        head, body = one.result()
        assert head.startswith(b"HTTP/1.1 503") and b"\r\nRetry-After: 1\r\n" in head
        assert json.loads(body) == {"message": "too many ask for this at once"}
    http.service.hold.set()
    heads = [head for head, _ in await asyncio.gather(*asked)]
    assert sum(head.startswith(b"HTTP/1.1 200") for head in heads) >= WAITING_MAX
    for one in clients:
        one.writer.close()
        await one.writer.wait_closed()


async def test_nobody_waits_for_a_turn_for_ever() -> None:
    held = asyncio.Event()

    async def answer(_: BaseRequest, who: Principal) -> Answer:
        await held.wait()
        return Response()

    answer_in_turn = Turns(1, seconds_max=0.01).of(answer)
    request = make_mocked_request("GET", "/")
    first = asyncio.create_task(answer_in_turn(request, ANYBODY))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await answer_in_turn(request, ANYBODY)
    held.set()
    assert (await first).status == 200
