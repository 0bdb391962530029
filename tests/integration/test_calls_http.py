"""HTTP and JSON-RPC branches, called over real sockets (PROTOCOL §10)."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from coordinator.calls.base import SUCCESS, Answer
from coordinator.calls.router import BranchCaller
from coordinator.discovery.default import PlainResolver
from coordinator.model import Branch, Options, Result, Status, Transaction
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    """Return a function that serves a handler at every path and returns `http://host:port`."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> str:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0, handler_cancellation=True)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@asynccontextmanager
async def calling(**limits: Any) -> AsyncIterator[BranchCaller]:
    caller = BranchCaller(PlainResolver(), **limits)
    try:
        yield caller
    finally:
        await caller.close()


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[BranchCaller]:
    async with calling() as made:
        yield made


async def call(
    caller: BranchCaller,
    url: str,
    *,
    payload: bytes = b'{"amount":30}',
    trans_type: str = "saga",
    protocol: str = "http",
    headers: dict[str, str] | None = None,
    gid: str = "g1",
    timeout: float = 10,
) -> Answer:
    transaction = Transaction(
        gid, trans_type, Status.SUBMITTED, protocol, options=Options(branch_headers=headers or {})
    )
    branch = Branch(gid, "01", "action", url, payload)
    return await caller.call(transaction, branch, timeout=timeout)


# ---- what is sent ----------------------------------------------------------------------------------------


async def test_an_empty_url_is_success_without_a_call(caller: BranchCaller) -> None:
    assert await call(caller, "") is SUCCESS


@pytest.mark.parametrize(
    ("trans_type", "payload", "method"),
    [
        ("saga", b"{}", "POST"),
        ("saga", b"", "GET"),
        ("xa", b"{}", "POST"),
        ("xa", b"", "POST"),
        ("msg", b"", "GET"),
    ],
)
async def test_post_if_there_is_a_payload_or_xa_else_get(
    caller: BranchCaller, serve: Serve, trans_type: str, payload: bytes, method: str
) -> None:
    seen: list[tuple[str, bytes]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, await request.read()))
        return web.Response()

    answer = await call(caller, await serve(handler), trans_type=trans_type, payload=payload)
    assert answer.result is Result.SUCCESS
    assert seen == [(method, payload)]


async def test_the_query_gains_gid_trans_type_branch_id_and_op(caller: BranchCaller, serve: Serve) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.Response()

    base = await serve(handler)
    await call(caller, f"{base}/pay%2Fme?x=%2B+1&y", gid="a b&c")
    assert seen == ["/pay%2Fme?x=%2B+1&y&gid=a+b%26c&trans_type=saga&branch_id=01&op=action"]


async def test_branch_headers_are_sent_and_may_replace_the_content_type(
    caller: BranchCaller, serve: Serve
) -> None:
    seen: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        assert await request.read() == b'{"amount":30}', "the framing is ours"
        return web.Response()

    base = await serve(handler)
    await call(caller, base)
    await call(caller, base, headers={"content-TYPE": "text/plain", "X-Token": "t", "Content-Length": "3"})
    assert seen[0]["content-type"] == "application/json"
    assert "accept-encoding" not in seen[0]
    assert (seen[1]["content-type"], seen[1]["x-token"]) == ("text/plain", "t")


async def test_connections_are_kept_and_used_again(caller: BranchCaller, serve: Serve) -> None:
    peers = set()

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(text="x" * 100)

    base = await serve(handler)
    for _ in range(5):
        await call(caller, base)
    assert len(peers) == 1


async def test_branches_share_no_cookies(caller: BranchCaller, serve: Serve) -> None:
    seen: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        response = web.Response()
        response.set_cookie("session", "secret")
        return response

    base = await serve(handler)
    await call(caller, base)
    await call(caller, base)
    assert seen == [None, None]


