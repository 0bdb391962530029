"""Fixtures of the chaos tests: the branch service, and the stores the coordinator is tried on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.business import BranchService
from tests.support.under_test import Store


@pytest.fixture
def branch_service(tmp_path: Path) -> Iterator[BranchService]:
    """Return the branch service, running; what it printed is shown when the test fails."""
    service = BranchService(tmp_path).start()
    try:
        yield service
    finally:
        print(f"---- branch service printed ----\n{service.output()}")
        service.close()


@pytest.fixture(params=["sqlite", "mariadb", "postgres"])
def store(request: pytest.FixtureRequest) -> Store | None:
    """Return each store in turn: a new SQLite file (None), a new database on a server."""
    if request.param == "sqlite":
        return None
    database: Store = request.getfixturevalue(f"{request.param}_database")
    return database
