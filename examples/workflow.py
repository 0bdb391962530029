"""Registering a user as ordinary code: its steps are remembered through a crash, and undone by a refusal.

DTM_URL, BRANCH_HOST and BRANCH_PORT say where coordinator and branch are: examples/README.md.
"""

import asyncio
import os
import socket
from typing import Any

from aiohttp import web

from coordinator.client import (
    BranchContext,
    Dtm,
    Failure,
    Workflow,
    Workflows,
    branch_middleware,
    current_branch,
    workflow,
)

DTM = os.environ.get("DTM_URL", "http://127.0.0.1:36789")
HOST, PORT = os.environ.get("BRANCH_HOST", "127.0.0.1"), int(os.environ.get("BRANCH_PORT", "0"))  # 0: any
HOME: dict[str, str] = {}  # where this program listens


async def choose_number(branch: BranchContext) -> int:
    return 4711  # a step of its own, because it would not be the same number when the workflow is run again


@workflow("register")
async def register(wf: Workflow, data: dict[str, Any]) -> dict[str, Any]:
    number = await wf.do(choose_number)
    await wf.saga(f"{HOME['url']}/user", f"{HOME['url']}/user", {"id": number, **data})
    await wf.tcc({"id": number, **data}, *[f"{HOME['url']}/score"] * 3)
    return {"id": number, "welcome": data["name"]}


async def branch(request: web.Request) -> web.Response:
    what, wanted = request.match_info["what"], await request.json()
    print(f"  {what}: {current_branch().op}")
    if what == "score" and wanted["score"] > 100:
        raise Failure("score over the limit")
    return web.json_response({})


async def main() -> None:
    with socket.create_server((HOST, PORT)) as listening:
        HOME["url"] = f"http://{HOST}:{listening.getsockname()[1]}"
        await serve(listening)


async def serve(listening: socket.socket) -> None:
    async with Dtm(DTM) as dtm:
        workflows = Workflows(dtm, [register], callback=f"{HOME['url']}/workflow")
        service = web.Application(middlewares=[branch_middleware])
        service.router.add_post("/{what:user|score}", branch)
        service.router.add_route("*", "/workflow", workflows.handler)  # gone on with here after a crash
        runner = web.AppRunner(service)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        for name, score in (("ann", 10), ("bob", 1000)):
            try:
                print(await workflows.execute(register, {"name": name, "score": score}))
            except Failure as failure:
                print(f"{name} is not registered: {failure.reason}")
        await runner.cleanup()


asyncio.run(main())
