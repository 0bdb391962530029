"""Contexts of TLS follow their files; what cannot be used is named, and changes nothing."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coordinator.errors import StartError
from coordinator.tls import ClientTls, ServerTls, TlsFiles, client_context
from tests.support.certificates import Authority

HOST = "127.0.0.1"


def served(cert: Path, ca: Path | None = None, *, clients_need_one: bool = True) -> ServerTls:
    files = TlsFiles(str(ca or ""), str(cert))
    return ServerTls(files, "Tls.CertFile", alpn=("h2", "http/1.1"), clients_need_one=clients_need_one)


@asynccontextmanager
async def listening(tls: ServerTls) -> AsyncIterator[int]:
    """A server that echoes one line and closes."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(await reader.readline())
            await writer.drain()
        except (ssl.SSLError, ConnectionError):
            pass
        writer.close()

    async with await asyncio.start_server(echo, HOST, 0, ssl=tls.context) as server:
        yield server.sockets[0].getsockname()[1]


async def serial_at(port: int, tls: ClientTls, *, name: str | None = "localhost", alpn: str = "") -> str:
    """Connect, say a line and hear it back; the serial number of the certificate that was shown."""
    reader, writer = await asyncio.open_connection(
        HOST, port, ssl=tls.context(alpn), server_hostname=name or HOST
    )
    try:
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        connection = writer.get_extra_info("ssl_object")
        assert connection.selected_alpn_protocol() == (alpn or None)
        serial: str = connection.getpeercert()["serialNumber"]
        return serial
    finally:
        writer.close()


