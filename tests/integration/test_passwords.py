"""A password is bytes: whatever a person sets, every way into a real server takes it."""

import asyncio
import base64
import json
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from click.testing import CliRunner

from branches.data_source import MySqlSource, parse_data_source
from branches.database import open_database
from coordinator.calls.connect import Reach
from coordinator.calls.places import Places
from coordinator.calls.router import BranchCaller
from coordinator.cli.main import main
from coordinator.clock import SystemClock
from coordinator.discovery.default import PlainResolver
from coordinator.discovery.etcd_client import EtcdClient
from coordinator.discovery.names import Names
from coordinator.discovery.target import parse_target
from coordinator.engine.alerts import Alert
from coordinator.engine.hook import WebHookAlerts
from coordinator.errors import StartError
from coordinator.model import Branch, Options, Result, Status, Transaction
from coordinator.store.open import StoreConfig, open_store
from tests.support.servers import Database, EtcdServer, MariaDBServer, PostgresDatabase, PostgresServer

ROOT = Path(__file__).resolve().parents[2]
USER = "ann"
PASSWORDS = ["密码123", "café", "a@b:c", "p/w#rd?", "100%+&=;", "'quoted\" \\", "%41", " in blanks ", "🔑"]
EVERY = pytest.mark.parametrize("password", PASSWORDS)


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDBServer]:
    with MariaDBServer() as server:
        yield server


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        file = server.folder / "data" / "pg_hba.conf"
        file.write_text(f"host all {USER} all scram-sha-256\n{file.read_text()}", encoding="utf-8")
        server.database().execute("SELECT pg_reload_conf()")
        yield server


def mysql_user(server: MariaDBServer, password: str) -> Database:
    """A database that only this user, with this password, may use."""
    database = server.create_database()
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("DROP USER IF EXISTS %s@'%%'", (USER,))
        cursor.execute("CREATE USER %s@'%%' IDENTIFIED BY %s", (USER, password))
        cursor.execute("GRANT ALL ON *.* TO %s@'%%'", (USER,))
    return Database(database.host, database.port, database.name, user=USER, password=password)


def postgres_user(server: PostgresServer, password: str) -> PostgresDatabase:
    database = server.create_database()
    literal = password.replace("'", "''")
    if not database.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{USER}'"):
        database.execute(f"CREATE ROLE {USER} SUPERUSER LOGIN")
    database.execute(f"ALTER ROLE {USER} PASSWORD '{literal}'")
    return PostgresDatabase(database.host, database.port, database.name, user=USER, password=password)


async def opened(database: Database, password: str) -> None:
    config = StoreConfig(
        driver="postgres" if isinstance(database, PostgresDatabase) else "mysql",
        host=database.host,
        port=database.port,
        user=USER,
        password=password,
        database=database.name,
    )
    store = await open_store(config, clock=SystemClock(), zone=UTC, wait_seconds=0)
    await store.close()


def barrier_table(url: str) -> str:
    done = CliRunner().invoke(main, ["barrier-table", "--url", url])
    assert done.exit_code == 0, done.output
    return done.output


@EVERY
async def test_the_store_in_mysql(mariadb: MariaDBServer, password: str) -> None:
    database = await asyncio.to_thread(mysql_user, mariadb, password)
    await opened(database, password)
    with pytest.raises(StartError, match="Access denied"):
        await opened(database, f"{password}x")


@EVERY
async def test_the_store_in_postgres(postgres: PostgresServer, password: str) -> None:
    database = await asyncio.to_thread(postgres_user, postgres, password)
    await opened(database, password)
    with pytest.raises(StartError, match="authentication failed"):
        await opened(database, f"{password}x")


@EVERY
def test_the_barrier_table_of_mysql(mariadb: MariaDBServer, password: str) -> None:
    one = mysql_user(mariadb, password)
    for written in {quote(password, safe=""), password.replace("%", "%25")}:
        said = barrier_table(f"mysql://{USER}:{written}@{one.host}:{one.port}/")
        assert said == f"ok: dtm_barrier.barrier in mysql://{USER}@{one.host}:{one.port}/\n"


