"""The real coordinator in this process, once with a client over HTTP and once over gRPC."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from coordinator.client import Dtm, TransactionView
from coordinator.testing import FakeBranches, Kit
from coordinator.testing.plugin import dtm_kit

__all__ = ["dtm_kit"]

collect_ignore = [] if "DTM_REFERENCE_URL" in os.environ else ["test_reference.py"]


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
