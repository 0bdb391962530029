"""The real coordinator in this process, once with a client over HTTP and once over gRPC."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

import coordinator.client.sync
from coordinator.client import Dtm, TransactionView
from coordinator.testing import FakeBranches, Kit
from coordinator.testing.plugin import dtm_kit

__all__ = ["dtm_kit"]

T = TypeVar("T")


@dataclass
class World:
    """dtm: of this test's protocol. bank: what stands before a branch's path, of the same protocol."""

    kit: Kit
    dtm: Dtm
    bank: str

    @property
    def branches(self) -> FakeBranches:
        return self.kit.branches

    async def stored(self, gid: str) -> TransactionView:
        """What the coordinator has of it, when it has nothing more to do just now."""
        await self.kit.settle()
        found = await self.kit.dtm.query(gid)
        assert found is not None, gid
        return found

    async def rows(self, gid: str) -> list[str]:
        return [f"{one.branch_id} {one.op} {one.status}" for one in (await self.stored(gid)).branches]


@pytest.fixture(params=["http", "grpc"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with Kit() as kit:
        over_http = request.param == "http"
        async with Dtm(kit.http_url if over_http else kit.grpc_url) as dtm:
            yield World(kit, dtm, kit.branches.http_url if over_http else kit.branches.grpc_url)


# ---- for blocking tests


class OwnLoop:
    """A loop in a thread of its own, so that the test itself may block."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def loop() -> Iterator[OwnLoop]:
    loop = OwnLoop()
    yield loop
    loop.close()


@pytest.fixture
def kit(loop: OwnLoop) -> Iterator[Kit]:
    kit = Kit()
    loop.run(kit.__aenter__())
    yield kit
    loop.run(kit.__aexit__(None, None, None))


@pytest.fixture(params=["http", "grpc"])
def dtm(request: pytest.FixtureRequest, kit: Kit) -> Iterator[coordinator.client.sync.Dtm]:
    """The blocking client."""
    with coordinator.client.sync.Dtm(kit.http_url if request.param == "http" else kit.grpc_url) as opened:
        yield opened


@pytest.fixture
def branches(kit: Kit) -> FakeBranches:
    return kit.branches
