"""How connections to branches are made, kept and closed, over real sockets (PROTOCOL §10)."""

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import chain
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from coordinator.calls.base import Answer
from coordinator.calls.connect import Reach
from coordinator.calls.http_connection import Reply
from coordinator.calls.http_pool import HttpPool
from coordinator.calls.places import Places
from coordinator.calls.router import BranchCaller
from coordinator.calls.url import parse_http_url
from coordinator.discovery.names import Names
from coordinator.discovery.open import open_resolver
from coordinator.model import Branch, Result, Status, Transaction
from tests.support.grpc_server import RawCodec
from tests.support.ports import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class HttpBranch:
    """Answers every request, after as long as `may_answer` is not set, and notes its connections."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[int] = []  # by the number of their connection
        self.closed = [asyncio.Event() for _ in range(10)]  # by the same
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.asked = asyncio.Event()
        self._connections = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self._connections
        self._connections += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests.append(number)
                self.asked.set()
                await self.may_answer.wait()
                writer.write(OK)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed[number].set()
        finally:
            writer.close()


@asynccontextmanager
async def http_branch(
    host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[HttpBranch]:
    branch = HttpBranch()
    server = await asyncio.start_server(branch.handle, host, port, ssl=tls)
    branch.port = server.sockets[0].getsockname()[1]
    try:
        yield branch
    finally:
        branch.may_answer.set()
        server.close()


@asynccontextmanager
async def calling(*addresses: str) -> AsyncIterator[BranchCaller]:
    """Every host has these addresses."""
    names = Names(look_up=lambda _: list(addresses) or ["127.0.0.1"])
    resolver = open_resolver(names)
    caller = BranchCaller(resolver, names=names)
    try:
        yield caller
    finally:
        await caller.close()
        await resolver.close()
        await names.close()


async def call(caller: BranchCaller, url: str, *, protocol: str = "http", timeout: float = 10) -> Answer:
    payload = b"x" if protocol == "grpc" else b""
    transaction = Transaction("g1", "saga", Status.SUBMITTED, protocol)
    return await caller.call(transaction, Branch("g1", "01", "action", url, payload), timeout=timeout)


# ---- kept, and closed --------------------------------------------------------------------------------------


async def test_a_connection_that_nobody_uses_is_closed_and_the_one_used_last_goes_on() -> None:
    names = Names()
    pool = HttpPool(Reach(names, Places()), body_bytes_max=1000, idle_seconds=0.3)
    async with http_branch() as branch:
        url = parse_http_url(f"http://127.0.0.1:{branch.port}/")

        async def exchange() -> None:
            reply = Reply(is_followed=False)
            await pool.exchange(url, b"GET / HTTP/1.1\r\n\r\n", reply)
            assert bytes(reply.body) == b"ok"

        await asyncio.gather(exchange(), exchange())
        assert sorted(branch.requests) == [0, 1]
        [used] = {0, 1} - {await _first_closed(branch, exchange)}
        assert set(branch.requests[2:]) == {used}
        await asyncio.wait_for(branch.closed[used].wait(), 30)
    await pool.close()
    await names.close()


async def _first_closed(branch: HttpBranch, exchange: object) -> int:
    """Go on with exchanges until a connection is closed; returns its number."""
    assert callable(exchange)
    async with asyncio.timeout(30):
        while True:
            for number in range(2):
                if branch.closed[number].is_set():
                    return number
            await exchange()
            await asyncio.sleep(0.02)


async def test_an_answer_after_the_deadline_is_not_given_to_the_next_call() -> None:
    async with http_branch() as branch, calling() as caller:
        url = f"http://127.0.0.1:{branch.port}/"
        assert (await call(caller, url)).result is Result.SUCCESS
        branch.may_answer.clear()
        assert "gave no answer within 0.1 s" in (await call(caller, url, timeout=0.1)).text
        branch.may_answer.set()
        await asyncio.wait_for(branch.closed[0].wait(), 30)
        assert (await call(caller, url)).result is Result.SUCCESS
        assert branch.requests == [0, 0, 1]


async def test_closing_ends_idle_connections_and_those_in_use() -> None:
    async with http_branch() as branch:
        async with calling() as caller:
            url = f"http://127.0.0.1:{branch.port}/"
            await asyncio.gather(*(call(caller, url) for _ in range(2)))
            branch.may_answer.clear()
            branch.asked.clear()
            running = asyncio.create_task(call(caller, url, timeout=30))
            await branch.asked.wait()
        assert (await running).text == "the coordinator is stopping"
        branch.may_answer.set()
        for number in range(2):
            await asyncio.wait_for(branch.closed[number].wait(), 30)


async def test_a_payload_that_a_slow_branch_takes_bit_by_bit_arrives_whole() -> None:
    payload = bytes(range(256)) * 20_000
    seen = bytearray()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while len(seen) < len(payload):
            seen.extend(await reader.read(65_536))
            await asyncio.sleep(0)
        writer.write(OK)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0, limit=1024) as server, calling() as caller:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        transaction = Transaction("g1", "saga", Status.SUBMITTED, "http")
        answer = await caller.call(transaction, Branch("g1", "01", "action", url, payload), timeout=20)
    assert answer.result is Result.SUCCESS
    assert seen == payload


@pytest.mark.parametrize("seed", range(3))
async def test_no_call_gets_the_answer_of_another(seed: int) -> None:
    """Answers come late, in pieces, with more behind them, or after their call was given up."""
    chance = random.Random(seed)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                gid = (await reader.readuntil(b"\r\n\r\n")).split(b"gid=")[1].split(b"&")[0]
                answer = b"HTTP/1.1 409 x\r\nContent-Length: %d\r\n\r\n%s" % (len(gid), gid)
                at = chance.randrange(len(answer))
                for piece in (answer[:at], answer[at:] + (answer if chance.random() < 0.1 else b"")):
                    await asyncio.sleep(chance.choice((0, 0.01, 0.06)))
                    writer.write(piece)
                if chance.random() < 0.1:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server, calling() as caller:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

        async def some_calls(worker: int) -> list[tuple[str, Answer]]:
            made = []
            for number in range(40):
                gid = f"g-{worker}-{number}"
                transaction = Transaction(gid, "saga", Status.SUBMITTED, "http")
                timeout = chance.choice((0.001, 0.05, 5))
                answer = await caller.call(
                    transaction, Branch(gid, "01", "action", url, b""), timeout=timeout
                )
                made.append((gid, answer))
            return made

        made = list(chain.from_iterable(await asyncio.gather(*map(some_calls, range(8)))))
    answered = [(gid, answer.text) for gid, answer in made if answer.result is Result.FAILURE]
    assert 100 < len(answered) < len(made)
    for gid, text in answered:
        said = text.partition("(")[0].strip()
        assert said == gid or (gid.startswith(said) and "gave no answer within" in text), (gid, text)


# ---- several addresses -------------------------------------------------------------------------------------


@asynccontextmanager
async def branch_at(protocol: str, port: int) -> AsyncIterator[str]:
    """Serve a branch at this port of 127.0.0.1; yields its url, by a name."""
    if protocol == "http":
        async with http_branch(port=port):
            yield f"http://branch.test:{port}/"
        return

    async def save(stream: "Stream[bytes, bytes]") -> None:
        await stream.recv_message()
        await stream.send_message(b"")

    class Service:
        def __mapping__(self) -> dict[str, Handler]:
            return {"/user.User/save": Handler(save, Cardinality.UNARY_UNARY, bytes, bytes)}

    server = Server([Service()], codec=RawCodec())
    await server.start("127.0.0.1", port)
    try:
        yield f"branch.test:{port}/user.User/save"
    finally:
        server.close()
        await server.wait_closed()


@contextmanager
def silent(host: str, port: int) -> Iterator[None]:
    """An address that takes no connection and refuses none, as behind a firewall."""
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(5):  # what the system takes by itself
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("is_silent", [False, True], ids=["refuses", "is silent"])
async def test_an_address_that_takes_no_connection_delays_a_call_but_does_not_fail_it(
    protocol: str, is_silent: bool
) -> None:
    """Whichever of the addresses comes first."""
    port = free_port()
    with ExitStack() as stack:
        if is_silent:
            stack.enter_context(silent("127.0.0.2", port))
        for addresses in (("127.0.0.2", "127.0.0.1"), ("127.0.0.1", "127.0.0.2")):
            async with AsyncExitStack() as servers:
                url = await servers.enter_async_context(branch_at(protocol, port))
                caller = await servers.enter_async_context(calling(*addresses))
                assert (await call(caller, url, protocol=protocol, timeout=3)).result is Result.SUCCESS


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_when_no_address_takes_a_connection_the_answer_says_so(protocol: str) -> None:
    tail = "/user.User/save" if protocol == "grpc" else "/"
    scheme = "" if protocol == "grpc" else "http://"
    async with calling("127.0.0.1", "127.0.0.2") as caller:
        answer = await call(caller, f"{scheme}branch.test:{free_port()}{tail}", protocol=protocol)
    assert answer.result is Result.UNKNOWN
    assert "cannot connect" in answer.text


# ---- TLS ---------------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A server's context with a certificate for `name` that signs itself, at `folder`/ca.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    alternative = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize(
    ("host", "is_trusted", "result"),
    [
        ("branch.test", True, Result.SUCCESS),
        ("branch.test.", True, Result.SUCCESS),
        ("127.0.0.1", True, Result.SUCCESS),
        ("other.test", True, Result.UNKNOWN),
        ("branch.test", False, Result.UNKNOWN),
    ],
)
@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("127.0.0.1", "127.0.0.2")], ids=["one", "two"])
async def test_an_https_branch_is_called_when_its_certificate_is_trusted_and_of_its_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    is_trusted: bool,
    result: Result,
    addresses: tuple[str, ...],
) -> None:
    tls = certificate(tmp_path, "branch.test")
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with http_branch(tls=tls) as branch, calling(*addresses) as caller:
        url = f"https://{host}:{branch.port}/"
        for _ in range(2):
            answer = await call(caller, url)
            assert answer.result is result
            assert answer.result is Result.SUCCESS or "TLS failed" in answer.text
        assert branch.requests == ([0, 0] if result is Result.SUCCESS else [])


async def test_an_address_with_which_tls_fails_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever comes first: one closes what comes to it."""
    tls = certificate(tmp_path, "branch.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    closed = 0

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal closed
        closed += 1
        writer.close()

    async with http_branch(tls=tls) as branch, await asyncio.start_server(close, "127.0.0.2", branch.port):
        for addresses in (("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "127.0.0.1")):
            async with calling(*addresses) as caller:
                answer = await call(caller, f"https://branch.test:{branch.port}/")
                assert answer.result is Result.SUCCESS
    assert closed == 1
