"""A fake coordinator, once over HTTP and once over gRPC, and fake branches: the methods are the same."""

from collections.abc import AsyncIterator

import pytest

from coordinator.testing import FakeBranches
from tests.unit.client.fake_coordinator import Fake, fake_grpc_coordinator, fake_http_coordinator


@pytest.fixture
async def http() -> AsyncIterator[Fake]:
    async with fake_http_coordinator() as fake:
        yield fake


@pytest.fixture
async def grpc() -> AsyncIterator[Fake]:
    async with fake_grpc_coordinator() as fake:
        yield fake


@pytest.fixture(params=["http", "grpc"])
async def fake(request: pytest.FixtureRequest) -> AsyncIterator[Fake]:
    """Each test with this runs over both protocols."""
    maker = fake_http_coordinator if request.param == "http" else fake_grpc_coordinator
    async with maker() as one:
        yield one


@pytest.fixture
async def branches() -> AsyncIterator[FakeBranches]:
    async with FakeBranches() as started:
        yield started


@pytest.fixture
def bank(fake: Fake, branches: FakeBranches) -> str:
    """What stands before a branch's path, of the same protocol as the coordinator."""
    return branches.http_url if fake.url.startswith("http") else branches.grpc_url
