"""A trial that sleeps until it is over: durable time, chains at once, a child, a patch, large results.

DTM_URL, BRANCH_HOST and BRANCH_PORT say where coordinator and branch are: examples/README.md.
"""

import asyncio
import os
import socket
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from coordinator.client import (
    BranchContext,
    Dtm,
    Failure,
    Ongoing,
    Retry,
    Workflow,
    Workflows,
    workflow,
)

DTM = os.environ.get("DTM_URL", "http://127.0.0.1:36789")
HOST, PORT = os.environ.get("BRANCH_HOST", "127.0.0.1"), int(os.environ.get("BRANCH_PORT", "0"))  # 0: any
SHELF: dict[str, bytes] = {}


class Shelf:
    """Where what is too large for the coordinator goes: here a dict, else a bucket or a table."""

    async def save(self, key: str, data: bytes) -> None:
        SHELF[key] = data

    async def load(self, key: str) -> bytes:
        return SHELF[key]


async def open_account(branch: BranchContext) -> str:
    print(f"  account: {branch.op}")
    return "account"


async def close_account(branch: BranchContext) -> None:
    print(f"  account: {branch.op}")


async def write_manual(branch: BranchContext) -> str:
    return "read me " * 10_000  # 80 kB, kept on the shelf


async def account(wf: Workflow) -> str:
    return await wf.do(open_account, rollback=close_account, retry=Retry(attempts=3), timeout=5)


async def manual(wf: Workflow) -> int:
    return len(await wf.do(write_manual))


@workflow("bill")
async def bill(wf: Workflow, data: dict[str, Any]) -> str:
    return f"{data['name']}-{(await wf.uuid()).version}"


@workflow("trial")
async def trial(wf: Workflow, data: dict[str, Any]) -> dict[str, Any]:
    began = await wf.now()
    _, length = await wf.run_in_parallel(account, manual)
    await wf.sleep(data["seconds"])  # nothing is kept in memory, for seconds or for months
    number = await wf.child(bill, {"name": data["name"]})
    if await wf.patched("thank-them"):  # a change that counts for those that were not past it
        print(f"  thank you, {data['name']}")
    return {"bill": number, "manual": length, "slept": (datetime.now(UTC) - began).seconds >= data["seconds"]}


async def main() -> None:
    async with Dtm(DTM) as dtm:
        with socket.create_server((HOST, PORT)) as listening:
            callback = f"http://{HOST}:{listening.getsockname()[1]}/workflow"
            workflows = Workflows(dtm, [trial], callback=callback, external=Shelf())
            service = web.Application()
            service.router.add_route("*", "/workflow", workflows.handler)  # called back here when it is over
            runner = web.AppRunner(service)
            await runner.setup()
            await web.SockSite(runner, listening).start()
            print(await workflows.execute(trial, {"name": "ann", "seconds": 2}, wait_seconds=30))
            await change_of_mind(workflows)
            await runner.cleanup()


async def change_of_mind(workflows: Workflows) -> None:
    gid = f"trial-of-bob-{datetime.now(UTC):%H%M%S%f}"
    data = {"name": "bob", "seconds": 1_000_000}
    try:
        await workflows.execute(trial, data, gid=gid)
    except Ongoing:
        print("bob's trial sleeps")
    await workflows.cancel(gid, reason="bob has called")
    try:
        await workflows.execute(trial, data, gid=gid)
    except Failure as failure:
        print(f"bob's trial is {failure.reason}")


asyncio.run(main())
