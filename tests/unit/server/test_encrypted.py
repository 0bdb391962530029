"""Both ports behind TLS: who is let in, a certificate that changes under load, and who is told of it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from grpclib.client import Channel
from grpclib.exceptions import GRPCError

from coordinator import tls
from coordinator.cli.asked import Coordinator as Asked
from coordinator.cli.connect import try_to_connect
from coordinator.cli.exits import Ended
from coordinator.cli.health import health_of
from coordinator.cli.profile import Profile
from coordinator.client import Dtm, DtmError, InvalidUse, Unreachable
from coordinator.clock import SystemClock
from coordinator.config.access import Access
from coordinator.config.network import Tls
from coordinator.config.settings import Settings
from coordinator.config.store import Store
from coordinator.proto.dtmgimp import DtmRequest, DtmStub
from coordinator.server.handed_out import store_config
from coordinator.server.server import Server
from coordinator.store.open import open_store
from coordinator.tls import TlsFiles, client_context
from tests.support.certificates import Authority
from tests.support.ports import HOST, free_port


class Coordinator:
    """One that shows a certificate of `ours`, and knows its clients by `clients`."""

    def __init__(
        self, folder: Path, *, expires_in: timedelta, clients: str, access: Access | None = None
    ) -> None:
        self.ours, self.clients = Authority(folder, "ours"), Authority(folder, "clients")
        self.renew(expires_in)
        self.shown = self.clients.issue("client.pem", "shop")
        self.settings = Settings(
            host=HOST,
            http_port=free_port(),
            grpc_port=free_port(),
            store=Store(path=folder / "dtm.db"),
            access=access or Access(),
            tls=Tls(
                cert_file=str(folder / "server.pem"),
                client_ca_file=str(self.clients.file) if clients else "",
                clients=clients or "required",
            ),
        )
        self.url = f"https://localhost:{self.settings.http_port}"
        self.server = Server(self.settings, reset=False)

    def renew(self, expires_in: timedelta = timedelta(days=90)) -> None:
        self.ours.issue("server.pem", "localhost", expires_in=expires_in)

    def context(self, alpn: str = "", *, shown: bool = True) -> ssl.SSLContext:
        return client_context(TlsFiles(str(self.ours.file), str(self.shown) if shown else ""), alpn)

    @asynccontextmanager
    async def session(self, *, shown: bool = True, keep: bool = True) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.TCPConnector(ssl=self.context(shown=shown), force_close=not keep)
        async with aiohttp.ClientSession(self.url, connector=connector) as session:
            yield session

    async def new_gid(self, *, shown: bool = True) -> str:
        """Over gRPC."""
        context = self.context("h2", shown=shown)
        async with Channel("localhost", self.settings.grpc_port, ssl=context) as channel:
            return (await DtmStub(channel).new_gid(timeout=10)).gid

    async def serial(self) -> str:
        """Of the certificate that a new connection is shown."""
        _, writer = await asyncio.open_connection(
            "localhost", self.settings.http_port, ssl=self.context(), server_hostname="localhost"
        )
        serial: str = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
        return serial


@asynccontextmanager
async def coordinator(
    folder: Path,
    *,
    expires_in: timedelta = timedelta(days=90),
    clients: str = "",
    access: Access | None = None,
) -> AsyncIterator[Coordinator]:
    made = Coordinator(folder, expires_in=expires_in, clients=clients, access=access)
    said = await made.server.start()
    assert f"https://{HOST}:{made.settings.http_port}/api/ready" in said
    try:
        yield made
    finally:
        await made.server.stop()


async def test_calls_over_both_protocols(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as one, one.session(shown=False) as session:
        for _ in range(2):  # over one connection
            async with session.get("/api/dtmsvr/newGid") as answer:
                assert (answer.status, "gid" in await answer.json()) == (200, True)
        body = {"gid": "g", "trans_type": "saga", "steps": [], "payloads": [], "custom_data": "x" * 1000}
        async with session.post("/api/dtmsvr/submit", json=body | {"custom_data": ""}) as answer:
            assert answer.status == 200
        assert await one.new_gid(shown=False)


@pytest.mark.parametrize("clients", ["required", "optional"])
async def test_clients_are_known_by_their_certificates(tmp_path: Path, clients: str) -> None:
    async with coordinator(tmp_path, clients=clients) as one:
        async with one.session() as session, session.get("/api/ping") as answer:
            assert answer.status == 200
        assert await one.new_gid()
        if clients == "optional":
            assert await one.new_gid(shown=False)
            return
        async with one.session(shown=False) as session:
            with pytest.raises((aiohttp.ClientError, OSError)):
                await session.get("/api/ping")
        with pytest.raises(Exception, match=r"(?i)connection|terminated|lost|alert|ssl"):
            await one.new_gid(shown=False)


async def test_plain_text_at_an_encrypted_port_is_closed_and_others_go_on(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as one:
        for port in (one.settings.http_port, one.settings.grpc_port):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"GET /api/ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(30):
                with suppress(ConnectionError):
                    assert not (await reader.read()).startswith(b"HTTP")
            writer.close()
        assert await one.new_gid()


async def test_who_never_begins_to_speak_tls_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.1)
    async with coordinator(tmp_path) as one:
        for port in (one.settings.http_port, one.settings.grpc_port):
            reader, writer = await asyncio.open_connection(HOST, port)
            async with asyncio.timeout(30):
                with suppress(ConnectionError):
                    assert await reader.read() == b""
            writer.close()


async def test_a_certificate_that_changes_under_load_fails_no_call(tmp_path: Path) -> None:
    async with coordinator(tmp_path, clients="required") as one:
        first, stop, calls = await one.serial(), asyncio.Event(), 0

        async def load(keep: bool) -> None:
            nonlocal calls
            async with one.session(keep=keep) as session:
                while not stop.is_set():
                    async with session.get("/api/ping") as answer:
                        assert answer.status == 200
                    calls += 1

        async def load_grpc() -> None:
            while not stop.is_set():
                assert await one.new_gid()

        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(load(keep=number % 2 == 0))
            group.create_task(load_grpc())
            for _ in range(5):
                one.renew()
                await one.server._certificates.beat()
                assert await one.serial() != first
                first = await one.serial()
            stop.set()
        assert calls > 20


async def test_people_are_told_before_a_certificate_expires(tmp_path: Path) -> None:
    async with coordinator(tmp_path, expires_in=timedelta(days=3)) as one, one.session() as session:
        async with session.get("/api/ready") as answer:
            ready = await answer.json()
        assert "the certificate of Tls.CertFile expires on 20" in str(ready)
        async with session.get("/api/metrics") as answer:
            lines = [line for line in (await answer.text()).split("\n") if "dtm_certificate_expires" in line]
        assert any(
            line.startswith('dtm_certificate_expires_timestamp_seconds{key="Tls.CertFile"} 1')
            for line in lines
        )
        one.renew()
        await one.server._certificates.beat()
        async with session.get("/api/ready") as answer:
            assert "certificate" not in await answer.text()
        (tmp_path / "server.pem").write_text("nothing")
        await one.server._certificates.beat()
        async with session.get("/api/ready") as answer:
            assert "is still the old one" in await answer.text()


@pytest.mark.parametrize(("days", "is_fine"), [(90, True), (3, False), (-3, False)])
async def test_check_says_until_when_certificates_hold(tmp_path: Path, days: int, is_fine: bool) -> None:
    made = Coordinator(tmp_path, expires_in=timedelta(days=days), clients="")
    *_, tried = [it async for it in try_to_connect(made.settings)]
    assert (tried.part, tried.is_reached) == ("certificates", is_fine)
    assert "Tls.CertFile" in tried.said


@pytest.mark.parametrize("clients", ["", "optional"])
async def test_health_asks_an_encrypted_port(tmp_path: Path, clients: str) -> None:
    async with coordinator(tmp_path, clients=clients) as one:
        _, said = await asyncio.to_thread(health_of, one.settings)
        assert said.startswith("https://127.0.0.1:")
        assert said.endswith((": ready", '"has not looked yet"}}')), said  # it started a moment ago


KNOWN = "DNS:orders.svc service name=orders gids=orders-, URI:spiffe://shop/anna operator name=anna"


async def made_calls(one: Coordinator, shown: Path, headers: Mapping[str, str] | None = None) -> list[int]:
    """Statuses of a submit of its own gid, of another's, of a stop; then those of gRPC for the same."""
    one.shown = shown
    saga = {"trans_type": "saga", "steps": [], "payloads": []}
    calls: list[tuple[str, Any]] = [
        ("submit", {"gid": "orders-1", **saga}),
        ("submit", {"gid": "other-1", **saga}),
        ("forceStop", {"gid": "orders-1"}),
    ]
    statuses = []
    async with one.session() as session:
        for call, body in calls:
            async with session.post(f"/api/dtmsvr/{call}", json=body, headers=headers) as answer:
                statuses.append(answer.status)
    metadata = {name.lower(): value for name, value in (headers or {}).items()}
    async with Channel("localhost", one.settings.grpc_port, ssl=one.context("h2")) as channel:
        for gid in ("orders-2", "other-2"):
            try:
                request = DtmRequest(gid=gid, trans_type="saga", steps="[]")
                await DtmStub(channel).submit(request, timeout=10, metadata=metadata)
                statuses.append(0)
            except GRPCError as error:
                statuses.append(error.status.value)
    return statuses


