"""Move 30 by TCC: try reserves it on both sides, confirm moves it, cancel lets go of it.

DTM_URL, BRANCH_HOST and BRANCH_PORT say where coordinator and branch are: examples/README.md.
"""

import asyncio
import os

from aiohttp import web

from coordinator.client import Dtm, Failure, branch_middleware, current_branch

DTM = os.environ.get("DTM_URL", "http://127.0.0.1:36789")
HOST, PORT = os.environ.get("BRANCH_HOST", "127.0.0.1"), int(os.environ.get("BRANCH_PORT", "0"))  # 0: any


async def account(request: web.Request) -> web.Response:
    name, amount = request.match_info["name"], (await request.json())["amount"]
    operation = current_branch().op
    print(f"  {name}: {operation:<7} {amount:+}")
    if operation == "try" and amount > 100:
        raise Failure(f"{name} takes no more than 100")
    return web.json_response({})


async def main() -> None:
    bank = web.Application(middlewares=[branch_middleware])
    bank.router.add_post("/{name}", account)
    runner = web.AppRunner(bank)
    await runner.setup()
    await web.TCPSite(runner, HOST, PORT).start()
    url = f"http://{HOST}:{runner.addresses[0][1]}"
    async with Dtm(DTM) as dtm:
        for amount in (30, 300):
            try:
                async with dtm.tcc(wait_result=True) as tcc:
                    await tcc.call_branch({"amount": -amount}, *[f"{url}/ann"] * 3)
                    await tcc.call_branch({"amount": amount}, *[f"{url}/bob"] * 3)
                print(f"{amount}: confirmed")
            except Failure as failure:
                print(f"{amount}: cancelled, because {failure}")
    await runner.cleanup()


asyncio.run(main())
