"""Listening: opens and closes the ports of both protocols."""

import asyncio
from typing import Protocol

from coordinator.api.grpc import GrpcApi
from coordinator.api.grpc_server import GrpcServer
from coordinator.api.http import HttpApi
from coordinator.api.http_server import HttpServer
from coordinator.api.taken_port import cannot_listen
from coordinator.api.unread import Unread
from coordinator.tls import ServerTls, listening_with

_BACKLOG = 1024  # connections that wait to be accepted; a restart under load brings many at once


class Listener(Protocol):
    """An open port."""

    @property
    def port(self) -> int:
        """The port; the one found when 0 was asked for."""
        ...

    async def stop(self, grace_seconds: float) -> None:
        """Take no new work, let what runs end for at most `grace_seconds`, close every connection."""
        ...


async def start_http(
    api: HttpApi,
    host: str,
    port: int,
    tls: ServerTls | None = None,
    *,
    key: str = "HttpPort",
    is_shared: bool = False,
) -> Listener:
    """Open the HTTP port; 0 is any free one. tls: None: plainly. key: what conf.yml calls the port.

    is_shared: with other processes of ours, which open it likewise.
    Raises StartError when it cannot be had.
    """
    server = api.server()
    try:
        listening = await asyncio.get_running_loop().create_server(
            server,
            host,
            port,
            backlog=_BACKLOG,
            reuse_port=is_shared or None,
            **listening_with(tls.context if tls else None),
        )
    except OSError as error:
        raise cannot_listen(error, "HTTP", key, host, port) from error
    return _HttpListener(server, listening)


async def start_grpc(
    api: GrpcApi,
    host: str,
    port: int,
    tls: ServerTls | None = None,
    *,
    key: str = "GrpcPort",
    is_shared: bool = False,
) -> Listener:
    """Open the gRPC port; 0 is any free one. tls: None: plainly. key: what conf.yml calls the port.

    is_shared: with other processes of ours, which open it likewise.
    Raises StartError when it cannot be had.
    """
    server = api.server()
    try:
        context = tls.context if tls else None
        found = await server.start(host, port, backlog=_BACKLOG, tls=context, is_shared=is_shared)
    except OSError as error:
        raise cannot_listen(error, "gRPC", key, host, port) from error
    return _GrpcListener(api, server, found)


class _HttpListener:
    def __init__(self, server: HttpServer, listening: asyncio.Server) -> None:
        self._server = server
        self._listening = listening
        self._unread = asyncio.create_task(Unread(server.transports).run())
        self.port: int = listening.sockets[0].getsockname()[1]

    async def stop(self, grace_seconds: float) -> None:
        self._listening.close()
        self._server.pre_shutdown()  # idle connections
        await asyncio.sleep(0)  # lets them see it
        # aiohttp waits for a request, then once more for its connection: each may take all of the time given.
        await self._server.shutdown(grace_seconds / 2)
        await self._listening.wait_closed()
        await _ended(self._unread)


class _GrpcListener:
    def __init__(self, api: GrpcApi, server: GrpcServer, port: int) -> None:
        self._api = api
        self._server = server
        self._unread = asyncio.create_task(Unread(server.transports).run())
        self.port = port

    async def stop(self, grace_seconds: float) -> None:
        await self._api.drain(grace_seconds)
        self._server.close()
        await self._server.wait_closed()
        await _ended(self._unread)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
