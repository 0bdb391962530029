"""The customers' accounts: charged for an order, and given back. Large sums wait for the bank's approval."""

import aiosqlite
from aiohttp import web

from coordinator.client import Failure, Ongoing, branch_middleware, with_barrier
from examples.shop.database import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS account (customer TEXT PRIMARY KEY, balance INTEGER NOT NULL, approved INTEGER);
INSERT OR IGNORE INTO account VALUES ('ann', 100, 0), ('bob', 5, 0);
"""
LARGE = 50


def payment_service(database: Database) -> web.Application:
    @with_barrier(database.lend, repeated=web.Response)
    async def take_money(request: web.Request, *, connection: aiosqlite.Connection) -> web.Response:
        order = await request.json()
        found = await connection.execute_fetchall(
            "SELECT balance, approved FROM account WHERE customer = :customer", order
        )
        balance, is_approved = next(iter(found), (0, 0))
        if balance < order["amount"]:
            raise Failure(f"{order['customer']} cannot pay {order['amount']}")
        if order["amount"] > LARGE and not is_approved:
            raise Ongoing("the bank has not approved this yet")
        await connection.execute(
            "UPDATE account SET balance = balance - :amount, approved = 0 WHERE customer = :customer", order
        )
        return web.Response()

    async def charge(request: web.Request) -> web.Response:
        await take_money(request)
        order = await request.json()
        return web.json_response({"receipt": f"R-{order['number']}"})  # the same, however often it is asked

    @with_barrier(database.lend, repeated=web.Response)
    async def give_back(request: web.Request, *, connection: aiosqlite.Connection) -> web.Response:
        order = await request.json()
        await connection.execute(
            "UPDATE account SET balance = balance + :amount WHERE customer = :customer", order
        )
        return web.Response()

    async def approve(request: web.Request) -> web.Response:
        async with database.lend() as connection:
            await connection.execute(
                "UPDATE account SET approved = 1 WHERE customer = ?", (request.match_info["customer"],)
            )
            await connection.commit()
        return web.Response()

    async def show(request: web.Request) -> web.Response:
        async with database.lend() as connection:
            rows = await connection.execute_fetchall(
                "SELECT customer, balance FROM account ORDER BY customer"
            )
        return web.json_response({row[0]: row[1] for row in rows})

    branches = web.Application(middlewares=[branch_middleware])
    branches.router.add_post("/charge", charge)
    branches.router.add_post("/give-back", give_back)
    service = web.Application()
    service.add_subapp("/branch/", branches)
    service.router.add_post("/approve/{customer}", approve)
    service.router.add_get("/", show)
    return service