@EVERY
def test_the_barrier_table_of_postgres(postgres: PostgresServer, password: str) -> None:
    one = postgres_user(postgres, password)
    for written in {quote(password, safe=""), password.replace("%", "%25")}:
        said = barrier_table(f"postgresql://{USER}:{written}@{one.host}:{one.port}/{one.name}")
        assert said == f"ok: dtm_barrier.barrier in postgresql://{USER}@{one.host}:{one.port}/{one.name}\n"


@EVERY
async def test_the_database_of_a_branch(mariadb: MariaDBServer, password: str) -> None:
    one = await asyncio.to_thread(mysql_user, mariadb, password)
    source = parse_data_source(f"{USER}:{password}@tcp({one.host}:{one.port})/{one.name}?charset=utf8mb4")
    assert isinstance(source, MySqlSource)
    database = open_database(source, "user", ROOT / "sql")
    await database.prepare()
    await database.close()


def ask(server: EtcdServer, call: str, **body: Any) -> dict[str, Any]:
    request = urllib.request.Request(f"http://{server.endpoint}/v3/{call}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


@pytest.fixture(scope="module")
def locked_etcd() -> Iterator[EtcdServer]:
    with EtcdServer() as server:
        ask(server, "auth/user/add", name="root", password="root")
        ask(server, "auth/role/add", name="root")
        ask(server, "auth/user/grant", user="root", role="root")
        for index, password in enumerate(PASSWORDS):
            ask(server, "auth/user/add", name=f"{USER}{index}", password=password)
            ask(server, "auth/user/grant", user=f"{USER}{index}", role="root")
        ask(server, "auth/enable")
        yield server


@EVERY
async def test_etcd(locked_etcd: EtcdServer, password: str) -> None:
    user = f"{USER}{PASSWORDS.index(password)}"
    target = parse_target(
        f"etcd://{locked_etcd.endpoint}/dtmservice?user={user}&password={quote(password, safe='')}"
    )
    client = EtcdClient(target.hosts, user=target.user, password=target.password)
    try:
        assert await client.get("nothing") is None
    finally:
        await client.close()


class Door:
    """A server that notes who logs in."""

    def __init__(self) -> None:
        self.logins: asyncio.Queue[str] = asyncio.Queue()

    async def open(self, request: web.Request) -> web.Response:
        header = request.headers.get("Authorization", "")
        self.logins.put_nowait(base64.b64decode(header.removeprefix("Basic ")).decode())
        return web.Response()

    async def __aenter__(self) -> str:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self.open)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


@EVERY
async def test_a_branch_over_http(password: str) -> None:
    door, saga = Door(), Transaction("g", "saga", Status.SUBMITTED)
    # Who sends a header of his own means it.
    own = replace(
        saga,
        options=Options(branch_headers={"Authorization": f"Basic {base64.b64encode(b'eve:own').decode()}"}),
    )
    caller = BranchCaller(PlainResolver())
    try:
        async with door as address:
            branch = Branch("g", "01", "action", f"http://{USER}:{quote(password, safe='')}@{address}/pay")
            for transaction, login in ((saga, f"{USER}:{password}"), (own, "eve:own")):
                answer = await caller.call(transaction, branch, timeout=5)
                assert (answer.result, await door.logins.get()) == (Result.SUCCESS, login)
    finally:
        await caller.close()


@EVERY
async def test_the_web_hook(password: str) -> None:
    door = Door()
    async with door as address:
        hook = WebHookAlerts(
            f"http://{USER}:{quote(password, safe='')}@{address}/hook", Reach(Names(), Places())
        )
        running = asyncio.create_task(hook.run())
        hook.failing(Alert("g", "submitted", "http://branch/", "status 500", 3))
        async with asyncio.timeout(30):
            assert await door.logins.get() == f"{USER}:{password}"
        running.cancel()
        await asyncio.wait({running})