@pytest.mark.parametrize("mode", ["operators", "all"])
async def test_a_name_in_the_certificate_says_who_it_is(tmp_path: Path, mode: str) -> None:
    access = Access(mode=mode, certificates=KNOWN)
    async with coordinator(tmp_path, clients="required", access=access) as one:
        orders = one.clients.issue("orders.pem", "other.svc", "orders.svc")
        assert await made_calls(one, orders) == [200, 403, 403, 0, 7]
        anna = one.clients.issue_any("anna.pem", [x509.UniformResourceIdentifier("spiffe://shop/anna")])
        may_submit = mode == "operators"  # 409: let in, and too late
        assert (await made_calls(one, anna))[:3] == [*([409, 200] if may_submit else [403, 403]), 409]
        stranger = one.clients.issue_any("stranger.pem", [x509.DNSName("orders.svc.evil")], "orders.svc")
        proxied = {"X-Forwarded-Client-Cert": 'URI="spiffe://shop/anna"', "X-Client-Cert": "orders.svc"}
        expected = [409, 409, 401, 10, 10] if may_submit else [401, 401, 401, 16, 16]
        assert await made_calls(one, stranger, proxied) == expected
        bad = {"Authorization": f"Bearer dtm_{'0' * 12}_{'0' * 64}_00000000"}  # never falls back
        assert await made_calls(one, orders, bad) == [401, 401, 401, 16, 16]
    stopped = [row for row in await audited(one) if row["action"] == "stop"]
    assert [(row["who"], row["method"], row["target"]) for row in stopped] == [
        ("anna", "certificate", "orders-1")
    ]


