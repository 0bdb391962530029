"""What is refused before it is parsed: only what can be read in one way, in the words of the usual way."""

import asyncio
import re
from collections.abc import Callable, Sequence

import pytest

from coordinator.access.gate import Gate
from coordinator.access.permissions import Mode
from coordinator.api.early import Early
from tests.unit.access.calls import KnownTokens
from tests.unit.api.fakes import Crowded, http_api

BODY = b'{"gid": "g", "trans_type": "saga"}'


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
        request(b"content-length:%d" % len(BODY)),
        request(b"X-Any: Content-Length: 9", b"CONTENT-LENGTH:  4", body=b"\r\n\r\n"),
        request(b"Content-Length: 0", b"Authorization: Bearer a b", body=b""),
    ],
)
def test_a_whole_plain_request_is_refused(data: bytes) -> None:
    crowded, meter = Crowded(), Meter()
    early = Early(crowded, {b"/api/dtmsvr/submit": (True, meter)}, lambda error: error.message.encode())
    assert early.refusal(data, lambda: "1.2.3.4") == b"too much"
    assert (crowded.by, meter.failed) == ([("1.2.3.4", True)], 1)


@pytest.mark.parametrize(
    "data",
    [
        request()[:-1],
        request() + b"P",
        request() + request(),
        request()[:40],
        b"\r\n" + request(),
        request(line=b"POST /api/dtmsvr/abort HTTP/1.1"),
        request(line=b"POST /api/dtmsvr/submit?a=1 HTTP/1.1"),
        request(line=b"POST /api/dtmsvr/submit HTTP/1.0"),
        request(line=b"GET /api/dtmsvr/submit HTTP/1.1"),
        *(
            request(line, b"Content-Length: %d" % len(BODY))
            for line in (
                b"Transfer-Encoding: chunked",
                b"transfer-encoding:chunked",
                b"Transfer-Encoding\t: chunked",
                b"Transfer-Encoding : chunked",
                b"X: a\nTransfer-Encoding: chunked",
                b"X: a\rTransfer-Encoding: chunked",
                b"Connection: close",
                b"Expect: 100-continue",
                b"Upgrade: websocket",
                b"Host: b",
                b"no colon",
                b"X\0: a",
                b"X: \xff",
                b"X:",
                b"content-length: %d" % len(BODY),
                b"Content-Length: 9\t",
                b"Content-Length : 9",
                b"X: 1\r\n 2",
                b"\r\n".join([b"X: 1"] * 300),
            )
        ),
        request(b"Content-Length: +%d" % len(BODY)),
        request(b"Content-Length: %d, %d" % (len(BODY), len(BODY))),
        request(b"Content-Length:\t%d" % len(BODY)),
        request(b"X: 1"),
        request().replace(b"Host: a\r\n", b""),
        b"",
    ],
)
def test_anything_else_goes_the_usual_way(data: bytes) -> None:
    crowded = Crowded()
    early = Early(crowded, {b"/api/dtmsvr/submit": (True, Meter())}, lambda error: error.message.encode())
    assert early.refusal(data, lambda: "1.2.3.4") is None
    assert crowded.by == []


@pytest.mark.parametrize("crowded", [Crowded(is_full=False), Crowded(refuses=False)])
def test_who_finds_room_is_read(crowded: Crowded) -> None:
    meter = Meter()
    early = Early(crowded, {b"/api/dtmsvr/submit": (True, meter)}, lambda error: error.message.encode())
    assert early.refusal(request(), lambda: "1.2.3.4") is None
    assert (crowded.open, meter.failed) == (0, 0)
    assert crowded.coming == int(not crowded.is_crowded)


async def answers(port: int, pieces: Sequence[bytes], counts: Sequence[int]) -> list[bytes]:
    """What is answered on one connection, so many answers to each piece."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    for piece, count in zip(pieces, counts, strict=True):
        writer.write(piece)
        await writer.drain()
        for _ in range(count):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"Content-Length: ([0-9]+)", head)
            assert length is not None
            found.append(re.sub(rb"Date: [^\r]*", b"Date", head) + await reader.readexactly(int(length[1])))
        if not count:
            await asyncio.sleep(0.05)  # so that the next comes as a piece of its own
    writer.close()
    return found


@pytest.fixture
def unparsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was refused before it was parsed."""
    seen: list[bytes] = []
    refusal = Early.refusal

    def noted(self: Early, data: bytes, address: Callable[[], str]) -> bytes | None:
        answer = refusal(self, data, address)
        if answer is not None:
            seen.append(data)
        return answer

    monkeypatch.setattr(Early, "refusal", noted)
    return seen


async def test_on_one_connection_both_ways_answer_alike(unparsed: list[bytes]) -> None:
    crowded, whole = Crowded(), request()
    async with http_api(pressure=crowded) as http:
        port = int(http.url.rpartition(":")[2])
        pieces = [whole, whole, whole[:60], whole[60:], whole, whole, whole + whole, whole, whole]
        found = await answers(port, pieces, [1, 1, 0, 1, 1, 1, 2, 1, 1])
        assert set(found) == {found[0]}
        assert found[0].startswith(b"HTTP/1.1 503")
        assert found[0].count(b"Retry-After: 7\r\n") == found[0].count(b"Retry-After") == 1
        assert crowded.by == [("127.0.0.1", True)] * 9
        assert len(unparsed) == 3  # each the second whole one after the other
        crowded.is_crowded = crowded.refuses = False
        assert (await answers(port, [whole, whole], [1, 1]))[1].startswith(b"HTTP/1.1 200")
        assert crowded.open == 0


async def test_what_belongs_to_a_request_that_has_begun_is_read_as_part_of_it(unparsed: list[bytes]) -> None:
    crowded, whole = Crowded(), request()
    async with http_api(pressure=crowded) as http:
        port = int(http.url.rpartition(":")[2])
        pieces = [whole, whole, whole + b"GET /api/ping HTTP/1.1\r\nX: ", whole, whole, whole]
        found = await answers(port, pieces, [1] * 6)
    assert [b"pong" in answer for answer in found] == [False, False, False, True, False, False]
    assert len(unparsed) == 2


async def test_where_it_matters_who_asks_that_comes_first(unparsed: list[bytes]) -> None:
    async with http_api(pressure=Crowded(), gate=Gate(Mode.ALL, tokens=KnownTokens())) as http:
        port = int(http.url.rpartition(":")[2])
        found = await answers(port, [request()] * 3, [1, 1, 1])
    assert [answer[:12] for answer in found] == [b"HTTP/1.1 401"] * 3
    assert unparsed == []
