"""Every page, and every look of the operate API, asks the store at most five times, sessions included."""

import asyncio
import contextlib
import re
import secrets
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from unittest.mock import patch

import pytest
from aiohttp import ClientSession, CookieJar
from pydantic import SecretStr

from coordinator.access.issuing import Issuing
from coordinator.access.permissions import Role
from coordinator.api.http import HttpApi
from coordinator.api.http_server import HttpServer
from coordinator.backoff import Timing
from coordinator.config.access import Access
from coordinator.config.settings import Settings
from coordinator.config.store import Store
from coordinator.dev.examples import EXAMPLES
from coordinator.dev.past import ANN, Past, ago
from coordinator.dev.services import Services
from coordinator.dev.staff import PASSWORD, let_in
from coordinator.model import Step, TransactionRequest, TransType
from coordinator.server.server import Server
from coordinator.store.open import StoreConfig
from coordinator.testing.inside import TravellingClock, open_inside
from tests.support.console_pages import found_at
from tests.support.ports import HOST, free_port
from tests.support.servers import Database
from tests.support.statements import statements_of_requests
from tests.support.store_config import config_of

pytestmark = pytest.mark.timeout(300)
STATEMENTS_MAX: Final = 5
MINUTES: Final = 30.0
PLANTED: Final = frozenset({"seat-no-such-path", "payload-large-numbers", "trip-not-submitted"})
KEEPS: Final = "keeps-results"  # and is driven by a coordinator of which only the store knows
_DRIVEN: Final = "UPDATE trans_global SET owner = 'gone-1/1/1' WHERE gid = '{}'"
FILTERS: Final = (
    "status:submitted",
    "-status:succeed type:saga",
    "endpoint:127",
    'error:"answers" age:>1m',
    f"gid:{KEEPS} kind:refused",
)
# Of what is asked in more than one way the others, beside the plain path.
PAGES: Final = (
    *("/bulk/{id}?result=done", "/audit?filter=ann+stop"),
    *(f"/transactions?filter={wanted}" for wanted in FILTERS),
    *(f"/bulk/new?action=retry&filter={wanted}" for wanted in FILTERS),
    "/transactions/{gid}/skip?branch=action+02&skip_reason=must+not+happen",
    "/endpoints/{endpoint}/hold?minutes=5&reason=why",
)
LOOKS: Final = tuple(
    f"/api/operate/{path}"
    for path in (
        *("inbox", "nodes", "audit", "endpoints", "holds", "holds/preview?endpoint={endpoint}&seconds=60"),
        *("bulk", "bulk/{id}", "bulk/{id}/items", "transactions", "transactions/{gid}"),
        *(f"transactions?filter={wanted}" for wanted in FILTERS),
        *(f"bulk/preview?action=retry&filter={wanted}" for wanted in FILTERS),
        *(f"transactions/{{gid}}/preview?action={action}" for action in ("retry", "rollback", "stop")),
    )
)


@dataclass(frozen=True, slots=True)
class Site:
    """A coordinator, and an admin who is logged in. by: the header of a token, for the API.

    asked: the statements of each request so far. looks: paths of all that can be got.
    """

    url: str
    session: ClientSession
    cookie: str
    asked: Mapping[str, list[str]]
    looks: Sequence[str]
    by: Mapping[str, str]

    async def statements(self, path: str) -> Sequence[str]:
        """What the answer to this needs, which is no fault."""
        headers = self.by if path.startswith("/api/") else {}
        async with self.session.get(self.url + path, headers=headers, allow_redirects=False) as answer:
            assert answer.status < 400, (path, answer.status, await answer.text())
            return self.asked[answer.url.raw_path_qs]


@pytest.fixture(params=["sqlite", "mariadb"])
def database(request: pytest.FixtureRequest) -> Database | None:
    """None: a SQLite file."""
    if request.param == "sqlite":
        return None
    found: Database = request.getfixturevalue("mariadb_database")
    return found