async def audited(one: Coordinator) -> Sequence[Mapping[str, Any]]:
    config = store_config(one.settings, None)
    store = await open_store(config, clock=SystemClock(), zone=None, wait_seconds=5.0)
    try:
        return await store.audit.latest(100)
    finally:
        await store.close()


async def test_where_clients_need_no_certificate_who_shows_none_is_a_stranger(tmp_path: Path) -> None:
    access = Access(mode="all", certificates=KNOWN)
    async with coordinator(tmp_path, clients="optional", access=access) as one:
        async with one.session(shown=False) as session, session.get("/api/dtmsvr/newGid") as answer:
            assert answer.status == 401
        one.shown = one.clients.issue("orders.pem", "orders.svc")
        assert (await one.new_gid()).startswith("orders-")
        with pytest.raises(GRPCError, match="needs a credential"):
            await one.new_gid(shown=False)


@pytest.mark.parametrize("scheme", ["https", "grpcs", "direct", "several"])
async def test_our_own_client_shows_a_certificate_and_knows_the_coordinators(
    tmp_path: Path, scheme: str
) -> None:
    access = Access(mode="all", certificates=KNOWN)
    async with coordinator(tmp_path, clients="required", access=access) as one:
        url = {
            "https": one.url,
            "grpcs": f"grpcs://localhost:{one.settings.grpc_port}",
            "direct": f"direct:///localhost:{one.settings.grpc_port}",
            "several": f"{one.url},{one.url}",
        }[scheme]
        one.shown = one.clients.issue("orders.pem", "orders.svc")
        async with Dtm(url, tls=one.context()) as dtm:
            assert (await dtm.saga("orders-1").add("").submit()).gid == "orders-1"
            with pytest.raises(DtmError, match="may use gids that begin with 'orders-' alone"):
                await dtm.saga("other-1").add("").submit()
        for context in (one.context(shown=False), ssl.create_default_context()):
            async with Dtm(url, tls=context, timeout=0.5) as dtm:
                with pytest.raises(Unreachable):
                    await dtm.saga("orders-2").add("").submit()


async def test_our_own_client_trusts_whom_the_system_trusts_unless_told(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as one:
        for url in (one.url, f"grpcs://localhost:{one.settings.grpc_port}"):
            async with Dtm(url, timeout=0.5) as dtm:
                with pytest.raises(Unreachable):
                    await dtm.saga("g").add("").submit()
    for url in ("http://localhost", "grpc://localhost", "https://a,http://b"):
        with pytest.raises(InvalidUse, match="is a plain connection; write https:// or grpcs://"):
            Dtm(url, tls=ssl.create_default_context())


async def test_commands_show_a_certificate(tmp_path: Path) -> None:
    access = Access(mode="all", certificates="DNS:anna operator")
    async with coordinator(tmp_path, clients="required", access=access) as one:
        shown = str(one.clients.issue("anna.pem", "anna"))
        profile = Profile(one.url, ca_file=str(one.ours.file), cert_file=shown)
        asked = await asyncio.to_thread(Asked(profile).get, "/api/dtmsvr/all")
        assert asked["transactions"] == []
        without = Asked(replace(profile, cert_file=""))
        with pytest.raises(Ended, match="cannot be reached"):
            await asyncio.to_thread(without.get, "/api/dtmsvr/all")
        with pytest.raises(Ended, match="cannot be used for TLS"):
            Asked(replace(profile, cert_file=str(tmp_path / "nothing"))).get("/api/dtmsvr/all")