async def test_both_sides_with_a_ca_of_their_own(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    server = served(ours.issue("server.pem"), theirs.file)
    client = ClientTls(TlsFiles(str(ours.file), str(theirs.issue("client.pem", "client"))), "branches")
    async with listening(server) as port:
        for alpn in ("", "h2", "http/1.1"):
            await serial_at(port, client, alpn=alpn)


@pytest.mark.parametrize(
    ("why", "problem"),
    [
        ("wrong ca", "self-signed certificate|unable to get local issuer"),
        ("wrong name", "Hostname mismatch|not valid for 'elsewhere'"),
        ("expired", "expired"),
        ("whom the system trusts", "self-signed certificate|unable to get local issuer"),
    ],
)
async def test_a_server_that_is_not_who_was_asked_for(tmp_path: Path, why: str, problem: str) -> None:
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    ends = timedelta(days=-1) if why == "expired" else timedelta(days=1)
    trusted = {"wrong ca": str(others.file), "whom the system trusts": ""}.get(why, str(ours.file))
    client = ClientTls(TlsFiles(trusted), "branches")
    async with listening(served(ours.issue("server.pem", expires_in=ends))) as port:
        with pytest.raises(ssl.SSLError, match=problem):
            await serial_at(port, client, name="elsewhere" if why == "wrong name" else "localhost")


@pytest.mark.parametrize("shows", ["nothing", "one of another ca", "an expired one"])
@pytest.mark.parametrize("clients_need_one", [True, False])
async def test_a_client_without_a_certificate_that_counts(
    tmp_path: Path, shows: str, clients_need_one: bool
) -> None:
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    shown = {
        "nothing": "",
        "one of another ca": str(others.issue("client.pem", "client")),
        "an expired one": str(ours.issue("old.pem", "client", expires_in=timedelta(days=-1))),
    }[shows]
    client = ClientTls(TlsFiles(str(ours.file), shown), "branches")
    server = served(ours.issue("server.pem"), ours.file, clients_need_one=clients_need_one)
    async with listening(server) as port:
        if shows == "nothing" and not clients_need_one:
            await serial_at(port, client)
            return
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await serial_at(port, client)


@pytest.mark.parametrize("name", ["localhost", None])
async def test_a_new_certificate_is_shown_to_new_connections(tmp_path: Path, name: str | None) -> None:
    """Whether the client names the server or connects to its address."""
    ours = Authority(tmp_path)
    server = served(ours.issue("server.pem"))
    client = ClientTls(TlsFiles(str(ours.file)), "branches")
    async with listening(server) as port:
        first = await serial_at(port, client, name=name)
        server.renew()
        assert await serial_at(port, client, name=name) == first
        ours.issue("server.pem")
        server.renew()
        second = await serial_at(port, client, name=name, alpn="h2")
        assert second != first


async def test_a_new_ca_of_clients_counts_and_the_old_one_does_not(tmp_path: Path) -> None:
    ours, old, new = Authority(tmp_path), Authority(tmp_path, "old"), Authority(tmp_path, "new")
    ca = tmp_path / "clients.pem"
    ca.write_bytes(old.file.read_bytes())
    server = served(ours.issue("server.pem"), ca)
    known = ClientTls(TlsFiles(str(ours.file), str(old.issue("o.pem", "client"))), "branches")
    newcomer = ClientTls(TlsFiles(str(ours.file), str(new.issue("n.pem", "client"))), "branches")
    async with listening(server) as port:
        await serial_at(port, known)
        ca.write_bytes(new.file.read_bytes() + b"\n")
        server.renew()
        await serial_at(port, newcomer)
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await serial_at(port, known)


def resumed(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
    """Say a line and hear it back; the session to go on with. Blocks."""
    with (
        socket.create_connection((HOST, port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
    ):
        connection.sendall(b"hello\n")
        assert connection.recv(100) == b"hello\n"
        return connection.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_nobody_goes_on_with_a_session_whose_ca_counts_no_more(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    ours, old, new = Authority(tmp_path), Authority(tmp_path, "old"), Authority(tmp_path, "new")
    ca = tmp_path / "clients.pem"
    ca.write_bytes(old.file.read_bytes())
    server = served(ours.issue("server.pem"), ca)
    context = client_context(TlsFiles(str(ours.file), str(old.issue("o.pem", "client"))))
    context.maximum_version = version
    async with listening(server) as port:
        session = await asyncio.to_thread(resumed, port, context, None)
        ours.issue("server.pem")
        server.renew()
        session = await asyncio.to_thread(resumed, port, context, session)  # a new certificate is no matter
        ca.write_bytes(new.file.read_bytes() + b"\n")
        server.renew()
        for given in (session, None):
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                await asyncio.to_thread(resumed, port, context, given)
        newcomer = client_context(TlsFiles(str(ours.file), str(new.issue("n.pem", "client"))))
        newcomer.maximum_version = version
        await asyncio.to_thread(resumed, port, newcomer, None)


async def test_a_client_follows_its_files(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    ca = tmp_path / "trusted.pem"
    ca.write_bytes(theirs.file.read_bytes())
    client = ClientTls(TlsFiles(str(ca)), "branches")
    async with listening(served(ours.issue("server.pem"))) as port:
        with pytest.raises(ssl.SSLError):
            await serial_at(port, client)
        ca.write_bytes(ours.file.read_bytes() + b"\n")
        client.renew()
        await serial_at(port, client)


@pytest.mark.parametrize("content", [b"", b"no certificate", None])
async def test_what_cannot_be_used_changes_nothing_until_it_can(
    tmp_path: Path, content: bytes | None
) -> None:
    ours = Authority(tmp_path)
    file = ours.issue("server.pem", expires_in=timedelta(days=30))
    server, client = served(file), ClientTls(TlsFiles(str(ours.file)), "branches")
    async with listening(server) as port:
        first = await serial_at(port, client)
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        server.renew()
        assert server.problem.startswith("the certificate of Tls.CertFile is still the old one: ")
        assert str(file) in server.problem
        assert await serial_at(port, client) == first
        ours.issue("server.pem", expires_in=timedelta(days=60))
        server.renew()
        assert server.problem == ""
        assert await serial_at(port, client) != first
        assert server.expires_at is not None
        assert server.expires_at - datetime.now(UTC) > timedelta(days=50)


async def test_a_key_that_comes_after_its_certificate(tmp_path: Path) -> None:
    """Two files are never written at one moment."""
    ours = Authority(tmp_path)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def parts() -> tuple[bytes, bytes]:
        both = ours.issue("both.pem").read_bytes()
        at = both.index(b"-----BEGIN CERTIFICATE")
        return both[at:], both[:at]

    def write(file: Path, content: bytes) -> None:
        file.unlink(missing_ok=True)
        file.write_bytes(content)

    certificate, its_key = parts()
    write(cert, certificate)
    write(key, its_key)
    server = ServerTls(TlsFiles("", str(cert), str(key)), "Tls.CertFile", alpn=(), clients_need_one=True)
    client = ClientTls(TlsFiles(str(ours.file)), "branches")
    async with listening(server) as port:
        first = await serial_at(port, client)
        certificate, its_key = parts()
        write(cert, certificate)
        server.renew()
        assert "key values mismatch" in server.problem
        assert await serial_at(port, client) == first
        write(key, its_key)
        server.renew()
        assert await serial_at(port, client) != first


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: no such file or directory"),
        (b"", "holds nothing that can be used"),
        (b"hidden-word", "holds nothing that can be used"),
    ],
)
@pytest.mark.parametrize("which", ["ca", "cert"])
def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, which: str, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StartError) as caught:
        ClientTls(TlsFiles(**{which: str(file)}), "branches")
    assert problem in caught.value.message and str(file) in caught.value.message
    assert "hidden-word" not in str(caught.value)


def test_a_key_with_a_password_asks_nobody(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    cert = Authority(tmp_path).issue("cert.pem")
    plain = serialization.load_pem_private_key(cert.read_bytes(), None)
    key = tmp_path / "key.pem"
    key.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    with pytest.raises(StartError, match="holds nothing that can be used"):
        ClientTls(TlsFiles("", str(cert), str(key)), "branches")
