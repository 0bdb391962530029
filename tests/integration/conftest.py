"""Each database server in turn, for tests of what both must do."""

from collections.abc import Iterator

import pytest

from tests.support.servers import Database, MariaDBServer, PostgresServer


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