# ---- what is answered ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "result", "text"),
    [
        (200, "ok", Result.SUCCESS, ""),
        (409, "no money", Result.FAILURE, "no money"),
        (425, "wait", Result.ONGOING, "wait"),
        (200, '{"dtm_result":"FAILURE"}', Result.FAILURE, '{"dtm_result":"FAILURE"}'),
        (500, "boom", Result.UNKNOWN, "boom (status 500)"),
        (204, "", Result.UNKNOWN, "(status 204: only 200 counts as success, so it will be called again)"),
    ],
)
async def test_answers(
    caller: BranchCaller, serve: Serve, status: int, body: str, result: Result, text: str
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    assert await call(caller, await serve(handler)) == Answer(result, text)


async def test_a_body_that_is_not_utf_8_is_read_all_the_same(caller: BranchCaller, serve: Serve) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=409, body=b"caf\xe9 \xff")

    answer = await call(caller, await serve(handler))
    assert answer == Answer(Result.FAILURE, "caf\N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}")


async def test_a_compressed_answer_that_nobody_asked_for_is_unpacked(
    caller: BranchCaller, serve: Serve
) -> None:
    async def handler(_: web.Request) -> web.Response:
        response = web.Response(status=409, text="no money " * 100)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    answer = await call(caller, await serve(handler), headers={"Accept-Encoding": "gzip"})
    assert answer.result is Result.FAILURE
    assert answer.text.startswith("no money")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_10_mb_answer_is_not_kept(caller: BranchCaller, serve: Serve, chunked: bool) -> None:
    """Only its beginning is read, quickly, and memory stays flat."""
    piece = b"x" * 65_536

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=409)
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = 160 * len(piece)
        await response.prepare(request)
        for _ in range(160):
            await response.write(piece)
        return response

    base = await serve(handler)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = asyncio.get_running_loop().time()
    for answer in await asyncio.gather(*(call(caller, base) for _ in range(8))):
        assert answer.result is Result.FAILURE
        assert len(answer.text) == 1 << 20
    assert asyncio.get_running_loop().time() - began < 5 * PATIENCE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000, "KiB; the bodies are 80 MiB"


async def test_a_bomb_is_not_unpacked(caller: BranchCaller, serve: Serve) -> None:
    async def handler(_: web.Request) -> web.Response:
        response = web.Response(status=500, body=b"0" * 50_000_000)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    answer = await call(caller, await serve(handler), headers={"Accept-Encoding": "gzip"})
    assert answer.result is Result.UNKNOWN
    assert len(answer.text) <= (1 << 20) + 20


# ---- redirects -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "method", "body"),
    [(301, "GET", b""), (302, "GET", b""), (303, "GET", b""), (307, "POST", b"{}"), (308, "POST", b"{}")],
)
async def test_redirects_are_followed(
    caller: BranchCaller, serve: Serve, status: int, method: str, body: bytes
) -> None:
    seen: list[tuple[str, bytes]] = []

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/there":
            seen.append((request.method, await request.read()))
            return web.Response(status=409, text="said there")
        return web.Response(status=status, headers={"Location": "/there?a=%2F"})

    answer = await call(caller, await serve(handler), payload=b"{}")
    assert answer == Answer(Result.FAILURE, "said there")
    assert seen == [(method, body)]


async def test_a_redirect_loop_ends_after_5(caller: BranchCaller, serve: Serve) -> None:
    calls = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.Response(status=302, headers={"Location": str(request.url)})

    base = await serve(handler)
    answer = await call(caller, base)
    assert answer.result is Result.UNKNOWN
    assert answer.text == f"(status 302) after 5 redirects, the next to {base}/"
    assert calls == 6


