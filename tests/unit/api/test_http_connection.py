"""One connection: plain requests and others, in any order and any pieces, have the same answers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import pytest
from aiohttp.web import BaseRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.api.http import HttpApi
from coordinator.api.http_answer import StreamedAnswer
from coordinator.errors import INTERNAL_ERROR
from tests.unit.api.fakes import HOST, Http, http_api, read_answer

BODY: Final = b'{"gid":"g1"}'
SUBMIT: Final = b"POST /api/dtmsvr/submit HTTP/1.1\r\nHost: a\r\n"
CHUNKS: Final = b"5\r\n%b\r\n7\r\n%b\r\n0\r\n\r\n" % (BODY[:5], BODY[5:])
SECONDS: Final = 5.0
# What is sent; how the answer begins, and what is in it.
KINDS: Final[dict[str, tuple[bytes, bytes, bytes]]] = {
    "a get": (b"GET /api/ping HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200", b'{"msg":"pong"}'),
    "a post": (b"%bContent-Length: 12\r\n\r\n%b" % (SUBMIT, BODY), b"HTTP/1.1 200", b'"SUCCESS"}'),
    "chunks": (b"%bTransfer-Encoding: chunked\r\n\r\n%b" % (SUBMIT, CHUNKS), b"HTTP/1.1 200", b'"SUCCESS"}'),
    "a head": (b"HEAD /api/ping HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200", b"\r\n\r\n"),
    "an old one": (
        b"GET /api/ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"HTTP/1.0 200",
        b'{"msg":"pong"}',
    ),
    "bad input": (b"%bContent-Length: 3\r\n\r\n[1]" % SUBMIT, b"HTTP/1.1 500", b"object"),
    "nothing there": (b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 404", b"page not found"),
}
# Also one that would rather speak HTTP/2: it waits for what that is answered before it sends more.
OFFERS: Final = b"GET /api/ping HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
ONE_BY_ONE: Final = {**KINDS, "an offer": (OFFERS, b"HTTP/1.1 200", b'{"msg":"pong"}')}


async def check(http: Http, kinds: Sequence[str], pieces: Sequence[bytes]) -> None:
    reader, writer = await asyncio.open_connection(HOST, http.port)
    try:
        async with asyncio.timeout(SECONDS):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            for kind in kinds:
                _, begins, holds = KINDS[kind]
                answer = await read_answer(reader, has_body=kind != "a head")
                assert answer.startswith(begins), (kinds, kind, answer)
                assert holds in answer, (kinds, kind, answer)
    finally:
        writer.transport.abort()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_order_in_any_pieces(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=8))
    sent = b"".join(KINDS[kind][0] for kind in kinds)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=5)))
    pieces = [sent[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]

    async def all_of_it() -> None:
        async with http_api() as http:
            await check(http, kinds, pieces)
            asked = [kind for kind in kinds if kind in ("a post", "chunks")]
            assert [request.gid for _, request in http.service.asked] == ["g1"] * len(asked)

    asyncio.run(all_of_it())


@pytest.mark.parametrize("before", ["a get", "a head"])
async def test_one_after_the_other(http: Http, before: str) -> None:
    """Each waits for the last one's answer. A head comes first: from then on none is taken as plain."""
    reader, writer = await asyncio.open_connection(HOST, http.port)
    for kind in (before, *ONE_BY_ONE, *KINDS):
        sent, begins, holds = ONE_BY_ONE[kind]
        writer.write(sent)
        async with asyncio.timeout(SECONDS):
            answer = await read_answer(reader, has_body=kind != "a head")
        assert answer.startswith(begins)
        assert holds in answer
    writer.close()


async def test_a_fault_on_the_way_to_a_call_is_answered_and_harms_no_other(
    http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret")

    with monkeypatch.context() as patched:
        patched.setattr(HttpApi, "_route", broken)
        reader, writer = await asyncio.open_connection(HOST, http.port)
        writer.write(KINDS["a get"][0])
        answer = await asyncio.wait_for(reader.read(), SECONDS)  # to the end of the connection
        writer.close()
    assert answer.startswith(b"HTTP/1.1 500")
    assert INTERNAL_ERROR.encode() in answer
    assert b"secret" not in answer
    assert (await http.call("GET", "/api/ping"))[0] == 200


async def test_an_answer_that_breaks_off_ends_its_connection_and_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(write: Callable[[bytes], Awaitable[None]]) -> None:
        await write(b"half")
        raise RuntimeError("in the middle")

    async def half_an_answer(_: HttpApi, request: BaseRequest) -> StreamedAnswer:
        return StreamedAnswer(request, {}, breaks)

    monkeypatch.setattr(HttpApi, "handle", half_an_answer)
    async with http_api() as http:
        for _ in range(2):
            reader, writer = await asyncio.open_connection(HOST, http.port)
            writer.write(KINDS["a get"][0])
            answer = await asyncio.wait_for(reader.read(), SECONDS)  # to the end of the connection
            writer.close()
            assert answer == b"HTTP/1.1 200 OK\r\n\r\nhalf"
    assert "in the middle" in caplog.text


async def test_who_sends_many_at_once_leaves_others_their_turn(
    http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    done: list[str] = []
    route = HttpApi._route

    def noted(self: HttpApi, request: BaseRequest) -> object:
        done.append("request")
        loop.call_soon(done.append, "others")
        return route(self, request)

    monkeypatch.setattr(HttpApi, "_route", noted)
    await check(http, ["a get"] * 8, [KINDS["a get"][0] * 8])
    assert done == ["request", "others"] * 8
