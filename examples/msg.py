"""Save an order and send its mail: both, or neither, with no queue in between.

DTM_URL, BRANCH_HOST and BRANCH_PORT say where coordinator and branch are: examples/README.md.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
from aiohttp import web

from coordinator.client import Dtm, create_barrier_table, query_prepared_handler

DTM = os.environ.get("DTM_URL", "http://127.0.0.1:36789")
HOST, PORT = os.environ.get("BRANCH_HOST", "127.0.0.1"), int(os.environ.get("BRANCH_PORT", "0"))  # 0: any


async def mail(request: web.Request) -> web.Response:
    print(f"  mail: {await request.json()}")
    return web.json_response({})


async def save_order(shop: aiosqlite.Connection) -> None:
    await shop.execute("INSERT INTO orders VALUES (7)")


async def refuse_order(shop: aiosqlite.Connection) -> None:
    await shop.execute("INSERT INTO orders VALUES (8)")
    raise ValueError("sold out")


async def main(file: Path) -> None:
    @asynccontextmanager
    async def connect() -> AsyncIterator[aiosqlite.Connection]:
        async with aiosqlite.connect(file) as connection:
            yield connection

    await create_barrier_table(f"sqlite:///{file}")
    application = web.Application()
    application.router.add_post("/mail", mail)
    application.router.add_get("/query-prepared", query_prepared_handler(connect))  # after a crash in between
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, HOST, PORT).start()
    url = f"http://{HOST}:{runner.addresses[0][1]}"
    async with Dtm(DTM) as dtm, connect() as shop:
        await shop.execute("CREATE TABLE orders (id int)")
        for number, business in ((7, save_order), (8, refuse_order)):
            msg = dtm.msg(query_prepared=f"{url}/query-prepared", wait_result=True)
            msg.add(f"{url}/mail", {"to": "ann", "order": number})
            try:
                await msg.do_and_submit(shop, business)
                print(f"order {number}: saved, and the mail is sent")
            except ValueError as error:
                print(f"order {number}: {error}, so no mail either")
        rows = await shop.execute_fetchall("SELECT id FROM orders")
        print(f"orders: {[row[0] for row in rows]}")
    await runner.cleanup()


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(Path(folder) / "shop.db"))
