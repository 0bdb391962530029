"""Book a journey: flight and hotel at once, the car when both are there. Any of them may say no.

DTM_URL, BRANCH_HOST and BRANCH_PORT say where coordinator and branch are: examples/README.md.
"""

import asyncio
import os

from aiohttp import web

from coordinator.client import Dtm, Failure, branch_middleware, current_branch

DTM = os.environ.get("DTM_URL", "http://127.0.0.1:36789")
HOST, PORT = os.environ.get("BRANCH_HOST", "127.0.0.1"), int(os.environ.get("BRANCH_PORT", "0"))  # 0: any


async def book(request: web.Request) -> web.Response:
    what, wanted = request.match_info["what"], await request.json()
    print(f"  {what}: {current_branch().op}")
    if current_branch().op == "action" and wanted["full"] == what:
        raise Failure(f"no {what} left")
    return web.json_response({})


async def main() -> None:
    agency = web.Application(middlewares=[branch_middleware])
    agency.router.add_post("/{what}", book)
    runner = web.AppRunner(agency)
    await runner.setup()
    await web.TCPSite(runner, HOST, PORT).start()
    url = f"http://{HOST}:{runner.addresses[0][1]}"
    async with Dtm(DTM) as dtm:
        for full in ("nothing", "hotel"):
            saga = dtm.saga(concurrent=True, wait_result=True)
            saga.add(f"{url}/flight", f"{url}/flight", {"full": full})
            saga.add(f"{url}/hotel", f"{url}/hotel", {"full": full})
            saga.add(f"{url}/car", f"{url}/car", {"full": full}, after=[0, 1])
            try:
                await saga.submit()
                print("booked")
            except Failure as failure:
                print(f"not booked, nothing is left behind: {failure.reason}")
    await runner.cleanup()


asyncio.run(main())
