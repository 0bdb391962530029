"""Book a room and pay for it: the second step is given the number that the first one answered.

DTM_URL, BRANCH_HOST and BRANCH_PORT say where coordinator and branch are: examples/README.md.
"""

import asyncio
import os
from typing import Any

from aiohttp import web

from coordinator.client import Dtm, Failure, Submitted, from_result

DTM = os.environ.get("DTM_URL", "http://127.0.0.1:36789")
HOST, PORT = os.environ.get("BRANCH_HOST", "127.0.0.1"), int(os.environ.get("BRANCH_PORT", "0"))  # 0: any


async def hotel(request: web.Request) -> web.Response:
    given = await request.json()
    print(f"  hotel: {request.query['op']:<10} {given}")
    # Called again it must answer the same: so the number is made of what is the same each time.
    return web.json_response({"number": f"B-{request.query['gid']}", "price": 60 * given.get("nights", 0)})


async def bank(request: web.Request) -> web.Response:
    given = await request.json()
    print(f"  bank: {request.query['op']:<10} {given}")
    refused = request.query["op"] == "action" and given["amount"] > 100
    return web.Response(status=409 if refused else 200, text="account is empty" if refused else "")


async def book(dtm: Dtm, url: str, gid: str, wanted: dict[str, Any]) -> Submitted:
    saga = dtm.saga(gid, wait_result=True)
    saga.add(
        f"{url}/hotel",
        f"{url}/hotel",
        wanted,
        keep_result=True,
        compensate_payload={"cancelled": from_result(0, "$.number")},
    )
    bill = {"booking": from_result(0, "$.number"), "amount": from_result(0, "$.price")}
    saga.add(f"{url}/bank", f"{url}/bank", bill)
    return await saga.submit()


async def main() -> None:
    services = web.Application()
    services.router.add_post("/hotel", hotel)
    services.router.add_post("/bank", bank)
    runner = web.AppRunner(services)
    await runner.setup()
    await web.TCPSite(runner, HOST, PORT).start()
    url = f"http://{HOST}:{runner.addresses[0][1]}"
    async with Dtm(DTM) as dtm:
        for name, nights in (("ann", 1), ("bob", 3)):
            try:
                done = await book(dtm, url, f"journey-of-{name}", {"nights": nights})
                print(f"{name} has {done.result(0)['number']}")
            except Failure as failure:
                print(f"{name} stays at home: {failure.reason}")
    await runner.cleanup()


asyncio.run(main())