@pytest.fixture
async def site(tmp_path: Path, database: Database | None) -> AsyncIterator[Site]:
    file = tmp_path / "dtm.db"
    store = Store(path=file)
    config = StoreConfig(path=str(file))
    if database is not None:
        config = config_of(database)
        secret = SecretStr(database.password)
        where = {"host": database.host, "port": database.port, "user": database.user, "db": database.name}
        store = Store(driver="mysql", password=secret, **where)

    def execute(sql: str) -> object:
        if database is not None:
            return database.execute(sql)
        with contextlib.closing(sqlite3.connect(file, timeout=5)) as connection, connection:
            return connection.execute(sql)

    settings = Settings(
        host=HOST,
        http_port=free_port(),
        grpc_port=free_port(),
        store=store,
        access=Access(mode="operators"),
        time_zone_offset="+0",
    )
    url, apis = f"http://{HOST}:{settings.http_port}", list[HttpApi]()
    open_server = HttpApi.server

    def opened(api: HttpApi) -> HttpServer:
        apis.append(api)
        return open_server(api)

    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(Services())
        token = await plant(services, config, url.removeprefix("http://"))
        asked = stack.enter_context(statements_of_requests())
        with patch.object(HttpApi, "server", opened):
            server = Server(settings, reset=False)
            await server.start()
        stack.push_async_callback(server.stop)
        session = await stack.enter_async_context(ClientSession(cookie_jar=CookieJar(unsafe=True)))
        async with session.post(f"{url}/login", data={"name": "ann", "password": PASSWORD}) as answer:
            assert answer.status == 200
        by = {"Authorization": f"Bearer {token}"}
        job = {"filter": "gid:payload-large-numbers", "reason": "why"}
        async with session.post(f"{url}/api/operate/bulk/retry", json=job, headers=by) as answer:
            assert answer.status == 200, await answer.text()
        execute(_DRIVEN.format(KEEPS))
        looks = [path for api in apis for method, path in api.needs if method == "GET"]
        cookie = "; ".join(f"{it.key}={it.value}" for it in session.cookie_jar)
        yield Site(url, session, cookie, asked, looks, by)


async def plant(services: Services, config: StoreConfig, own_place: str) -> str:
    """Some of what can be stuck, topics, people; returns the token of one who may all."""
    now = datetime.now(UTC)
    clock = TravellingClock(ago(now, MINUTES))
    async with AsyncExitStack() as stack:
        inside = await open_inside(stack, clock, Timing(request_timeout=1), store_config=config)
        past = Past(inside, services, own_place)
        await past.topic("order-paid", services.url("shop", "/invoice"))
        steps = (Step(services.url("shop"), keep_result=True), Step(services.url("ledger")))
        transactions = inside.operations.transactions
        await transactions.submit(TransactionRequest(KEEPS, TransType.SAGA, steps, (b"{}", b"{}")))
        for example in EXAMPLES:
            if example.gid in PLANTED:
                await example.happens(past)
        await past.until(now)
        await let_in(inside.store, inside.recorder, clock)
        issuing = Issuing(
            inside.store.tokens, inside.recorder, now=inside.store.utc_now, random_bytes=secrets.token_bytes
        )
        return await issuing.create(ANN, name="all", role=Role.ADMIN, gid_prefix="", days=1)


async def test_nothing_that_is_shown_needs_more_than_a_handful_of_statements(site: Site) -> None:
    found = await asyncio.to_thread(found_at, site.url, site.cookie)
    first = {template: paths[-1] for template, paths in found.items()}
    job = first["/bulk/{id}"].rpartition("/")[2]
    shown = {"gid": KEEPS, "id": job, "endpoint": first["/endpoints/{endpoint}"].rpartition("/")[2]}

    def filled(path: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda it: shown[it[1]], path)

    missing = {it for it in site.looks if it.startswith("/api/operate/")}
    assert missing == {it.partition("?")[0] for it in LOOKS}
    every = [*first.values(), *map(filled, (*PAGES, "/transactions/{gid}", *LOOKS))]
    counts = {path: len(await site.statements(path)) for path in every}
    assert counts["/"] > 1 and counts["/api/operate/inbox"] > 1  # they are counted
    assert {path: count for path, count in counts.items() if count > STATEMENTS_MAX} == {}
