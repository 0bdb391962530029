"""The store's contract on the twin: what the simulation proves on it holds for real stores."""

from random import Random

import pytest

from tests.simulation.twin import Rows, TwinStore
from tests.support.store_contract import StoreContract, Stores


class TestTwin(StoreContract):
    @pytest.fixture
    def stores(self) -> Stores:
        rows = Rows()

        async def another() -> TwinStore:
            return TwinStore(rows, Random(2))

        return Stores(TwinStore(rows, Random(1)), another)
