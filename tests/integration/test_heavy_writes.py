"""A write that breaks the connection fails alone; those who wrote at the same moment hardly notice."""

import asyncio
from dataclasses import replace

import pytest

from coordinator.clock import SystemClock
from coordinator.errors import StoreUnavailable
from coordinator.store.open import open_store
from tests.support.proxy import Proxy
from tests.support.servers import Database
from tests.support.store_config import config_of
from tests.support.store_contract import branches, insert, transaction


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
async def test_a_write_that_breaks_the_connection_takes_no_other_with_it(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """As a packet that is too big does, or a statement that the server dies of."""
    database: Database = request.getfixturevalue(f"{kind}_database")
    async with Proxy(database.host, database.port) as proxy:
        config = replace(config_of(database), host=proxy.host, port=proxy.port)
        store = await open_store(config, clock=SystemClock(), zone=None, wait_seconds=5.0)
        try:
            await insert(store, "before")
            proxy.cut_at(b"poison", arrives=False)
            poison = [replace(branches("bad", 1)[0], url="http://poison")]
            gids = [f"g-{n}" for n in range(100)]
            bad, *others = await asyncio.gather(
                store.insert(transaction("bad"), poison, timeout=5.0),
                *(store.insert(transaction(gid), branches(gid), timeout=4.0) for gid in gids),
                return_exceptions=True,
            )
            assert others == [True] * len(gids)
            assert isinstance(bad, StoreUnavailable)
            assert "did not confirm in time: " in bad.message, "says why"
            assert proxy.cuts > 3
            proxy.cut_nothing()
            assert await store.insert(transaction("bad"), poison, timeout=5.0)
        finally:
            await store.close()
