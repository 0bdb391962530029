"""etcd goes away under load for a minute and comes back empty: all is served, and registered again."""

import asyncio
import base64
import shutil
import time
from typing import Any

import aiohttp
import pytest

from branches.proto.user import UserRequest
from coordinator.client import Dtm, Status
from tests.chaos.business import BranchService, until
from tests.conftest import StartCoordinator
from tests.support.servers import EtcdServer

AWAY_SECONDS = 60  # many leases, and longer than any pause between two attempts
COORDINATOR, SERVICE = "chaos-coordinator", "chaos-service"


@pytest.mark.timeout(AWAY_SECONDS + 60)
async def test_etcd_away(
    start_coordinator: StartCoordinator,
    branch_service: BranchService,
    etcd: EtcdServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    end_point = "10.1.2.3:36790"
    registered = f"etcd://{etcd.endpoint}/{COORDINATOR}"
    micro_service = {"Driver": "dtm-driver-gozero", "Target": registered, "EndPoint": end_point}
    await _put(etcd, f"{SERVICE}/1", branch_service.grpc_address)
    coordinator = await asyncio.to_thread(start_coordinator, settings={"MicroService": micro_service})

    async def is_registered() -> bool:
        return await _values(etcd, f"{COORDINATOR}/") == [end_point]

    await until(is_registered, seconds=15, what="the coordinator's entry in etcd")
    async with Dtm(f"grpc://{coordinator.grpc_address}") as dtm:
        await _succeeds(dtm, etcd, 1)
        await asyncio.to_thread(etcd.kill)
        back_at = time.monotonic() + AWAY_SECONDS
        number = 1
        while time.monotonic() < back_at:
            number += 1
            assert await _succeeds(dtm, etcd, number) < 2
            await asyncio.sleep(0.1)  # a load over the whole time, not as much as possible
        assert number > AWAY_SECONDS  # sagas kept ending all the time
        shutil.rmtree(etcd.folder / "data")
        await asyncio.to_thread(etcd.start)
        took = await until(is_registered, seconds=20, what="the entry again")
        await _put(etcd, f"{SERVICE}/1", branch_service.grpc_address)

        async def is_resolved() -> bool:
            return (await _submit(dtm, etcd, number + 1)) is Status.SUCCEED

        await until(is_resolved, seconds=15, what="a saga by the name in etcd")
    with capsys.disabled():
        print(f"\n  {number} sagas while etcd was away, registered again {took:.1f} s after its return")


async def _succeeds(dtm: Dtm, etcd: EtcdServer, number: int) -> float:
    started = time.monotonic()
    assert await _submit(dtm, etcd, number) is Status.SUCCEED
    return time.monotonic() - started


async def _submit(dtm: Dtm, etcd: EtcdServer, number: int) -> Status:
    user = f"etcd://{etcd.endpoint}/{SERVICE}/user.User"
    payload = bytes(UserRequest(id=str(number), name="a name"))
    saga = dtm.saga(f"etcd-{number}", wait_result=True, retry_interval=1)
    return (await saga.add(f"{user}/saveUser", f"{user}/saveUserCallback", payload).submit()).status


async def _put(etcd: EtcdServer, key: str, value: str) -> None:
    await _ask(etcd, "put", {"key": _encoded(key), "value": _encoded(value)})


async def _values(etcd: EtcdServer, prefix: str) -> list[str]:
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    answer = await _ask(etcd, "range", {"key": _encoded(prefix), "range_end": _encoded(end)})
    return [base64.b64decode(row["value"]).decode() for row in answer.get("kvs", [])]


async def _ask(etcd: EtcdServer, operation: str, body: dict[str, str]) -> dict[str, Any]:
    """Use etcd's own JSON gateway, so that what the coordinator wrote is seen by other eyes than its own."""
    url = f"http://{etcd.endpoint}/v3/kv/{operation}"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        answer: dict[str, Any] = await response.json(content_type=None)
        return answer


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
