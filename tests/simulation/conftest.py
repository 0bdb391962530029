"""What every simulated history needs."""

from collections.abc import Iterator

import pytest
from loguru import logger


@pytest.fixture
def quiet() -> Iterator[None]:
    """No log lines: thousands of transactions go wrong on purpose."""
    logger.disable("coordinator")
    yield
    logger.enable("coordinator")
