"""One message, as many receivers as have subscribed: the sender does not know them.

DTM_URL, BRANCH_HOST and BRANCH_PORT say where coordinator and branch are: examples/README.md.
"""

import asyncio
import os

from aiohttp import web

from coordinator.client import Dtm

DTM = os.environ.get("DTM_URL", "http://127.0.0.1:36789")
HOST, PORT = os.environ.get("BRANCH_HOST", "127.0.0.1"), int(os.environ.get("BRANCH_PORT", "0"))  # 0: any


async def receive(request: web.Request) -> web.Response:
    print(f"  {request.match_info['who']}: {await request.json()}")
    return web.json_response({})


async def main() -> None:
    application = web.Application()
    application.router.add_post("/{who}", receive)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, HOST, PORT).start()
    url = f"http://{HOST}:{runner.addresses[0][1]}"
    async with Dtm(DTM) as dtm:
        await dtm.subscribe("order-paid", f"{url}/mail", remark="tells the customer")
        await dtm.subscribe("order-paid", f"{url}/stock", remark="packs the parcel")
        print("two subscribers:")
        await dtm.msg(wait_result=True).add_topic("order-paid", {"order": 7}).submit()
        await dtm.unsubscribe("order-paid", f"{url}/mail")
        print("one subscriber:")
        await dtm.msg(wait_result=True).add_topic("order-paid", {"order": 8}).submit()
        await dtm.delete_topic("order-paid")
    await runner.cleanup()


asyncio.run(main())
