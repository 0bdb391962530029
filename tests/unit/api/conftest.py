"""Both protocols in front of the same made-up service."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.api.fakes import Grpc, Http, grpc_api, http_api


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with http_api() as parts:
        yield parts


@pytest.fixture
async def grpc() -> AsyncIterator[Grpc]:
    async with grpc_api() as parts:
        yield parts
