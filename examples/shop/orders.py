"""The front of the shop: takes orders, shows them, ships them."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias
from uuid import uuid4

import aiosqlite
from aiohttp import web

from coordinator.client import (
    Dtm,
    Failure,
    LocalCall,
    Ongoing,
    Saga,
    Unreachable,
    Workflows,
    branch_middleware,
    branch_of,
    from_result,
    query_prepared_handler,
    with_barrier,
)
from examples.shop.database import Database
from examples.shop.follow_up import follow_up

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    number TEXT PRIMARY KEY, customer TEXT, item TEXT, state TEXT NOT NULL, receipt TEXT NOT NULL
);
"""
PRICES = {"pear": 3, "melon": 20}
FIRST_REPEAT_SECONDS = 2
NUMBER_MAX = 100  # characters: gids, of at most 128, are made of it

Step: TypeAlias = Callable[[LocalCall], Awaitable[None]]


def priced(wanted: dict[str, Any], number: str) -> dict[str, Any]:
    """Return the order that every service gets: number, customer, item, count, amount."""
    if len(number) > NUMBER_MAX:
        raise web.HTTPBadRequest(text=f"Idempotency-Key: at most {NUMBER_MAX} characters")
    item, count = wanted["item"], wanted["count"]
    if item not in PRICES or not 0 < count <= 100:
        raise web.HTTPBadRequest(text=f"nobody can buy {count} {item}")
    return {
        "number": number,
        "customer": wanted["customer"],
        "item": item,
        "count": count,
        "amount": PRICES[item] * count,
    }


def order_saga(dtm: Dtm, shop: str, own: str, order: dict[str, Any]) -> Saga:
    """The three changes of an order, each with what undoes it.

    shop: its url. own: what urls of this service's own steps begin with.
    """
    saga = dtm.saga(order["number"], wait_result=True, retry_interval=FIRST_REPEAT_SECONDS)
    saga.add(f"{shop}/stock/branch/take", f"{shop}/stock/branch/put-back", order)
    saga.add(f"{shop}/payment/branch/charge", f"{shop}/payment/branch/give-back", order, keep_result=True)
    paid = {**order, "receipt": from_result(1, "$.receipt")}
    saga.add(f"{own}save", f"{own}cancel", paid)
    return saga


def steps_of(database: Database) -> dict[str, Step]:
    """Return this service's own steps: functions, called by their names where the coordinator is inside."""

    @with_barrier(database.lend, repeated=lambda: None)
    async def save(call: LocalCall, *, connection: aiosqlite.Connection) -> None:
        await connection.execute(
            "INSERT INTO orders VALUES (:number, :customer, :item, 'placed', :receipt)", call.json()
        )

    @with_barrier(database.lend, repeated=lambda: None)
    async def cancel(call: LocalCall, *, connection: aiosqlite.Connection) -> None:
        await connection.execute("DELETE FROM orders WHERE number = :number", call.json())

    return {"save": save, "cancel": cancel}


def over_http(step: Step) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return the handler of a step, for a coordinator elsewhere."""

    async def handler(request: web.Request) -> web.Response:
        await step(LocalCall(branch_of(request), await request.read()))
        return web.Response()

    return handler


def orders_service(
    database: Database, steps: Mapping[str, Step], dtm: Dtm, workflows: Workflows, shop: str, own: str
) -> web.Application:
    async def place(request: web.Request) -> web.Response:
        number = request.headers.get("Idempotency-Key") or uuid4().hex
        order = priced(await request.json(), number)
        try:
            done = await order_saga(dtm, shop, own, order).submit()
        except Failure as failure:
            return web.json_response({"order": number, "reason": failure.reason}, status=409)
        except (Ongoing, Unreachable):
            return web.json_response({"order": number, "state": "on its way"}, status=202)
        return web.json_response({"order": number, "state": "placed", **done.result(1)}, status=201)

    async def show(request: web.Request) -> web.Response:
        async with database.lend() as connection:
            rows = await connection.execute_fetchall("SELECT number, state FROM orders")
        return web.json_response({row[0]: row[1] for row in rows})

    async def ship(request: web.Request) -> web.Response:
        number = request.match_info["number"]

        async def mark_shipped(connection: aiosqlite.Connection) -> None:
            changed = await connection.execute(
                "UPDATE orders SET state = 'shipped' WHERE number = ? AND state = 'placed'", (number,)
            )
            if changed.rowcount == 0:
                raise web.HTTPConflict(text="there is nothing to ship")

        msg = dtm.msg(query_prepared=f"{shop}/orders/query-prepared", wait_result=True)
        msg.add(f"{shop}/mail/branch/send", {"text": f"order {number} is on its way"})
        msg.add(f"{shop}/orders/branch/follow", {"number": number})
        async with database.lend() as connection:
            await msg.do_and_submit(connection, mark_shipped)
        return web.json_response({"order": number, "state": "shipped"})

    async def follow(request: web.Request) -> web.Response:
        number = (await request.json())["number"]
        async with database.lend() as connection:
            rows = await connection.execute_fetchall(
                "SELECT customer FROM orders WHERE number = ?", (number,)
            )
        parcel = {"shop": shop, "number": number, "customer": next(iter(rows))[0]}
        with suppress(Ongoing):  # it sleeps
            await workflows.execute(follow_up, parcel, gid=f"follow-up-of-{number}")
        return web.Response()

    branches = web.Application(middlewares=[branch_middleware])
    for name, step in steps.items():
        branches.router.add_post(f"/{name}", over_http(step))
    branches.router.add_post("/follow", follow)
    service = web.Application()
    service.add_subapp("/branch/", branches)
    service.router.add_post("/", place)
    service.router.add_get("/", show)
    service.router.add_post("/{number}/ship", ship)
    service.router.add_route("*", "/workflow", workflows.handler)
    service.router.add_get("/query-prepared", query_prepared_handler(database.lend))
    return service
