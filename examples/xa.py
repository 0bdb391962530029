"""Move 30 by XA: both accounts' own database transactions are prepared, then committed, or rolled back.

DTM_URL, BRANCH_HOST and BRANCH_PORT say where coordinator and branch are: examples/README.md.
"""

import asyncio
import os
import sys
from urllib.parse import urlsplit

import aiomysql
from aiohttp import web

from coordinator.client import Dtm, Failure, branch_middleware, create_barrier_table

DTM = os.environ.get("DTM_URL", "http://127.0.0.1:36789")
HOST, PORT = os.environ.get("BRANCH_HOST", "127.0.0.1"), int(os.environ.get("BRANCH_PORT", "0"))  # 0: any
DATABASE = os.environ.get("XA_DATABASE", "")  # SQLite has no XA


async def connect() -> aiomysql.Connection:
    url = urlsplit(DATABASE)
    return await aiomysql.connect(
        host=url.hostname,
        port=url.port or 3306,
        user=url.username or "root",
        password=url.password or "",
        db=url.path.lstrip("/"),
    )


async def run(sql: str) -> list[tuple[object, ...]]:
    connection = await connect()
    async with connection.cursor() as cursor:
        await cursor.execute(sql)
        rows: list[tuple[object, ...]] = list(await cursor.fetchall())
    await connection.commit()
    await connection.ensure_closed()
    return rows


async def main() -> None:
    await create_barrier_table(DATABASE)
    await run("CREATE TABLE xa_account (name varchar(10) PRIMARY KEY, balance int)")
    await run("INSERT INTO xa_account VALUES ('ann', 100), ('bob', 0)")
    async with Dtm(DTM) as dtm:

        async def account(request: web.Request) -> web.Response:
            # Called as action, then as commit or rollback: the block knows which.
            async with dtm.xa_branch(request, connect) as transaction:
                if transaction.runs:
                    name, amount = request.match_info["name"], (await request.json())["amount"]
                    if name == "bob" and amount > 100:
                        raise Failure("bob takes no more than 100")
                    async with transaction.connection.cursor() as cursor:
                        change = "UPDATE xa_account SET balance = balance + %s WHERE name = %s"
                        await cursor.execute(change, (amount, name))
            return web.json_response({})

        bank = web.Application(middlewares=[branch_middleware])
        bank.router.add_post("/{name}", account)
        runner = web.AppRunner(bank)
        await runner.setup()
        await web.TCPSite(runner, HOST, PORT).start()
        url = f"http://{HOST}:{runner.addresses[0][1]}"
        for amount in (30, 300):
            try:
                async with dtm.xa(wait_result=True) as xa:
                    await xa.call_branch(f"{url}/ann", {"amount": -amount})
                    await xa.call_branch(f"{url}/bob", {"amount": amount})
                print(f"{amount}: committed")
            except Failure as failure:
                print(f"{amount}: rolled back, because {failure}")
            print(" ", await run("SELECT name, balance FROM xa_account ORDER BY name"))
        await runner.cleanup()
    await run("DROP TABLE xa_account")


if not DATABASE:
    sys.exit(
        "SQLite has no XA: set XA_DATABASE=mysql://user:password@host:3306/database, a MySQL or MariaDB."
    )
asyncio.run(main())
