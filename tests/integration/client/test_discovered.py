"""Coordinators found through etcd, and several that are named (PROTOCOL §11)."""

import asyncio

import pytest

from coordinator.client import Dtm, Status, Unreachable
from coordinator.testing import FakeBranches
from tests.conftest import StartCoordinator
from tests.support.ports import free_port
from tests.support.servers import EtcdServer

HOST = "127.0.0.1"


async def test_a_coordinator_is_found_through_etcd(
    etcd: EtcdServer, start_coordinator: StartCoordinator
) -> None:
    port, target = free_port(), f"etcd://{etcd.endpoint}/client-{free_port()}"
    registered = {"Driver": "dtm-driver-gozero", "Target": target, "EndPoint": f"{HOST}:{port}"}
    settings = {"GrpcPort": port, "MicroService": registered}
    await asyncio.to_thread(start_coordinator, settings=settings)
    async with FakeBranches() as branches, Dtm(target) as dtm:
        saga = dtm.saga(wait_result=True).add(f"{branches.grpc_url}/bank.Bank/In")
        assert (await saga.submit()).status is Status.SUCCEED
        stored = await dtm.query(saga.gid)
        assert stored is not None and stored.status is Status.SUCCEED


async def test_of_several_one_that_is_away_does_no_harm(start_coordinator: StartCoordinator) -> None:
    here = await asyncio.to_thread(start_coordinator)
    async with Dtm(f"direct:///{HOST}:{free_port()},{here.grpc_address}") as dtm:
        for _ in range(4):
            assert await dtm.new_gid()


async def test_of_several_one_that_takes_connections_and_is_silent_costs_one_call_only_a_part_of_its_time(
    start_coordinator: StartCoordinator,
) -> None:
    here = await asyncio.to_thread(start_coordinator)
    taken: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: taken.append(writer), HOST, 0)
    silent_port = silent.sockets[0].getsockname()[1]
    async with silent, Dtm(f"direct:///{HOST}:{silent_port},{here.grpc_address}", timeout=4) as dtm:
        for _ in range(4):
            assert await dtm.new_gid()
        assert len(taken) == 1, "passed over from then on"
        for writer in taken:
            writer.close()


async def test_nobody_registered_says_so_in_time() -> None:
    async with Dtm(f"etcd://{HOST}:{free_port()}/dtmservice", timeout=1) as dtm:
        with pytest.raises(Unreachable, match="nothing was sent, the transaction does not exist"):
            await dtm.saga().add("host:1/bank.Bank/In").submit()
