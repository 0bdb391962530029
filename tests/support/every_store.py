"""A coordinator per kind of store, for tests whose promise does not depend on it."""

from collections.abc import Iterator

import pytest

from tests.support.servers import MariaDBServer
from tests.support.under_test import CoordinatorProcess, Store

STORES = ("sqlite", "mariadb", "postgres")


def coordinator_on(
    store: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CoordinatorProcess]:
    """Yield a running coordinator on an empty store of this kind, and end it; for fixtures of any scope."""
    database: Store | None = None
    if store != "sqlite":
        server: MariaDBServer = request.getfixturevalue(f"_{store}").start()
        database = server.create_database()
    process = CoordinatorProcess(tmp_path_factory.mktemp(store), store=database).start()
    yield process
    print(process.output())
    process.close()
