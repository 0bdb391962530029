"""The shop and a coordinator in one process: `python -m pytest examples/shop`, no server needed."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import aiosqlite
import pytest
import pytest_asyncio
from aiohttp import web

from coordinator.testing import Kit
from examples.shop.application import shop
from examples.shop.follow_up import RETURN_SECONDS
from examples.shop.orders import FIRST_REPEAT_SECONDS
from examples.shop.settings import Settings, settings_from, utc_now

PEARS = {"customer": "ann", "item": "pear", "count": 2}
MELONS = {"customer": "ann", "item": "melon", "count": 4}  # 80: the bank has to approve


class Customer:
    """Somebody at the shop's door. kit: its coordinator, whose time is moved by hand."""

    def __init__(self, session: aiohttp.ClientSession, kit: Kit) -> None:
        self._session = session
        self.kit = kit

    async def order(self, wanted: dict[str, Any], key: str = "") -> tuple[int, dict[str, Any]]:
        headers = {"Idempotency-Key": key} if key else {}
        async with self._session.post("/orders/", json=wanted, headers=headers) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str) -> int:
        async with self._session.post(path) as answer:
            return answer.status

    async def sees(self, what: str) -> Any:
        async with self._session.get(f"/{what}/") as answer:
            return await answer.json()

    async def sees_as_at_first(self) -> bool:
        seen = [await self.sees(what) for what in ("stock", "payment", "orders", "mail")]
        return seen == [{"melon": 5, "pear": 10}, {"ann": 100, "bob": 5}, {}, []]


@asynccontextmanager
async def open_shop(
    dtm_url: str, folder: Path, now: Callable[[], datetime] = utc_now
) -> AsyncIterator[aiohttp.ClientSession]:
    listening = socket.create_server(("127.0.0.1", 0))
    settings = Settings(dtm_url=dtm_url, port=listening.getsockname()[1], folder=folder)
    runner = web.AppRunner(shop(settings, now), shutdown_timeout=1)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    async with aiohttp.ClientSession(settings.url) as session:
        yield session
    await runner.cleanup()


@pytest_asyncio.fixture
async def customer(tmp_path: Path) -> AsyncIterator[Customer]:
    async with Kit() as kit, open_shop(kit.http_url, tmp_path, kit.clock.now) as session:
        yield Customer(session, kit)


@pytest.mark.asyncio
async def test_an_order_changes_every_service(customer: Customer) -> None:
    status, answer = await customer.order(PEARS)
    assert (status, answer["state"], answer["receipt"]) == (201, "placed", f"R-{answer['order']}")
    assert await customer.sees("stock") == {"melon": 5, "pear": 8}
    assert await customer.sees("payment") == {"ann": 94, "bob": 5}
    assert await customer.sees("orders") == {answer["order"]: "placed"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("change", "reason"),
    [({"count": 11}, "no pear left"), ({"customer": "bob"}, "bob cannot pay 6")],
)
async def test_one_that_a_service_refuses_leaves_nothing_behind(
    customer: Customer, change: dict[str, Any], reason: str
) -> None:
    status, answer = await customer.order({**PEARS, **change})
    assert (status, answer["reason"]) == (409, reason)
    await customer.kit.settle()
    assert await customer.sees_as_at_first()


@pytest.mark.asyncio
async def test_an_order_that_is_sent_twice_is_one(customer: Customer) -> None:
    answers = [await customer.order(PEARS, key="order-1") for _ in range(2)]
    assert answers == [(201, {"order": "order-1", "state": "placed", "receipt": "R-order-1"})] * 2
    assert await customer.sees("stock") == {"melon": 5, "pear": 8}


@pytest.mark.asyncio
async def test_a_large_sum_waits_for_the_bank_and_goes_on(customer: Customer) -> None:
    status, answer = await customer.order(MELONS)
    assert (status, answer["state"]) == (202, "on its way")
    assert await customer.sees("stock") == {"melon": 1, "pear": 10}
    assert await customer.post("/payment/approve/ann") == 200
    await customer.kit.advance(FIRST_REPEAT_SECONDS)
    assert await customer.sees("payment") == {"ann": 20, "bob": 5}
    assert await customer.sees("orders") == {answer["order"]: "placed"}


@pytest.mark.asyncio
async def test_what_is_shipped_is_told_once(customer: Customer) -> None:
    _, answer = await customer.order(PEARS)
    number = answer["order"]
    assert [await customer.post(f"/orders/{number}/ship") for _ in range(2)] == [200, 409]
    assert await customer.sees("orders") == {number: "shipped"}
    assert await customer.sees("mail") == [f"order {number} is on its way"]


@pytest.mark.asyncio
async def test_two_weeks_later_the_customer_is_asked_and_gets_a_coin(customer: Customer) -> None:
    _, answer = await customer.order(PEARS)
    assert await customer.post(f"/orders/{answer['order']}/ship") == 200
    await customer.kit.advance(RETURN_SECONDS - 3600)
    assert await customer.sees("payment") == {"ann": 94, "bob": 5}
    await customer.kit.advance(2 * 3600)
    assert await customer.sees("payment") == {"ann": 95, "bob": 5}
    assert (await customer.sees("mail"))[1:] == [f"how was order {answer['order']}?"]


@pytest.mark.asyncio
async def test_what_nobody_can_buy_is_refused_before_anything_begins(customer: Customer) -> None:
    for change in ({"item": "gold"}, {"count": 0}):
        with pytest.raises(aiohttp.ContentTypeError, match="400"):
            await customer.order({**PEARS, **change})
    with pytest.raises(aiohttp.ContentTypeError, match="400"):
        await customer.order(PEARS, key="k" * 101)
    assert await customer.sees_as_at_first()


@pytest.mark.asyncio
async def test_the_receipt_that_the_payment_gave_is_saved_with_the_order(
    customer: Customer, tmp_path: Path
) -> None:
    _, answer = await customer.order(PEARS)
    async with aiosqlite.connect(tmp_path / "orders.db") as connection:
        rows = await connection.execute_fetchall("SELECT number, receipt FROM orders")
    assert list(rows) == [(answer["order"], answer["receipt"])]


@pytest.mark.asyncio
async def test_with_the_coordinator_inside_it_is_the_same_shop(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'dtm.db'}"
    order = {"order": "order-1", "state": "placed", "receipt": "R-order-1"}
    async with open_shop(url, tmp_path) as session:
        headers = {"Idempotency-Key": "order-1"}
        async with session.post("/orders/", json=PEARS, headers=headers) as answer:
            assert (answer.status, await answer.json()) == (201, order)
        async with session.post("/orders/", json={**PEARS, "customer": "bob"}) as answer:
            assert (answer.status, (await answer.json())["reason"]) == (409, "bob cannot pay 6")
        async with session.post("/orders/order-1/ship") as answer:
            assert answer.status == 200
        for what, seen in (("orders", {"order-1": "shipped"}), ("mail", ["order order-1 is on its way"])):
            async with session.get(f"/{what}/") as answer:
                assert await answer.json() == seen


def test_its_settings_come_from_the_environment() -> None:
    given = {"DTM_URL": "grpc://dtm", "SHOP_HOST": "shop", "SHOP_PORT": "80", "SHOP_DATA": "/data"}
    assert settings_from(given) == Settings("grpc://dtm", "shop", 80, Path("/data"))
    assert settings_from({}) == Settings()
