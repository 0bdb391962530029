"""The shop of examples/ as its own programs: whatever is killed, an order ends in all services or in none."""

import json
import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENCE
from tests.support.ports import HOST, free_port, is_listening
from tests.support.processes import POLL_SECONDS, Process
from tests.support.under_test import ROOT, CoordinatorProcess

MELONS = {"customer": "ann", "item": "melon", "count": 4}  # waits for the bank's approval


class Shop(Process):
    """`python -m examples.shop` with its own folder and port."""

    def __init__(self, folder: Path, dtm_url: str) -> None:
        self._port = free_port()
        super().__init__(
            [sys.executable, "-m", "examples.shop"],
            environment={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "DTM_URL": dtm_url,
                "SHOP_PORT": str(self._port),
                "SHOP_DATA": str(folder / "data"),
            },
            folder=folder,
            ready=lambda: is_listening(self._port),
        )

    def ask(self, path: str, body: dict[str, Any] | None = None, *, method: str = "") -> Any:
        request = urllib.request.Request(
            f"http://{HOST}:{self._port}{path}",
            None if body is None else json.dumps(body).encode(),
            method=method or ("GET" if body is None else "POST"),
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def wait_for(self, path: str, wanted: Any, *, seconds: float) -> None:
        """Ask until the answer is what is wanted: another process has no event for it."""
        deadline = time.monotonic() + seconds * PATIENCE
        while (seen := self.ask(path)) != wanted:
            assert time.monotonic() < deadline, seen
            time.sleep(POLL_SECONDS)


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[CoordinatorProcess]:
    settings = {"TransCronInterval": 1}
    process = CoordinatorProcess(tmp_path / "coordinator", settings=settings).start()
    yield process
    process.close()


@pytest.fixture
def shop(tmp_path: Path, coordinator: CoordinatorProcess) -> Iterator[Shop]:
    process = Shop(tmp_path, coordinator.http_url).start()
    yield process
    process.close()


@pytest.mark.parametrize("killed", ["coordinator", "shop"])
def test_an_order_outlives_whoever_is_killed(
    killed: str, shop: Shop, coordinator: CoordinatorProcess
) -> None:
    order = shop.ask("/orders/", MELONS)
    assert order["state"] == "on its way"
    victim = {"coordinator": coordinator, "shop": shop}[killed]
    victim.kill()
    victim.start()
    shop.ask("/payment/approve/ann", method="POST")
    shop.wait_for("/orders/", {order["order"]: "placed"}, seconds=40)
    assert shop.ask("/stock/") == {"melon": 1, "pear": 10}
    assert shop.ask("/payment/") == {"ann": 20, "bob": 5}


def test_with_the_coordinator_inside_an_order_outlives_the_shop(tmp_path: Path) -> None:
    with closing(Shop(tmp_path, f"sqlite:///{tmp_path / 'dtm.db'}").start()) as shop:
        order = shop.ask("/orders/", MELONS)
        assert order["state"] == "on its way"
        shop.kill()
        shop.start()
        shop.ask("/payment/approve/ann", method="POST")
        shop.wait_for("/orders/", {order["order"]: "placed"}, seconds=40)
        assert shop.ask("/stock/") == {"melon": 1, "pear": 10}
        assert shop.ask("/payment/") == {"ann": 20, "bob": 5}
