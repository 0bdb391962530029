"""The post room: sends a mail once, however often it is told to."""

import aiosqlite
from aiohttp import web

from coordinator.client import branch_middleware, with_barrier
from examples.shop.database import Database

SCHEMA = "CREATE TABLE IF NOT EXISTS sent (text TEXT NOT NULL);"


def mail_service(database: Database) -> web.Application:
    @with_barrier(database.lend, repeated=web.Response)
    async def send(request: web.Request, *, connection: aiosqlite.Connection) -> web.Response:
        await connection.execute("INSERT INTO sent VALUES (:text)", await request.json())
        return web.Response()

    async def show(request: web.Request) -> web.Response:
        async with database.lend() as connection:
            rows = await connection.execute_fetchall("SELECT text FROM sent")
        return web.json_response([row[0] for row in rows])

    branches = web.Application(middlewares=[branch_middleware])
    branches.router.add_post("/send", send)
    service = web.Application()
    service.add_subapp("/branch/", branches)
    service.router.add_get("/", show)
    return service
