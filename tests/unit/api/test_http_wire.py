"""HTTP byte by byte: bodies that are too long, slow or broken, and connections of unusual kinds."""

import asyncio
import gzip
import json
import socket

import pytest

from coordinator.api import http as http_module
from coordinator.api import http_request
from coordinator.api.http_server import LINE_BYTES_MAX
from coordinator.errors import Invalid
from tests.unit.api.fakes import BODY_BYTES_MAX, HOST, Http, http_api, read_answer

POST = "POST /api/dtmsvr/submit HTTP/1.1\r\nHost: a\r\n"
TOO_LONG = b"the body must have at most 65536 bytes"


async def exchange(http: Http, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send the pieces, then read until the server has said all it has to say."""
    reader, writer = await asyncio.open_connection(HOST, http.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        return await asyncio.wait_for(read_answer(reader), 30)
    finally:
        writer.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def test_a_body_in_pieces_is_put_together(http: Http) -> None:
    head = f"{POST}Content-Length: 12\r\n\r\n".encode()
    answer = await exchange(http, head, b'{"gid"', b':"g1"}', pause=0.02)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert http.service.asked[0][1].gid == "g1"


async def test_a_chunked_body_is_put_together(http: Http) -> None:
    head = f"{POST}Transfer-Encoding: chunked\r\n\r\n".encode()
    for pause in (0.0, 0.02):
        answer = await exchange(http, head, chunk(b'{"gid"'), chunk(b':"g1"}'), b"0\r\n\r\n", pause=pause)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    whole = head + chunk(b'{"gid"') + chunk(b':"g1"}') + b"0\r\n\r\n"
    assert (await exchange(http, whole)).startswith(b"HTTP/1.1 200 OK\r\n")
    assert [request.gid for _, request in http.service.asked] == ["g1"] * 3


async def test_a_body_as_long_as_allowed_is_taken(http: Http) -> None:
    body = b'{"gid":"g1"}'.ljust(BODY_BYTES_MAX)
    head = f"{POST}Content-Length: {len(body)}\r\n\r\n".encode()
    assert (await exchange(http, head, body)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_body_announced_as_too_long_is_refused_before_it_comes(http: Http) -> None:
    answer = await exchange(http, f"{POST}Content-Length: {BODY_BYTES_MAX + 1}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 500")
    assert TOO_LONG in answer
    assert b"application/json" in answer


async def test_a_chunked_body_is_refused_when_it_becomes_too_long(http: Http) -> None:
    head = f"{POST}Transfer-Encoding: chunked\r\n\r\n".encode()
    answer = await exchange(http, head, *[chunk(b" " * 16_000)] * 5)  # never ended
    assert answer.startswith(b"HTTP/1.1 500")
    assert TOO_LONG in answer
    whole = head + chunk(b" " * (BODY_BYTES_MAX + 1)) + b"0\r\n\r\n"
    assert TOO_LONG in await exchange(http, whole)
    assert http.service.asked == []


async def test_a_client_that_sends_a_huge_body_all_the_same_gets_its_answer(http: Http) -> None:
    status, _, text = await http.post("submit", b" " * (15 * BODY_BYTES_MAX))
    assert status == 500
    assert TOO_LONG.decode() in text


async def test_a_client_that_asks_first_is_invited(http: Http) -> None:
    head = f"{POST}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection(HOST, http.port)
    writer.write(head)
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"{}")
    assert (await read_answer(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()


async def test_a_client_that_asks_first_is_not_invited_to_send_too_much(http: Http) -> None:
    head = f"{POST}Content-Length: {BODY_BYTES_MAX + 1}\r\nExpect: 100-continue\r\n\r\n"
    assert (await exchange(http, head.encode())).startswith(b"HTTP/1.1 500")


async def test_a_body_that_trickles_in_is_given_up(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_request, "BODY_SECONDS_MAX", 0.05)
    answer = await exchange(http, f"{POST}Content-Length: 12\r\n\r\n{{".encode())
    assert b"the body did not arrive within" in answer


async def test_a_body_that_breaks_off_is_no_fault_of_ours(http: Http) -> None:
    _, writer = await asyncio.open_connection(HOST, http.port)
    writer.write(f"{POST}Content-Length: 12\r\n\r\n{{".encode())
    await writer.drain()
    await asyncio.sleep(0.02)
    writer.close()
    failed = 'dtm_server_process_total{api="submit",status="fail",type="http"}'
    async with asyncio.timeout(30):
        while http.metric(failed) < 1:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    assert http.service.asked == []


async def test_a_compressed_body_is_not_unpacked(http: Http) -> None:
    body = gzip.compress(b'{"gid":"g1"}')
    head = f"{POST}Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert b"the body is not UTF-8" in await exchange(http, head, body)


@pytest.mark.parametrize("raw", ["ü".encode(), b"\xff"])
async def test_a_query_that_is_not_percent_encoded_is_no_http(http: Http, raw: bytes) -> None:
    answer = await exchange(http, b"GET /api/dtmsvr/query?gid=%b HTTP/1.1\r\nHost: a\r\n\r\n" % raw)
    assert answer.startswith(b"HTTP/1.0 400")
    assert http.service.asked == []


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_line_that_is_too_long_is_an_error_in_the_protocols_form(http: Http, method: bytes) -> None:
    """PROTOCOL §2: bad input is 500, and JSON always: a Go client reads nothing else."""
    line = b"%b /api/dtmsvr/query?gid=%b HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = await exchange(http, line % (method, b"x" * LINE_BYTES_MAX))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 500")
    assert b"Content-Type: application/json" in head
    assert json.loads(body)["message"].startswith("the request line may have 65536 bytes")
    assert (await http.call("GET", "/api/ping"))[0] == 200


async def test_a_line_just_as_long_as_it_may_be_is_read(http: Http) -> None:
    start = b"/api/dtmsvr/query?gid="
    asked = b"GET %b%b HTTP/1.1\r\nHost: a\r\n\r\n" % (start, b"x" * (LINE_BYTES_MAX - len(start) - 20))
    assert (await exchange(http, asked)).startswith(b"HTTP/1.1 200")


async def test_an_old_client_gets_an_answer_it_understands(http: Http) -> None:
    answer = await exchange(http, b"GET /api/ping HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert answer.endswith(b'{"msg":"pong"}')


async def test_a_connection_is_closed_when_the_client_says_so(http: Http) -> None:
    reader, writer = await asyncio.open_connection(HOST, http.port)
    writer.write(b"GET /api/ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 30)  # to the end of the connection
    assert b"Connection: close\r\n" in answer
    assert answer.endswith(b'{"msg":"pong"}')
    writer.close()


async def test_head_has_no_body_and_the_connection_goes_on(http: Http) -> None:
    reader, writer = await asyncio.open_connection(HOST, http.port)
    writer.write(b"HEAD /api/ping HTTP/1.1\r\nHost: a\r\n\r\nGET /api/ping HTTP/1.1\r\nHost: a\r\n\r\n")
    first = await reader.readuntil(b"\r\n\r\n")
    assert b"Content-Length: 14" in first
    assert (await read_answer(reader)).endswith(b'{"msg":"pong"}')
    writer.close()


async def test_requests_sent_at_once_are_answered_in_order(http: Http) -> None:
    reader, writer = await asyncio.open_connection(HOST, http.port)
    ask = b"GET /api/dtmsvr/%b HTTP/1.1\r\nHost: a\r\n\r\n"
    writer.write(ask % b"version" + ask % b"newGid" + ask % b"nothing" + ask % b"version")
    answers = [await read_answer(reader) for _ in range(4)]
    assert [answer.rpartition(b"\r\n\r\n")[2][:6] for answer in answers] == [
        b'{"vers',
        b'{"gid"',
        b"404 pa",
        b'{"vers',
    ]
    writer.close()


async def test_rubbish_is_answered_by_400_and_the_server_goes_on(http: Http) -> None:
    answer = await exchange(http, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 400")
    assert (await http.call("GET", "/api/ping"))[0] == 200


async def test_a_client_that_reads_nothing_and_vanishes_harms_nobody(http: Http) -> None:
    plain = socket.create_connection((HOST, http.port))
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    plain.sendall(f"{POST}Content-Length: 2\r\n\r\n{{}}".encode() * 50)
    plain.close()  # with a reset
    assert (await http.call("GET", "/api/ping"))[0] == 200


async def test_a_client_that_reads_no_answers_is_not_served_on(http: Http) -> None:
    """Else the answers to pipelined requests fill the memory: 27 MB of them became 600."""
    http.service.error = Invalid("x" * 60_000)
    count = 400
    reader, writer = await asyncio.open_connection(HOST, http.port, limit=1024)
    try:
        writer.write(f"{POST}Content-Length: 2\r\n\r\n{{}}".encode() * count)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                while len(http.service.asked) < count:
                    http.service.was_asked.clear()
                    await http.service.was_asked.wait()
        for _ in range(count):  # now that it reads, it gets them all
            assert b"xxx" in await asyncio.wait_for(read_answer(reader), 30)
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("sent", [b"", b"GET /api/ping HTTP/1.1\r\nHost: a\r\nX-Slow: "])
async def test_a_connection_without_a_whole_request_is_closed(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http_module, "IDLE_SECONDS_MAX", 0.05)
    async with http_api() as http:
        reader, writer = await asyncio.open_connection(HOST, http.port)
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()