async def test_after_5_redirects_the_last_answer_counts(caller: BranchCaller, serve: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        number = int(request.path[1:] or 0)
        if number == 5:
            return web.Response(text="ok")
        return web.Response(status=307, headers={"Location": f"/{number + 1}"})

    assert (await call(caller, await serve(handler))).result is Result.SUCCESS


@pytest.mark.parametrize("location", ["", "ftp://host/x", "http://", "//", "http://host:99999/"])
async def test_a_redirect_to_nowhere_is_unknown(caller: BranchCaller, serve: Serve, location: str) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    assert (await call(caller, await serve(handler))).result is Result.UNKNOWN


async def test_a_login_does_not_follow_to_another_origin(caller: BranchCaller, serve: Serve) -> None:
    seen: list[tuple[str | None, str | None]] = []

    async def there(request: web.Request) -> web.Response:
        seen.append((request.headers.get("Authorization"), request.headers.get("X-Other")))
        return web.Response()

    other = await serve(there)

    async def here(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": other})

    await call(caller, await serve(here), headers={"authorization": "secret", "X-Other": "kept"})
    assert seen == [(None, "kept")]


# ---- what goes wrong -------------------------------------------------------------------------------------


async def test_a_refused_connection_is_unknown(caller: BranchCaller) -> None:
    answer = await call(caller, f"http://127.0.0.1:{free_port()}/pay?secret=1")
    assert answer.result is Result.UNKNOWN
    assert "cannot connect" in answer.text
    assert "secret" not in answer.text


async def test_an_unknown_host_is_unknown(caller: BranchCaller) -> None:
    answer = await call(caller, "http://no-such-host.invalid/")
    assert answer.result is Result.UNKNOWN
    assert "no-such-host.invalid" in answer.text


@pytest.mark.parametrize("url", ["host/path", "http://", "ftp://host/", "http://host:99999/", "http://a b/"])
async def test_a_row_with_a_bad_url_is_unknown(caller: BranchCaller, url: str) -> None:
    """Another program may have stored it."""
    answer = await call(caller, url)
    assert answer.result is Result.UNKNOWN
    assert url in answer.text


@pytest.mark.parametrize("headers", [{"X-Bad": "a\r\nb"}, {"X Bad": "a"}, {"X-Bad": "a\0"}])
async def test_a_header_that_cannot_be_sent_is_unknown(
    caller: BranchCaller, serve: Serve, headers: dict[str, str]
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=500)

    assert (await call(caller, await serve(handler), headers=headers)).result is Result.UNKNOWN


@asynccontextmanager
async def raw_server(answer: bytes) -> AsyncIterator[str]:
    """Serve these bytes to whoever connects, then close."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("wire", "says"),
    [
        (b"", "closed before"),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf", "not gzip"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5_000_000 + b"\r\n\r\n", "not HTTP"),
    ],
)
async def test_a_server_that_breaks_off_or_talks_nonsense_is_unknown(
    caller: BranchCaller, wire: bytes, says: str
) -> None:
    async with raw_server(wire) as url:
        answer = await call(caller, url)
    assert answer.result is Result.UNKNOWN
    assert says in answer.text


async def test_a_server_without_tls_called_by_https_is_unknown(caller: BranchCaller, serve: Serve) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response()

    base = await serve(handler)
    answer = await call(caller, base.replace("http:", "https:"))
    assert answer.result is Result.UNKNOWN


async def test_a_connection_that_the_server_has_closed_is_not_used_again(caller: BranchCaller) -> None:
    """The server restarts between two calls: the second call opens a connection of its own."""
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(ok) as url:
        for _ in range(3):
            assert (await call(caller, url)).result is Result.SUCCESS
            await asyncio.sleep(0.05)


# ---- time and places -------------------------------------------------------------------------------------


async def _hang(_: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response()


async def test_a_hanging_server_is_unknown_at_the_deadline(caller: BranchCaller, serve: Serve) -> None:
    base = await serve(_hang)
    began = asyncio.get_running_loop().time()
    answer = await call(caller, base, timeout=0.3)
    # whole milliseconds on uvloop, whose difference as floats may fall short by the last bit
    assert 0.3 <= round(asyncio.get_running_loop().time() - began, 3) < 2
    assert answer == Answer(Result.UNKNOWN, f"{base}/ gave no answer within 0.3 s")


async def test_the_deadline_covers_redirects_and_the_body(caller: BranchCaller, serve: Serve) -> None:
    """Absolute: a server that drips, or redirects slowly, gains no time by it."""

    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        if request.path == "/":
            return web.Response(status=307, headers={"Location": "/drip"})
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x")
            await asyncio.sleep(0.05)
        return response

    base = await serve(handler)
    began = asyncio.get_running_loop().time()
    answer = await call(caller, base, timeout=0.5)
    assert asyncio.get_running_loop().time() - began < 4  # the server goes on for 5
    assert answer.result is Result.UNKNOWN


async def test_cancelling_a_call_passes_through(serve: Serve) -> None:
    base = await serve(_hang)
    async with calling() as caller:
        task = asyncio.create_task(call(caller, base))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        answer = await call(caller, base, timeout=0.1)
        assert "gave no answer" in answer.text


async def test_after_close_calls_are_unknown(serve: Serve) -> None:
    base = await serve(_hang)
    async with calling() as caller:
        running = asyncio.create_task(call(caller, base))
        await asyncio.sleep(0.1)
    assert (await running).result is Result.UNKNOWN
    assert (await call(caller, base)) == Answer(Result.UNKNOWN, "the coordinator is stopping")


# ---- JSON-RPC --------------------------------------------------------------------------------------------


async def _json_rpc(caller: BranchCaller, url: str, payload: bytes) -> Answer:
    return await call(caller, url, protocol="json-rpc", payload=payload)


async def test_a_json_rpc_branch_gets_its_payload_and_the_branch_as_params(
    caller: BranchCaller, serve: Serve
) -> None:
    seen: list[tuple[str, Any]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.raw_path, await request.json()))
        return web.json_response({"jsonrpc": "2.0", "id": "1", "result": None, "error": None})

    base = await serve(handler)
    for payload in (b'{"amount":30}', b"", b"null"):
        assert (await _json_rpc(caller, f"{base}/rpc?method=pay", payload)).result is Result.SUCCESS
    branch = {"gid": "g1", "trans_type": "saga", "branch_id": "01", "op": "action"}
    assert [body["params"] for _, body in seen] == [{"amount": 30, **branch}, branch, branch]
    path, body = seen[0]
    assert path == "/rpc?method=pay"
    assert (body["jsonrpc"], body["method"], body["id"]) == ("2.0", "pay", "g1-01-action")


async def test_a_json_rpc_error_decides_by_its_code(caller: BranchCaller, serve: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        code = int(request.path[1:])
        return web.json_response({"jsonrpc": "2.0", "id": "1", "error": {"code": code, "message": "m"}})

    base = await serve(handler)
    results = [
        (await _json_rpc(caller, f"{base}/{code}?method=pay", b"{}")).result for code in (-32901, -32902, -1)
    ]
    assert results == [Result.FAILURE, Result.ONGOING, Result.UNKNOWN]


@pytest.mark.parametrize("payload", [b"[1]", b"text", b"\xff", b"[" * 60_000])
async def test_a_json_rpc_payload_that_is_no_object_is_unknown(caller: BranchCaller, payload: bytes) -> None:
    answer = await _json_rpc(caller, "http://127.0.0.1:1/?method=pay", payload)
    assert answer.result is Result.UNKNOWN
    assert "must be a JSON object" in answer.text


async def test_json_rpc_without_a_method_in_the_url_is_plain_http(caller: BranchCaller, serve: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        assert json.loads(await request.read()) == {"amount": 30}
        assert request.query["gid"] == "g1"
        return web.Response()

    assert (await _json_rpc(caller, f"{await serve(handler)}/pay", b'{"amount":30}')).result is Result.SUCCESS


# ---- what a call keeps busy --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "url", "endpoint"),
    [
        ("http", "http://shop:8080/do?a=1", "http://shop:8080"),
        ("http", "http://user:secret@shop/do", "http://shop:80"),
        ("http", "https://shop/do", "https://shop:443"),
        ("json-rpc", "http://shop:8080/rpc?method=do", "http://shop:8080"),
        ("grpc", "shop:8080/shop.Shop/Do", "shop:8080"),
        ("grpc", "etcd://a:2379,b:2379/shop.rpc/shop.Shop/Do", "etcd://a:2379,b:2379/shop.rpc"),
        ("grpc", "http://shop:8080/do", "http://shop:8080"),
        ("http", "", ""),
        ("http", "no url at all", ""),
    ],
)
async def test_calls_of_one_endpoint_have_its_places(
    caller: BranchCaller, protocol: str, url: str, endpoint: str
) -> None:
    transaction = Transaction("g", "saga", Status.SUBMITTED, protocol)
    assert caller.endpoint(transaction, Branch("g", "01", "action", url)).rstrip("/") == endpoint
