"""Move 30 from one account to another, over HTTP: two steps that both happen, or neither.

DTM_URL, BRANCH_HOST and BRANCH_PORT say where coordinator and branch are: examples/README.md.
"""

import asyncio
import os

from aiohttp import web

from coordinator.client import Dtm, Failure

DTM = os.environ.get("DTM_URL", "http://127.0.0.1:36789")
HOST, PORT = os.environ.get("BRANCH_HOST", "127.0.0.1"), int(os.environ.get("BRANCH_PORT", "0"))  # 0: any


async def move(request: web.Request) -> web.Response:
    print(f"  bank: {request.query['op']:<10} {request.match_info['what']} {await request.json()}")
    refused = request.match_info["what"] == "deposit" and (await request.json())["amount"] > 100
    return web.Response(status=409 if refused else 200, text="account is full" if refused else "")


async def main() -> None:
    bank = web.Application()
    bank.router.add_post("/{what}", move)
    runner = web.AppRunner(bank)
    await runner.setup()
    await web.TCPSite(runner, HOST, PORT).start()
    url = f"http://{HOST}:{runner.addresses[0][1]}"
    async with Dtm(DTM) as dtm:
        for amount in (30, 300):
            saga = dtm.saga(wait_result=True)
            saga.add(f"{url}/withdraw", f"{url}/withdraw-back", {"amount": amount})
            saga.add(f"{url}/deposit", f"{url}/deposit-back", {"amount": amount})
            try:
                print(f"{amount}: {(await saga.submit()).status}")
            except Failure as failure:
                print(f"{amount}: rolled back, because {failure}")
    await runner.cleanup()


asyncio.run(main())
