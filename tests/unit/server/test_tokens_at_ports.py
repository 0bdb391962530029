"""Tokens of every kind at the ports of a coordinator that runs: who has none that stands gets in nowhere."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from grpclib.client import Channel

from coordinator.access.audit import Actor, Record, audit_row
from coordinator.access.tokens import NewToken, new_token
from coordinator.clock import SystemClock
from coordinator.config.access import Access
from coordinator.config.settings import Settings
from coordinator.config.store import Store
from coordinator.server.handed_out import store_config
from coordinator.server.server import Server
from coordinator.store.access_tables import TokenRow
from coordinator.store.open import open_store
from tests.support.ports import HOST, free_port
from tests.unit.access.calls import grpc_call, http_call

ADMIN = Actor("a test", "command")


@dataclass
class Ports:
    """A coordinator in mode all, as the helpers of tests/unit/access ask it, and tokens by their kind."""

    session: aiohttp.ClientSession
    channel: Channel
    url: str
    tokens: dict[str, str]

    async def asked(self, token: str) -> set[int]:
        """What comes of calls of every protocol: statuses, gRPC's negative."""
        one: Any = self
        headers = {"Authorization": f"Bearer {token}"}
        rpc = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "newGid", "params": {}})
        statuses = {(await http_call(one, "POST", "/api/json-rpc", rpc, headers))[0]}
        for method, path in (("GET", "newGid"), ("GET", "query?gid=g"), ("GET", "all")):
            statuses.add((await http_call(one, method, f"/api/dtmsvr/{path}", None, headers))[0])
        for path in ("/dtmgimp.Dtm/NewGid", "/dtmcoordinator.Operator/List"):
            statuses.add(-(await grpc_call(one, path, [*headers.items()]))[0])
        return statuses


async def made(path: Path, *, expires_in: timedelta = timedelta(days=1), revoked: bool = False) -> NewToken:
    """Make an admin's token in the store at that path, which a coordinator may be using."""
    settings = Settings(store=Store(path=path))
    token, clock = new_token(os.urandom), SystemClock()
    store = await open_store(store_config(settings, None), clock=clock, zone=None, wait_seconds=5.0)
    record = audit_row(ADMIN, Record("token create", token.id), at=clock.now())
    try:
        expires = await store.utc_now() + expires_in
        await store.tokens.add(TokenRow(token.id, token.hash, "anna", "admin", "", expires), record)
        if revoked:
            assert await store.tokens.revoke(token.id, record)
    finally:
        await store.close()
    return token


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[Ports]:
    path = tmp_path / "dtm.db"
    good = (await made(path)).text
    tokens = {
        "good": good,
        "expired": (await made(path, expires_in=timedelta(seconds=-2))).text,
        "revoked": (await made(path, revoked=True)).text,
        "of another coordinator": (await made(tmp_path / "other.db")).text,
        "made up": new_token(os.urandom).text,
        "cut by one": good[:-1],
        "cut by its checksum": good.rpartition("_")[0],
        "its secret cut": good[:40] + good[-9:],
        "its secret alone": good.split("_")[2],
        "one digit changed": good[:30] + ("0" if good[30] != "0" else "1") + good[31:],
        "in capitals": good.upper(),
        "twice": good + good,
        "followed by more": good + "a",
        "in quotes": f'"{good}"',
        "another id": good.replace(good.split("_")[1], "0" * 12),
    }
    settings = Settings(
        host=HOST,
        http_port=free_port(),
        grpc_port=free_port(),
        store=Store(path=path),
        access=Access(mode="all"),
    )
    server = Server(settings, reset=False)
    async with AsyncExitStack() as opened:
        await server.start()
        opened.push_async_callback(server.stop)
        session = await opened.enter_async_context(aiohttp.ClientSession())
        channel = await opened.enter_async_context(Channel(HOST, settings.grpc_port))
        yield Ports(session, channel, f"http://{HOST}:{settings.http_port}", tokens)


async def test_a_token_that_stands_gets_in_and_no_other_does(ports: Ports) -> None:
    assert await ports.asked(ports.tokens.pop("good")) == {200, 0}
    for kind, token in ports.tokens.items():
        assert await ports.asked(token) == {401, -16}, kind
