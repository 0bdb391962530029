"""A service killed with kill -9 in the middle of a workflow: its next start goes on (PROTOCOL §5, §7)."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from coordinator.client import Dtm, Status
from coordinator.testing import FakeBranches, Says
from tests.conftest import StartCoordinator
from tests.support.children import child
from tests.support.ports import free_port
from tests.support.under_test import CoordinatorProcess

ROOT = Path(__file__).resolve().parents[3]

SERVICE = """
import asyncio, sys
from aiohttp import web
from coordinator.client import BranchServer, Dtm, Workflow, Workflows, workflow

async def main(coordinator, bank, port, gid):
    @workflow("transfer")
    async def transfer(wf, data):
        await wf.saga(f"{bank}/bank.Bank/Out", f"{bank}/bank.Bank/OutBack", data)
        await wf.tcc(data, *(f"{bank}/bank.Bank/{phase}In" for phase in ("Try", "Confirm", "Cancel")))
        return "done"

    async with Dtm(coordinator) as dtm:
        over_http = coordinator.startswith("http")
        here = f"127.0.0.1:{port}"
        callback = f"http://{here}/wf" if over_http else f"{here}/workflow.Workflow/Execute"
        workflows = Workflows(dtm, [transfer], callback=callback)
        if over_http:
            application = web.Application()
            application.router.add_route("*", "/wf", workflows.handler)
            runner = web.AppRunner(application)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", int(port)).start()
        else:
            server = BranchServer([workflows.service()])
            await server.start("127.0.0.1", int(port))
        print("listening", flush=True)
        if gid:
            await workflows.execute(transfer, {"amount": 30}, gid=gid)
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""

BLOCKING_SERVICE = """
import sys, threading
from wsgiref.simple_server import make_server
from coordinator.client.sync import Dtm, Workflows, workflow

coordinator, bank, port, gid = sys.argv[1:]

@workflow("transfer")
def transfer(wf, data):
    wf.saga(f"{bank}/bank.Bank/Out", f"{bank}/bank.Bank/OutBack", data)
    wf.tcc(data, *(f"{bank}/bank.Bank/{phase}In" for phase in ("Try", "Confirm", "Cancel")))
    return "done"

with Dtm(coordinator) as dtm:
    workflows = Workflows(dtm, [transfer], callback=f"http://127.0.0.1:{port}/wf")
    server = make_server("127.0.0.1", int(port), workflows.wsgi)
    print("listening", flush=True)
    if gid:
        threading.Thread(target=lambda: workflows.execute(transfer, {"amount": 30}, gid=gid)).start()
    server.serve_forever()
"""

BLOCKING_GRPC_SERVICE = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import grpc
from coordinator.client.grpcio import BlockingBranchInterceptor
from coordinator.client.sync import Dtm, Workflows, workflow

coordinator, bank, port, gid = sys.argv[1:]

@workflow("transfer")
def transfer(wf, data):
    wf.saga(f"{bank}/bank.Bank/Out", f"{bank}/bank.Bank/OutBack", data)
    wf.tcc(data, *(f"{bank}/bank.Bank/{phase}In" for phase in ("Try", "Confirm", "Cancel")))
    return "done"

with Dtm(coordinator) as dtm:
    here = f"127.0.0.1:{port}"
    workflows = Workflows(dtm, [transfer], callback=f"{here}/workflow.Workflow/Execute")
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[BlockingBranchInterceptor()])
    server.add_generic_rpc_handlers((workflows.grpc_handler(),))
    server.add_insecure_port(here)
    server.start()
    print("listening", flush=True)
    if gid:
        threading.Thread(target=lambda: workflows.execute(transfer, {"amount": 30}, gid=gid)).start()
    server.wait_for_termination()
"""


@asynccontextmanager
async def service(program: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    async with child(sys.executable, "-c", program, *arguments, environment=environment) as process:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"listening\n"
        yield process


def cases() -> list[Any]:
    programs = {
        "http": {"": SERVICE, "blocking-": BLOCKING_SERVICE},
        "grpc": {"": SERVICE, "blocking-": BLOCKING_SERVICE, "blocking-grpcio-": BLOCKING_GRPC_SERVICE},
    }
    places = {
        "in-action": ("Out", "action"),
        "in-try": ("TryIn", "action"),
        "in-confirm": ("ConfirmIn", "commit"),
    }
    return [
        pytest.param(protocol, program, f"/bank.Bank/{name}", op, id=f"{protocol}-{kind}{place}")
        for protocol, kinds in programs.items()
        for kind, program in kinds.items()
        for place, (name, op) in places.items()
        if program is not BLOCKING_SERVICE or place == "in-try"  # the rest is the async client's
    ]


@pytest.mark.parametrize(("protocol", "program", "at", "op"), cases())
async def test_a_killed_service_goes_on_after_its_restart(
    start_coordinator: StartCoordinator, protocol: str, program: str, at: str, op: str
) -> None:
    coordinator = await asyncio.to_thread(start_coordinator, settings={"TransCronInterval": 1})
    address = coordinator.http_url if protocol == "http" else f"grpc://{coordinator.grpc_address}"
    port, gid = str(free_port()), "g1"
    async with FakeBranches() as branches, Dtm(coordinator.http_url) as dtm:
        bank = branches.http_url if protocol == "http" else branches.grpc_url
        branches.answer(at, Says.HANGS, Says.SUCCESS)
        async with service(program, address, bank, port, gid):
            await branches.until_called(at, op=op)
        # killed while the branch was working, so the call is made once more and the barrier knows it
        async with service(program, address, bank, port, ""):
            await make_due(coordinator, gid)
            assert (await dtm.wait(gid, timeout=30)).status is Status.SUCCEED
    paths = [call.path.rpartition("/")[2] for call in branches.calls if call.op in ("action", "commit")]
    expected = ["Out", "TryIn", "ConfirmIn"]
    expected.insert(expected.index(at.rpartition("/")[2]), at.rpartition("/")[2])
    assert paths == expected, "what was recorded before the kill is not done again"


async def make_due(coordinator: CoordinatorProcess, gid: str) -> None:
    url = f"{coordinator.api_url}/resetNextCronTime"
    async with aiohttp.ClientSession() as session, session.post(url, json={"gid": gid}) as response:
        assert response.status == 200, await response.text()
