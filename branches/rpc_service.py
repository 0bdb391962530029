"""A gRPC branch service from start to stop: database, server, registration in etcd."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from branches.data_source import split_address
from branches.database import Database, DatabaseProblem, open_database
from branches.running import GRACE_SECONDS, cannot_listen, say_ready, until_told_to_stop
from branches.settings import EtcdSection, RpcSettings
from branches.watching import Watching
from coordinator.client import BranchServer
from coordinator.client.service import EtcdRegistration, log

EVERY_ADDRESS: Final = ("", "0.0.0.0", "::")


async def run_rpc_service(settings: RpcSettings, table: str, make_service: Callable[[Database], Any]) -> None:
    """Serve until SIGTERM. table: the business table, whose schema is sql/<table>.*.sql.

    A database that is away does not keep the service from starting: it is tried again with each call, which
    answers Internal meanwhile. Raises StartError when it cannot listen.
    """
    host, port = split_address(settings.listen_on)
    watching = Watching(settings)
    source = settings.source
    database = open_database(source, table, settings.sql_folder, watching.database(source))
    server = BranchServer([make_service(database)])
    watching.grpc(server)
    async with until_told_to_stop() as told, watching.running():
        try:
            await server.start(host or None, port)
        except OSError as error:
            raise cannot_listen(host, port, error) from error
        try:
            await _prepare(database)
            async with _registered(settings.etcd, host, server.port):
                say_ready(settings, host, server.port, f"rows in {settings.source}")
                await told.wait()
        finally:
            await server.stop(grace=GRACE_SECONDS)
            await database.close()


async def _prepare(database: Database) -> None:
    try:
        await database.prepare()
    except DatabaseProblem as problem:
        log.warning("{}; started without it, every call tries again", problem)


@asynccontextmanager
async def _registered(etcd: EtcdSection, host: str, port: int) -> AsyncIterator[None]:
    """Be found in etcd, as go-zero services are, for as long as the block runs."""
    if not etcd:
        yield
        return
    shown_host = await _own_address(etcd.hosts[0]) if host in EVERY_ADDRESS else host
    registration = EtcdRegistration(
        etcd.hosts, etcd.key, f"{shown_host}:{port}", user=etcd.user, password=etcd.password
    )
    await registration.start()
    try:
        yield
    finally:
        await registration.stop()


async def _own_address(etcd_endpoint: str) -> str:
    """The address that others reach this machine by: POD_IP as in go-zero, else the one that faces etcd."""
    if told := os.environ.get("POD_IP"):
        return told
    host, port = split_address(etcd_endpoint, default_port=2379)
    loop = asyncio.get_running_loop()
    try:
        # "Connecting" a UDP socket sends nothing; it makes the system choose the interface.
        async with asyncio.timeout(2):
            transport, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=(host, port)
            )
    except (OSError, TimeoutError) as error:
        log.warning("cannot tell which address faces {} ({}): registering 127.0.0.1", etcd_endpoint, error)
        return "127.0.0.1"
    try:
        return str(transport.get_extra_info("sockname")[0])
    finally:
        transport.close()
