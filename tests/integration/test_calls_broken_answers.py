"""What counts of an HTTP answer, over real sockets, whatever else came with it or did not (PROTOCOL §2).

The rule: a status line that arrived whole counts. 409 and 425 say all by themselves; 200 is a success when
its body has come to its end, because FAILURE or ONGOING may stand in it.
"""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
import pytest_asyncio

from coordinator.calls.base import Answer
from coordinator.calls.router import BranchCaller
from coordinator.discovery.default import PlainResolver
from coordinator.model import Branch, Result, Status, Transaction

SUCCESS: Final = Result.SUCCESS
FAILURE: Final = Result.FAILURE
ONGOING: Final = Result.ONGOING
UNKNOWN: Final = Result.UNKNOWN

HANG: Final = b"<hang>"  # the end of an answer after which the connection stays open
MIB: Final = 1 << 20


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[BranchCaller]:
    made = BranchCaller(PlainResolver())
    yield made
    await made.close()


@asynccontextmanager
async def answering(wire: bytes) -> AsyncIterator[str]:
    """Give this answer to every request; then close, or hang."""
    ended = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(wire.removesuffix(HANG))
            await writer.drain()
            if wire.endswith(HANG):
                await ended.wait()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        ended.set()
        server.close()
        await server.wait_closed()


async def call(caller: BranchCaller, wire: bytes, protocol: str = "http") -> Answer:
    async with answering(wire) as url:
        transaction = Transaction("g1", "saga", Status.SUBMITTED, protocol)
        branch = Branch("g1", "01", "action", f"{url}/?method=x", b"")
        timeout = 0.3 if wire.endswith(HANG) else 10
        return await caller.call(transaction, branch, timeout=timeout)


def answer(status: int, headers: bytes = b"", body: bytes = b"", version: str = "1.1") -> bytes:
    return b"HTTP/%s %d x\r\nContent-Length: %d\r\n%s\r\n%s" % (
        *(version.encode(), status, len(body)),
        *(headers, body),
    )


