"""Listening: opens and closes the ports of both protocols; says in one sentence why a port cannot be had."""

import asyncio
import errno
import socket
from pathlib import Path
from typing import Protocol

from coordinator.api.grpc import GrpcApi
from coordinator.api.grpc_wire import GatheringServer
from coordinator.api.http import HttpApi
from coordinator.api.http_server import HttpServer
from coordinator.api.unread import Unread
from coordinator.errors import StartError

_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
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


async def start_http(api: HttpApi, host: str, port: int) -> Listener:
    """Open the HTTP port; 0 is any free one. Raises StartError when it cannot be had."""
    server = api.server()
    try:
        listening = await asyncio.get_running_loop().create_server(server, host, port, backlog=_BACKLOG)
    except OSError as error:
        raise cannot_listen(error, "HTTP", "HttpPort", host, port) from error
    return _HttpListener(server, listening)


async def start_grpc(api: GrpcApi, host: str, port: int) -> Listener:
    """Open the gRPC port; 0 is any free one. Raises StartError when it cannot be had."""
    server = api.server()
    try:
        await server.start(host, port, backlog=_BACKLOG)
    except OSError as error:
        raise cannot_listen(error, "gRPC", "GrpcPort", host, port) from error
    return _GrpcListener(api, server)


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
    def __init__(self, api: GrpcApi, server: GatheringServer) -> None:
        self._api = api
        self._server = server
        self._unread = asyncio.create_task(Unread(server.transports).run())
        self.port: int = server.port

    async def stop(self, grace_seconds: float) -> None:
        await self._api.drain(grace_seconds)
        self._server.close()
        await self._server.wait_closed()
        await _ended(self._unread)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def ephemeral_ports(file: Path = _PORT_RANGE) -> range:
    """The ports that the system gives to outgoing connections, as far as it says."""
    try:
        first, last = map(int, file.read_text(encoding="ascii").split())
    except (OSError, ValueError):  # not Linux
        return range(0)
    return range(first, last + 1)


def cannot_listen(
    error: OSError, protocol: str, key: str, host: str, port: int, *, ephemeral: range | None = None
) -> StartError:
    """Say why a port could not be opened and what to do; `key` is what conf.yml calls it.

    ephemeral: the ports of outgoing connections; asked of the system unless given.
    """
    ephemeral = ephemeral_ports() if ephemeral is None else ephemeral
    place = f"{protocol} cannot listen on {host}:{port}"
    if error.errno == errno.EADDRINUSE:
        hint = f"`ss -tanp 'sport = :{port}'` shows by whom; stop that program or set {key} in conf.yml"
        if port in ephemeral:
            hint += (
                f". It may be an outgoing connection: {port} lies in net.ipv4.ip_local_port_range"
                f" ({ephemeral[0]} to {ephemeral[-1]});"
                f" `sysctl -w net.ipv4.ip_local_reserved_ports={port}` keeps it free (docs/operating.md)"
            )
        return StartError(f"{place}: the port is in use", hint)
    if error.errno == errno.EACCES:
        return StartError(f"{place}: not allowed", f"set {key} in conf.yml to a port above 1023")
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return StartError(
            f"{place}: this machine has no such address",
            "set Host in conf.yml to 0.0.0.0, 127.0.0.1 or an address of this machine",
        )
    return StartError(f"{place}: {error}", f"look at Host and {key} in conf.yml")
