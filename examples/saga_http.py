"""Move 30 from one account to another, over HTTP: two steps that both happen, or neither."""

import asyncio

from aiohttp import web

from coordinator.client import Dtm, Failure


async def move(request: web.Request) -> web.Response:
    print(f"  bank: {request.query['op']:<10} {request.match_info['what']} {await request.json()}")
    refused = request.match_info["what"] == "deposit" and (await request.json())["amount"] > 100
    return web.Response(status=409 if refused else 200, text="account is full" if refused else "")


async def main() -> None:
    bank = web.Application()
    bank.router.add_post("/{what}", move)
    runner = web.AppRunner(bank)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 8000).start()
    async with Dtm("http://127.0.0.1:36789") as dtm:
        for amount in (30, 300):
            saga = dtm.saga(wait_result=True)
            saga.add(
                "http://127.0.0.1:8000/withdraw", "http://127.0.0.1:8000/withdraw-back", {"amount": amount}
            )
            saga.add(
                "http://127.0.0.1:8000/deposit", "http://127.0.0.1:8000/deposit-back", {"amount": amount}
            )
            try:
                print(f"{amount}: {(await saga.submit()).status}")
            except Failure as failure:
                print(f"{amount}: rolled back, because {failure}")
    await runner.cleanup()


asyncio.run(main())