# What every status is tried with: (name, what stands after the status line, whether a 200 is a success then).
RESTS: Final = [
    ("a cookie of 9 kB", answer(200, b"Set-Cookie: a=" + b"x" * 9000 + b"\r\n"), SUCCESS),
    ("a header of 1 MiB", answer(200, b"X: " + b"x" * MIB + b"\r\n"), SUCCESS),
    ("300 headers", answer(200, b"".join(b"X-%d: y\r\n" % n for n in range(300))), SUCCESS),
    ("10,000 headers", answer(200, b"".join(b"X-%d: y\r\n" % n for n in range(10_000))), SUCCESS),
    ("headers of 1 MiB in all", answer(200, b"X: %s\r\n" % (b"y" * 8000) * 130), SUCCESS),
    ("a reason of 20 kB", answer(200).replace(b"200 x", b"200 " + b"x" * 20_000), SUCCESS),
    ("no reason", answer(200).replace(b"200 x", b"200"), SUCCESS),
    ("headers of 20 MiB", answer(200, b"X: %s\r\n" % (b"y" * MIB) * 20), UNKNOWN),
    ("odd bytes in a value", answer(200, b"X: \xff\xfe\x01\r\n"), SUCCESS),
    ("a NUL in a value", answer(200, b"X: a\0b\r\n"), UNKNOWN),
    ("a space in a name", answer(200, b"X Y: z\r\n"), UNKNOWN),
    ("odd bytes in a name", answer(200, b"X\xc3\xa4: z\r\n"), UNKNOWN),
    ("a coding that nobody knows", answer(200, b"Content-Encoding: br\r\n", b"\x0b\x02\x80hi\x03"), SUCCESS),
    ("a coding with odd bytes", answer(200, b"Content-Encoding: \xff\r\n", b"hi"), SUCCESS),
    ("gzip", answer(200, b"Content-Encoding: gzip\r\n", gzip.compress(b"hi", mtime=0)), SUCCESS),
    ("gzip that is none", answer(200, b"Content-Encoding: gzip\r\n", b"hi"), UNKNOWN),
    (
        "gzip cut short",
        answer(200, b"Content-Encoding: gzip\r\n", gzip.compress(b"hi", mtime=0)[:-9]),
        UNKNOWN,
    ),
    ("a bomb", answer(200, b"Content-Encoding: gzip\r\n", gzip.compress(bytes(30 * MIB), mtime=0)), SUCCESS),
    (
        "a gzip bomb that is cut",
        answer(200, b"Content-Encoding: gzip\r\n", bytes(range(256)))[:-200],
        UNKNOWN,
    ),
    ("a body cut short", answer(200, b"", b"hello")[:-2], UNKNOWN),
    ("a body that never ends", answer(200, b"", b"hello")[:-2] + HANG, UNKNOWN),
    ("headers cut short", b"HTTP/1.1 200 x\r\nX: y", UNKNOWN),
    ("headers that never end", b"HTTP/1.1 200 x\r\nX: y" + HANG, UNKNOWN),
    ("nothing more", b"HTTP/1.1 200 x\r\n", UNKNOWN),
    ("a broken length", b"HTTP/1.1 200 x\r\nContent-Length: much\r\n\r\n", UNKNOWN),
    (
        "chunks with trailers",
        b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: %s\r\n\r\n" % (b"y" * 9000),
        SUCCESS,
    ),
    ("chunks cut short", b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", UNKNOWN),
    ("chunks that are none", b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", UNKNOWN),
    ("HTTP/1.0", b"HTTP/1.0 200 x\r\n\r\nhello", SUCCESS),
    ("HTTP/1.0 with a length", answer(200, b"", b"hello", "1.0"), SUCCESS),
    ("early hints before it", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(200), SUCCESS),
    ("three interim answers", b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + answer(200), SUCCESS),
    ("an unknown charset", answer(200, b"Content-Type: text/plain; charset=klingon\r\n", b"hi"), SUCCESS),
    ("a Content-Type that is none", answer(200, b"Content-Type: \xff;;=;\r\n", b"hi"), SUCCESS),
]


@pytest.mark.parametrize(
    ("protocol", "status", "result"),
    [
        ("http", 200, None),
        ("http", 409, FAILURE),
        ("http", 425, ONGOING),
        ("http", 500, UNKNOWN),
        ("json-rpc", 409, FAILURE),
        ("json-rpc", 425, ONGOING),
        ("json-rpc", 500, UNKNOWN),
    ],
)
@pytest.mark.parametrize(("rest", "of_200"), [row[1:] for row in RESTS], ids=[row[0] for row in RESTS])
async def test_a_status_that_arrived_whole_counts(
    caller: BranchCaller, rest: bytes, of_200: Result, protocol: str, status: int, result: Result | None
) -> None:
    got = await call(caller, rest.replace(b" 200", b" %d" % status, 1), protocol)
    assert got.result is (result or of_200), got
    assert got.text or got.result is not UNKNOWN


@pytest.mark.parametrize(
    ("wire", "result"),
    [
        (answer(409, b"", b"ONGOING, wait")[:-2], ONGOING),  # 425/ONGOING before 409/FAILURE
        (answer(425, b"", b"FAILURE")[:-2], ONGOING),
        (answer(200, b"", b'{"dtm_result":"FAILURE"}, more')[:-2], FAILURE),
        (answer(200, b"", b'{"dtm_result":"ONGOING"}, more')[:-2], ONGOING),
        (answer(500, b"", b"FAILURE: no money")[:-2] + HANG, FAILURE),
        (answer(200, b"", b'{"dtm_result":"FAILURE"}')[:-7], UNKNOWN),  # the word itself is cut
        (answer(200, b"Content-Encoding: gzip\r\n", gzip.compress(b"FAILURE" * 900, mtime=0)[:-3]), FAILURE),
    ],
)
async def test_words_in_what_came_of_a_body_count(caller: BranchCaller, wire: bytes, result: Result) -> None:
    assert (await call(caller, wire)).result is result


async def test_the_text_of_a_broken_answer_is_what_came_and_why_it_ended(caller: BranchCaller) -> None:
    got = await call(caller, answer(409, b"", b"no money left")[:-5])
    assert got.text.startswith("no money (http://127.0.0.1:")
    assert "the answer broke off" in got.text
    got = await call(caller, answer(409, b"", b"no money left")[:-5] + HANG)
    assert got.text.startswith("no money (http://127.0.0.1:")
    assert "gave no answer within 0.3 s" in got.text


@pytest.mark.parametrize("charset", ["GBK", "gb18030"])
async def test_the_text_is_read_in_its_charset(caller: BranchCaller, charset: str) -> None:
    content_type = f"Content-Type: text/plain; charset={charset}\r\n".encode()
    assert await call(caller, answer(409, content_type, "余额不足".encode(charset))) == Answer(
        FAILURE, "余额不足"
    )


async def test_headers_without_end_are_not_kept(caller: BranchCaller) -> None:
    """Interim answers count as headers do."""
    got = await call(caller, b"HTTP/1.1 100 Continue\r\n\r\n" * 400_000)
    assert got.result is UNKNOWN
    assert "more than 2097152 bytes" in got.text


@pytest.mark.parametrize(
    ("location", "target"),
    [
        (b"/there?x=1", "/there?x=1"),
        (b"/\xc3\xbc", "/%C3%BC"),  # UTF-8
        (b"/caf\xe9", "/caf%E9"),  # Latin-1
        (b"/a b", "/a%20b"),
    ],
)
async def test_a_redirect_to_what_is_not_ascii_is_followed(
    caller: BranchCaller, location: bytes, target: str
) -> None:
    """With as many headers as other answers may have."""
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.append(request.split()[1])
        many = b"X: %s\r\n" % (b"y" * 9000) * 20
        here = b"HTTP/1.1 307 x\r\nContent-Length: 0\r\nConnection: close\r\nLocation: %s\r\n%s\r\n"
        writer.write(here % (location, many) if len(seen) == 1 else answer(409, many, b"said there"))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        transaction = Transaction("g1", "saga", Status.SUBMITTED, "http")
        got = await caller.call(transaction, Branch("g1", "01", "action", url, b"{}"), timeout=5)
    assert seen[1] == target
    assert got == Answer(FAILURE, "said there")
