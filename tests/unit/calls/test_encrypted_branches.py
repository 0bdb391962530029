"""`https://` and `grpcs://` branches: known by their certificates, and shown ours (PROTOCOL §10)."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from grpclib.const import Cardinality, Handler
from grpclib.server import Stream

from coordinator.calls.router import BranchCaller
from coordinator.discovery.names import Names
from coordinator.discovery.open import open_resolver
from coordinator.model import Branch, Result, Status, Transaction
from coordinator.tls import ClientTls, TlsFiles, server_context
from tests.support.certificates import Authority
from tests.support.grpc_server import BreakingServer, RawCodec
from tests.support.ports import HOST, free_port


class Branches:
    """An HTTP and a gRPC branch behind TLS at free ports; whoever calls has to be known to `clients`."""

    def __init__(self, folder: Path) -> None:
        self.ours = Authority(folder, "ours")
        self.clients = Authority(folder, "clients")
        self.others = Authority(folder, "others")
        self.shown = str(self.clients.issue("client.pem", "coordinator"))
        self.http_port, self.grpc_port = free_port(), free_port()
        self.seen: list[str] = []
        self.shown_to_grpc: list[object] = []  # names of the certificates that calls came with

    def urls(self, host: str = "localhost") -> tuple[str, str]:
        return f"https://{host}:{self.http_port}/do", f"grpcs://{host}:{self.grpc_port}/user.User/saveUser"

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(f"{request.scheme} {request.host}")
        return web.Response()

    def __mapping__(self) -> dict[str, Handler]:
        return {"/user.User/saveUser": Handler(self.save, Cardinality.UNARY_UNARY, bytes, bytes)}

    async def save(self, stream: "Stream[bytes, bytes]") -> None:
        await stream.recv_message()
        shown = stream.peer.cert()
        self.shown_to_grpc.append(shown and shown["subjectAltName"])
        await stream.send_message(b"")

    def context(self, *names: str) -> ssl.SSLContext:
        files = TlsFiles(str(self.clients.file), str(self.ours.issue("server.pem", *names)))
        return server_context(files, ("h2", "http/1.1"), clients_need_one=True)


@asynccontextmanager
async def branches(folder: Path, *names: str) -> AsyncIterator[Branches]:
    made = Branches(folder)
    async with AsyncExitStack() as stack:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", made.answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, HOST, made.http_port, ssl_context=made.context(*names)).start()
        server = BreakingServer([made], codec=RawCodec())
        await server.start(HOST, made.grpc_port, ssl=made.context(*names))
        stack.push_async_callback(server.wait_closed)
        stack.callback(server.close)
        yield made


class Found:
    """A registry that knows these endpoints, whatever is looked for."""

    def __init__(self, *endpoints: str) -> None:
        self._endpoints = endpoints
        self.asked: list[str] = []

    async def endpoints(self, target: str) -> Sequence[str]:
        self.asked.append(target)
        return self._endpoints

    async def close(self) -> None:
        pass


async def call(
    url: str, files: TlsFiles, *, balancer: str = "", found: Found | None = None
) -> tuple[Result, str]:
    names = Names(look_up=lambda _: [HOST])
    resolver = found or open_resolver(names, balancer=balancer)
    caller = BranchCaller(resolver, names=names, tls=ClientTls(files, "branches"))
    transaction = Transaction("g1", "saga", Status.SUBMITTED, "grpc")
    try:
        answer = await caller.call(transaction, Branch("g1", "01", "action", url, b"{}"), timeout=10)
    finally:
        await caller.close()
        await resolver.close()
        await names.close()
    return answer.result, answer.text


@pytest.mark.parametrize("balancer", ["", "round_robin"])
async def test_branches_with_a_ca_of_their_own_that_ask_for_our_certificate(
    tmp_path: Path, balancer: str
) -> None:
    async with branches(tmp_path, "localhost", "shop.example") as made:
        files = TlsFiles(str(made.ours.file), made.shown)
        for host in ("localhost", "shop.example"):
            for url in made.urls(host):
                assert await call(url, files, balancer=balancer) == (Result.SUCCESS, ""), url
        assert made.seen == [f"https localhost:{made.http_port}", f"https shop.example:{made.http_port}"]
        assert made.shown_to_grpc == [(("DNS", "coordinator"),)] * 2


@pytest.mark.parametrize("scheme", ["grpcs+etcd", "GRPCS+discov"])
async def test_a_service_in_etcd_is_known_by_its_name_wherever_it_runs(tmp_path: Path, scheme: str) -> None:
    async with branches(tmp_path, "user.rpc") as made:
        found = Found(f"{HOST}:{made.grpc_port}")
        files = TlsFiles(str(made.ours.file), made.shown)
        for key, expected in (("user.rpc", Result.SUCCESS), ("score.rpc", Result.UNKNOWN)):
            url = f"{scheme}://h1:2379,h2:2379/{key}/user.User/saveUser"
            result, text = await call(url, files, found=found)
            assert result is expected
            assert ("Hostname mismatch" in text) is (result is Result.UNKNOWN)
        assert found.asked[0] == "etcd://h1:2379,h2:2379/user.rpc"
        plain, _ = await call("etcd://h1:2379/user.rpc/user.User/saveUser", files, found=found)
        assert plain is Result.UNKNOWN


async def test_several_hosts_are_known_by_a_certificate_each(tmp_path: Path) -> None:
    async with branches(tmp_path, "a.example", "b.example") as made:
        files, port = TlsFiles(str(made.ours.file), made.shown), made.grpc_port
        for hosts in (f"a.example:{port},b.example:{port}", f"a.example:{port}"):
            for scheme in ("grpcs+direct:///", "grpcs://"):
                url = f"{scheme}{hosts}/user.User/saveUser"
                assert await call(url, files) == (Result.SUCCESS, "")
        assert await call(f"grpcs+dns:///a.example:{port}/user.User/saveUser", files) == (Result.SUCCESS, "")
        result, text = await call(f"grpcs+dns:///c.example:{port}/user.User/saveUser", files)
        assert (result, "Hostname mismatch" in text) == (Result.UNKNOWN, True)


async def test_an_address_is_known_by_its_certificate_too(tmp_path: Path) -> None:
    async with branches(tmp_path, HOST) as made:
        for url in made.urls(HOST):
            assert await call(url, TlsFiles(str(made.ours.file), made.shown)) == (Result.SUCCESS, "")


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("nobody vouches for it", "certificate verify failed"),
        ("of another host", "certificate verify failed: Hostname mismatch"),
        ("we show none", ""),
        ("we show one of another ca", ""),
    ],
)
async def test_a_branch_that_is_not_who_was_asked_for_or_does_not_know_us(
    tmp_path: Path, why: str, text: str
) -> None:
    """No result, never FAILURE; nothing was sent."""
    async with branches(tmp_path) as made:
        ca = made.others.file if why == "nobody vouches for it" else made.ours.file
        shown = {
            "we show none": "",
            "we show one of another ca": str(made.others.issue("x.pem", "x")),
        }.get(why, made.shown)
        for url in made.urls("elsewhere.example" if why == "of another host" else "localhost"):
            result, said = await call(url, TlsFiles(str(ca), shown))
            assert result is Result.UNKNOWN
            assert text in said
        assert (made.seen, made.shown_to_grpc) == ([], [])


async def test_two_names_of_one_address_need_a_certificate_each(tmp_path: Path) -> None:
    """A connection that was made for one name carries no call to another."""
    async with branches(tmp_path, "shop.example") as made:
        names = Names(look_up=lambda _: [HOST])
        resolver = open_resolver(names, balancer="round_robin")
        tls = ClientTls(TlsFiles(str(made.ours.file), made.shown), "branches")
        caller = BranchCaller(resolver, names=names, tls=tls)
        transaction = Transaction("g1", "saga", Status.SUBMITTED, "grpc")
        results = []
        for host in ("shop.example", "elsewhere.example", "shop.example"):
            branch = Branch("g1", "01", "action", made.urls(host)[1], b"{}")
            results.append((await caller.call(transaction, branch, timeout=10)).result)
        await caller.close()
        await resolver.close()
        await names.close()
        assert results == [Result.SUCCESS, Result.UNKNOWN, Result.SUCCESS]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_a_plain_call_of_an_encrypted_port_and_the_reverse_have_no_result(
    tmp_path: Path, protocol: str
) -> None:
    async with branches(tmp_path) as made:
        files = TlsFiles(str(made.ours.file), made.shown)
        url = made.urls()[protocol == "grpc"].replace("https", "http").replace("grpcs://", "")
        assert (await call(url, files))[0] is Result.UNKNOWN

        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(plain, HOST, 0) as server:
            port = server.sockets[0].getsockname()[1]
            url = {"http": f"https://localhost:{port}/", "grpc": f"grpcs://localhost:{port}/a.B/C"}[protocol]
            assert (await call(url, files))[0] is Result.UNKNOWN
