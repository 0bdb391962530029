"""The stock: pieces are taken for an order, and put back when the order comes to nothing."""

import aiosqlite
from aiohttp import web

from coordinator.client import Failure, branch_middleware, with_barrier
from examples.shop.database import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, pieces INTEGER NOT NULL);
INSERT OR IGNORE INTO stock VALUES ('pear', 10), ('melon', 5);
"""


def stock_service(database: Database) -> web.Application:
    @with_barrier(database.lend, repeated=web.Response)
    async def take(request: web.Request, *, connection: aiosqlite.Connection) -> web.Response:
        order = await request.json()
        taken = await connection.execute(
            "UPDATE stock SET pieces = pieces - :count WHERE item = :item AND pieces >= :count", order
        )
        if taken.rowcount == 0:
            raise Failure(f"no {order['item']} left")
        return web.Response()

    @with_barrier(database.lend, repeated=web.Response)
    async def put_back(request: web.Request, *, connection: aiosqlite.Connection) -> web.Response:
        order = await request.json()
        await connection.execute("UPDATE stock SET pieces = pieces + :count WHERE item = :item", order)
        return web.Response()

    async def show(request: web.Request) -> web.Response:
        async with database.lend() as connection:
            rows = await connection.execute_fetchall("SELECT item, pieces FROM stock ORDER BY item")
        return web.json_response({row[0]: row[1] for row in rows})

    branches = web.Application(middlewares=[branch_middleware])
    branches.router.add_post("/take", take)
    branches.router.add_post("/put-back", put_back)
    service = web.Application()
    service.add_subapp("/branch/", branches)
    service.router.add_get("/", show)
    return service
