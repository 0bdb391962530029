"""What a submit accepts can be sent: every url and header that `validate` lets pass (PROTOCOL §10).

A transaction that is accepted and can never be called is stuck for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from coordinator.backoff import Timing
from coordinator.calls.base import Answer
from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.places import Places
from coordinator.calls.router import BranchCaller
from coordinator.discovery.names import Names
from coordinator.discovery.open import open_resolver
from coordinator.errors import Invalid
from coordinator.model import Options, Result, Status, Step, Transaction, TransactionRequest
from coordinator.service.validate import validated_branches
from tests.support.grpc_server import RawCodec

Headers = dict[str, str]

_label = some.text(some.characters(codec="utf-8"), max_size=6) | some.sampled_from(
    ["host", "a_b", "-a", "a-", "xn--", "xn--bcher-kva", "bücher", "x" * 64, "127", "0x7f", "%41", "*", "1"]
)
_host = (
    some.just("host")
    | some.lists(_label, min_size=1, max_size=4).map(".".join)
    | some.sampled_from(
        [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "[::1]",
            "[::1%251]",
            "[fe80::1%25lo]",
            "[v1.x]",
            "[::",
            "::1",
            "[]",
        ]
    )
)
_login = some.sampled_from(
    ["", "user@", "user:password@", "u%3Aser:p%40ss@", ":p@", "@", "u:@", "ü:密@", "a:b:c@", "%zz:%@", "a@b@"]
)
_port = some.sampled_from(["{port}", "{port}", "{port}", "", ":", ":0", ":99999", ":80x"])
_tail = some.text(some.characters(codec="utf-8"), max_size=12) | some.sampled_from(
    ["", "/", "/x?method=y", "/a b", "/%zz", "?a=b", "#f", "/?q=ü&&=", "//", "/x;y=[]", "/\\"]
)
_names = some.sampled_from(
    [
        *("Authorization", "Host", "Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding"),
        *("Connection", "Expect", "Upgrade", "TE", "Trailer", "Cookie", "Accept-Encoding", "Keep-Alive"),
        *(
            "Proxy-Connection",
            "Date",
            "X-Token",
            "x-bin",
            "grpc-timeout",
            "user-agent",
            "dtm-gid",
            "A~B",
            "x#",
        ),
    ]
) | some.text(some.characters(codec="ascii"), min_size=1, max_size=5)
_values = some.text(some.characters(min_codepoint=32, max_codepoint=126), max_size=10) | some.sampled_from(
    [
        "100-continue",
        "chunked",
        "gzip",
        "upgrade",
        "close",
        "websocket",
        "5",
        "trailers",
        "a=b; c",
        "br, zstd",
    ]
)
_headers = some.dictionaries(_names, _values, max_size=4) | some.dictionaries(
    some.sampled_from(["Authorization", "Host", "Expect", "Content-Length", "Connection", "X-Token"]), _values
)
_http = some.tuples(some.sampled_from(["http://", "HTTP://"]), _login, _host, _port, _tail).map("".join)
_grpc = some.tuples(
    some.sampled_from(["", "dns:///", "direct:///", "passthrough:///", "direct:///127.0.0.1:1,"]),
    some.tuples(_host, _port).map("".join),
    some.sampled_from(["/user.User/saveUser", "/user.User/save User", "/ü.ü/Ü", "/a/b/c", "/x%zz/y"]),
).map("".join)


def accepted(url: str, headers: Headers, protocol: str) -> bool:
    request = TransactionRequest(
        *("g1", "saga", (Step(url, ""),), (b"{}",)),
        protocol=protocol,
        options=Options(branch_headers=headers),
    )
    try:
        validated_branches(request, {}, Timing(), BranchUrls(Places()))
    except Invalid:
        return False
    return True


class Branches:
    """An HTTP and a gRPC branch, reached by any name, and the caller."""

    def __init__(self, caller: BranchCaller, http_port: int, grpc_port: int) -> None:
        self.ports = {"http": http_port, "json-rpc": http_port, "grpc": grpc_port}
        self._caller = caller

    async def call(self, url: str, headers: Headers, protocol: str) -> Answer:
        request = TransactionRequest("g1", "saga", (Step(url, ""),), (b"{}",), protocol=protocol)
        [_, branch] = validated_branches(request, {}, Timing(), BranchUrls(Places()))
        options = Options(branch_headers=headers)
        transaction = Transaction("g1", "saga", Status.SUBMITTED, protocol, options=options)
        return await self._caller.call(transaction, branch, timeout=2)


@asynccontextmanager
async def branches() -> AsyncIterator[Branches]:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"100-continue" not in head.lower() or b"expect:" not in head.lower()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.write_eof()
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def save(stream: "Stream[bytes, bytes]") -> None:
        await stream.recv_message()
        await stream.send_message(b"")

    class AnyMethod(dict[str, Handler]):
        def __mapping__(self) -> dict[str, Handler]:
            handler = Handler(save, Cardinality.UNARY_UNARY, bytes, bytes)
            return dict.fromkeys(("/user.User/saveUser", "/user.User/save User", "/x%zz/y", "/b/c"), handler)

    http_server = await asyncio.start_server(http, "127.0.0.1", 0)
    grpc_server = Server([AnyMethod()], codec=RawCodec())
    await grpc_server.start("127.0.0.1", 0)
    assert grpc_server._server is not None
    grpc_port = grpc_server._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    names = Names(look_up=lambda _: ["127.0.0.1"])
    resolver = open_resolver(names)
    caller = BranchCaller(resolver, names=names)
    try:
        yield Branches(caller, http_server.sockets[0].getsockname()[1], grpc_port)
    finally:
        await caller.close()
        await resolver.close()
        await names.close()
        http_server.close()
        grpc_server.close()
        await grpc_server.wait_closed()


REACHED: Final = ("cannot connect", "UNIMPLEMENTED", "Method not found", "no JSON-RPC answer")


def was_sent(answer: Answer) -> bool:
    """It came to its server, or to an address where none is."""
    return answer.result is Result.SUCCESS or any(text in answer.text for text in REACHED)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


_slow = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_slow
@given(_http, _headers, some.sampled_from(["http", "grpc", "json-rpc"]))
@example("http://user:password@host{port}/", {"Authorization": "Bearer x"}, "http")
@example("http://u%3Aser:p@host{port}/", {}, "http")
@example("http://ü:密@host{port}/", {}, "http")
@example("http://host{port}/", {"Expect": "100-continue"}, "http")
@example("http://127.1{port}/", {}, "http")
@example("http://a..b{port}/", {}, "http")
@example(f"http://{'x' * 64}{{port}}/", {}, "http")
@example("http://host{port}/", {"Transfer-Encoding": "chunked", "Content-Length": "5"}, "http")
def test_what_is_accepted_can_be_sent_over_http(
    runner: asyncio.Runner, url: str, headers: Headers, protocol: str
) -> None:
    _require_sent(runner, url, headers, protocol)


@_slow
@given(_grpc, _headers)
@example(
    "host{port}/ü.ü/Ü",
    {},
)
@example("a..b{port}/user.User/saveUser", {})
@example("host{port}/user.User/saveUser", {"x#": "y"})
@example("host{port}/user.User/saveUser", {"Connection": "close"})
@example("host{port}/user.User/saveUser", {"Content-Length": "99"})
@example("host{port}/user.User/saveUser", {"Host": "other"})
@example("host{port}/user.User/saveUser", {"Transfer-Encoding": "chunked"})
def test_what_is_accepted_can_be_sent_over_grpc(runner: asyncio.Runner, url: str, headers: Headers) -> None:
    _require_sent(runner, url, headers, "grpc")


def _require_sent(runner: asyncio.Runner, url: str, headers: Headers, protocol: str) -> None:
    if not accepted(url.replace("{port}", ":8080"), headers, protocol):
        return

    async def once() -> Answer:
        async with branches() as here:
            is_http = url[:4].lower() == "http"
            port = here.ports["http" if is_http else protocol]
            return await here.call(url.replace("{port}", f":{port}"), headers, protocol)

    answer = runner.run(once())
    assert was_sent(answer), answer


@pytest.mark.parametrize(
    ("login", "headers", "sent"),
    [
        ("", {}, None),
        ("user:password@", {}, "Basic dXNlcjpwYXNzd29yZA=="),
        ("user@", {}, "Basic dXNlcjo="),
        ("u%3A:p%40@", {}, "Basic dTo6cEA="),
        ("user:password@", {"authorization": "Bearer x"}, "Bearer x"),
    ],
)
@pytest.mark.parametrize("protocol", ["http", "json-rpc"])
async def test_the_login_of_a_url_is_sent_unless_the_client_gives_a_header(
    login: str, headers: Headers, sent: str | None, protocol: str
) -> None:
    """As Go's HTTP client does it."""
    seen: list[Headers] = []

    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        seen.append({name.lower(): value for name, _, value in (line.partition(": ") for line in lines)})
        writer.write(b"HTTP/1.1 409 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(http, "127.0.0.1", 0) as server, branches() as here:
        url = f"http://{login}127.0.0.1:{server.sockets[0].getsockname()[1]}/?method=x"
        assert accepted(url, headers, protocol)
        assert (await here.call(url, headers, protocol)).result is Result.FAILURE
    assert [each.get("authorization") for each in seen] == [sent]
