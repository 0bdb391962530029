"""Each database server or store in turn, for tests of what all must do."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta, timezone
from pathlib import Path

import pytest

from coordinator.clock import SystemClock
from coordinator.store.open import StoreConfig, open_store
from coordinator.store.sql import SqlStore
from tests.support.servers import Database, MariaDBServer, PostgresServer
from tests.support.store_config import config_of


@pytest.fixture(params=["mariadb", "postgres"])
def server(request: pytest.FixtureRequest) -> MariaDBServer | PostgresServer:
    """Each database server in turn."""
    found: MariaDBServer | PostgresServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def database(server: MariaDBServer | PostgresServer) -> Iterator[Database]:
    """An empty database of this test's own."""
    made = server.create_database()
    yield made
    server.start().drop_database(made.name)


@pytest.fixture(params=["sqlite", "mariadb", "postgres"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> StoreConfig:
    """Each store in turn, empty."""
    if request.param == "sqlite":
        return StoreConfig(driver="sqlite", path=str(tmp_path / "dtm.db"))
    return config_of(request.getfixturevalue(f"{request.param}_database"))


@pytest.fixture
async def store(config: StoreConfig) -> AsyncIterator[SqlStore]:
    """It, open; its columns' times are of a zone that is not this machine's."""
    opened = await open_store(
        config, clock=SystemClock(), zone=timezone(timedelta(hours=8)), wait_seconds=5.0
    )
    yield opened
    await opened.close()
