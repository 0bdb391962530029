"""The kit as a pytest fixture; needs pytest-asyncio.

pytest_plugins = ["coordinator.testing.plugin"]  # in the conftest.py at the top
"""

from collections.abc import AsyncIterator

from coordinator.client.extras import brought_by
from coordinator.testing import Kit

with brought_by("testing"):
    import pytest_asyncio


@pytest_asyncio.fixture
async def dtm_kit() -> AsyncIterator[Kit]:
    """A fresh coordinator with scripted branches for one test."""
    async with Kit() as kit:
        yield kit
