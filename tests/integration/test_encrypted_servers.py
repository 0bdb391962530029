"""MariaDB, PostgreSQL and etcd behind TLS: known by their certificates, or not spoken to."""

import shutil
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from coordinator.discovery.base import DiscoveryError
from coordinator.discovery.etcd import EtcdRegistration, EtcdTls
from coordinator.discovery.etcd_client import EtcdClient
from coordinator.discovery.etcd_resolver import EtcdResolver
from coordinator.errors import StartError
from coordinator.store.mysql import MySQLServer
from coordinator.store.postgres import PostgresServer as Postgres
from coordinator.store.probe import probe
from coordinator.tls import ClientTls, TlsFiles
from tests.support.certificates import Authority
from tests.support.ports import HOST, free_port
from tests.support.servers import EtcdServer, MariaDBServer, PostgresServer, _unprivileged_user


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("others"))


def trusting(authority: Authority) -> ClientTls:
    return ClientTls(TlsFiles(str(authority.file)), "Store.CertFile")


@pytest.fixture(scope="module")
def mariadb_over_tls(ours: Authority) -> Iterator[MariaDBServer]:
    cert = ours.issue("mariadb.pem")
    with MariaDBServer(f"--ssl-cert={cert}", f"--ssl-key={cert}") as server:
        yield server


@pytest.fixture(scope="module")
def postgres_over_tls(ours: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        cert = Path(shutil.copy(ours.issue("postgres.pem"), server.folder / "postgres.pem"))
        cert.chmod(0o600)
        if user := _unprivileged_user():
            shutil.chown(cert, user)
        server._arguments += ("-c", "ssl=on", "-c", f"ssl_cert_file={cert}", "-c", f"ssl_key_file={cert}")
        with server:
            yield server
    finally:
        server.close()


def engine_to(driver: str, port: int, tls: ClientTls) -> AsyncEngine:
    common = {"host": HOST, "port": port, "user": "root", "password": "", "connections_max": 1}
    common |= {"idle_max": 1, "lifetime_seconds": 60.0, "tls": tls}
    if driver == "mysql":
        return MySQLServer(**common, database="").engine  # type: ignore[arg-type]
    return Postgres(**common, database="postgres", schema="public").engine  # type: ignore[arg-type]


ENCRYPTED = {
    "mysql": "SELECT variable_value <> '' FROM information_schema.session_status"
    " WHERE variable_name = 'Ssl_cipher'",
    "postgres": "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
}


@pytest.mark.parametrize("driver", ["mysql", "postgres"])
async def test_a_database_is_spoken_to_over_tls(
    request: pytest.FixtureRequest, driver: str, ours: Authority, others: Authority
) -> None:
    server = request.getfixturevalue("mariadb_over_tls" if driver == "mysql" else "postgres_over_tls")
    engine = engine_to(driver, server.port, trusting(ours))
    try:
        async with engine.connect() as connection:
            assert (await connection.exec_driver_sql(ENCRYPTED[driver])).scalar_one()
    finally:
        await engine.dispose()
    database = "mysql" if driver == "mysql" else "postgres"
    where = {"host": HOST, "port": server.port, "user": "root", "password": "", "database": database}
    assert "answers" in await probe(driver, **where, tls=trusting(ours))
    with pytest.raises(StartError, match="certificate verify failed"):
        await probe(driver, **where, tls=trusting(others))


async def test_a_mysql_server_that_offers_no_tls_is_not_spoken_to(ours: Authority) -> None:
    """The driver would go on in plain text: so could whoever stands between."""
    with MariaDBServer("--skip-ssl") as server:
        where = {"host": HOST, "port": server.port, "user": "root", "password": "", "database": "mysql"}
        with pytest.raises(StartError, match="the server offers no TLS"):
            await probe("mysql", **where, tls=trusting(ours))


async def test_a_postgres_server_that_offers_no_tls_is_not_spoken_to(
    postgres: PostgresServer, ours: Authority
) -> None:
    where = {"host": HOST, "port": postgres.port, "user": "root", "password": "", "database": "postgres"}
    with pytest.raises(StartError, match=r"(?i)ssl"):
        await probe("postgres", **where, tls=trusting(ours))


async def test_etcd_is_spoken_to_over_tls_whoever_names_it(ours: Authority, others: Authority) -> None:
    cert, port = ours.issue("etcd.pem"), free_port()
    plain = free_port()
    urls = f"http://{HOST}:{plain},https://{HOST}:{port}"
    etcd = EtcdServer(
        f"--listen-client-urls={urls}",
        f"--advertise-client-urls={urls}",
        f"--cert-file={cert}",
        f"--key-file={cert}",
        f"--trusted-ca-file={ours.file}",
    )
    etcd.port = plain
    host = f"{HOST}:{port}"
    with etcd:  # which asks for a certificate of ours, too
        shown = str(ours.issue("coordinator.pem", "coordinator"))
        tls = ClientTls(TlsFiles(str(ours.file), shown), "MicroService.CertFile")
        registration = EtcdRegistration([host], "user.rpc", "127.0.0.1:8080", tls=tls.context)
        client = EtcdClient([host], tls=tls.context)
        resolver = EtcdResolver(tls=EtcdTls(frozenset({host}), tls.context))
        await registration.start()
        try:
            async with aclosing(client.changes("user.rpc/")) as changes:
                async for _ in changes:
                    if await client.values("user.rpc/") == ("127.0.0.1:8080",):
                        break
            assert await resolver.endpoints(f"etcd://{host}/user.rpc") == ("127.0.0.1:8080",)
        finally:
            await resolver.close()
            await registration.stop()
            await client.close()
        stranger = ClientTls(TlsFiles(str(others.file), shown), "MicroService.CertFile")
        for context in (stranger.context, trusting(ours).context, None):
            wrong = EtcdClient([host], tls=context)
            with pytest.raises(DiscoveryError):
                await wrong.values("user.rpc/")
            await wrong.close()
