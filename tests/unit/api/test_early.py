"""What is refused before it is parsed: only what can be read in one way, in the words of the usual way."""

import asyncio
import re
from collections.abc import Sequence

import pytest

from coordinator.api.early import Early
from coordinator.errors import Busy
from tests.unit.api.fakes import http_api

REFUSED = b"503"
BODY = b'{"gid": "g", "trans_type": "saga"}'


class Crowded:
    """As full as is said; refuses while it is, and counts."""

    def __init__(self, *, is_full: bool = True, refuses: bool = True) -> None:
        self.is_full, self.refuses = is_full, refuses
        self.asked: list[str] = []
        self.open = 0

    def ask(self, address: str, is_driven: bool) -> None:
        self.asked.append(address)
        if self.refuses:
            raise Busy("too much", seconds=7)
        self.open += 1

    def answered(self) -> None:
        self.open -= 1


class Meter:
    """Counts failures."""

    def __init__(self) -> None:
        self.failed = 0

    def done(self, ok: bool, seconds: float) -> None:
        self.failed += not ok


def request(*lines: bytes, line: bytes = b"POST /api/dtmsvr/submit HTTP/1.1", body: bytes = BODY) -> bytes:
    head = (line, b"Host: a", *(lines or (b"Content-Length: %d" % len(body),)))
    return b"\r\n".join((*head, b"", body))


@pytest.mark.parametrize(
    "data",
    [
        request(),
        request(b"content-length:%d  " % len(BODY)),
        request(b"X-Any: Content-Length", b"CONTENT-LENGTH: 4", body=b"\r\n\r\n"),
        request(b"Content-Length: 0", body=b""),
    ],
)
def test_a_whole_plain_request_is_refused(data: bytes) -> None:
    crowded, meter = Crowded(), Meter()
    early = Early(crowded, {b"/api/dtmsvr/submit": (True, meter)}, lambda error: error.message.encode())
    assert early.refusal(data, lambda: "1.2.3.4") == b"too much"
    assert (crowded.asked, meter.failed) == (["1.2.3.4"], 1)


@pytest.mark.parametrize(
    "data",
    [
        request()[:-1],
        request() + b"P",
        request() + request(),
        request()[:40],
        request(line=b"POST /api/dtmsvr/abort HTTP/1.1"),
        request(line=b"POST /api/dtmsvr/submit?a=1 HTTP/1.1"),
        request(line=b"POST /api/dtmsvr/submit HTTP/1.0"),
        request(line=b"GET /api/dtmsvr/submit HTTP/1.1"),
        request(b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(BODY)),
        request(b"Connection: close", b"Content-Length: %d" % len(BODY)),
        request(b"Expect: 100-continue", b"Content-Length: %d" % len(BODY)),
        request(b"Content-Length: %d" % len(BODY), b"content-length: %d" % len(BODY)),
        request(b"Content-Length: +%d" % len(BODY)),
        request(b"Host: b"),
        request(b"Content-Length: %d" % len(BODY), b" 0"),
        b"",
    ],
)
def test_anything_else_goes_the_usual_way(data: bytes) -> None:
    crowded = Crowded()
    early = Early(crowded, {b"/api/dtmsvr/submit": (True, Meter())}, lambda error: error.message.encode())
    assert early.refusal(data, lambda: "1.2.3.4") is None
    assert crowded.asked == []


@pytest.mark.parametrize("crowded", [Crowded(is_full=False), Crowded(refuses=False)])
def test_who_finds_room_is_read(crowded: Crowded) -> None:
    meter = Meter()
    early = Early(crowded, {b"/api/dtmsvr/submit": (True, meter)}, lambda error: error.message.encode())
    assert early.refusal(request(), lambda: "1.2.3.4") is None
    assert (crowded.open, meter.failed) == (0, 0)


async def answers(port: int, pieces: Sequence[bytes], count: int) -> list[bytes]:
    """So many answers on one connection to what is sent piece by piece."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.02)  # so that it comes as a piece
    for _ in range(count):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: ([0-9]+)", head)
        assert length is not None
        found.append(re.sub(rb"Date: [^\r]*", b"Date", head) + await reader.readexactly(int(length[1])))
    writer.close()
    return found


async def test_on_one_connection_both_ways_answer_alike() -> None:
    crowded = Crowded()
    async with http_api(pressure=crowded) as http:
        port = int(http.url.rpartition(":")[2])
        whole = request()
        found = await answers(port, [whole, whole, whole[:60], whole[60:], whole + whole, whole], 6)
        assert set(found) == {found[0]}
        assert found[0].startswith(b"HTTP/1.1 503")
        assert found[0].count(b"Retry-After: 7\r\n") == found[0].count(b"Retry-After") == 1
        assert crowded.asked == ["127.0.0.1"] * 6
        crowded.is_full = crowded.refuses = False
        assert (await answers(port, [whole, whole], 2))[1].startswith(b"HTTP/1.1 200")
        assert crowded.open == 0
