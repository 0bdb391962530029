"""Ports: opened, closed in bounded time, and refused with one clear sentence."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from grpclib.client import Channel

from coordinator.api.grpc import GrpcApi
from coordinator.api.http import HttpApi
from coordinator.api.serve import Listener, start_grpc, start_http
from coordinator.api.taken_port import cannot_listen, ephemeral_ports
from coordinator.config.settings import Settings
from coordinator.errors import StartError
from tests.unit.api.fakes import HOST, Parts
from tests.unit.api.raw_grpc import call

Start = Callable[[Parts, str, int], Awaitable[Listener]]


async def _start_http(parts: Parts, host: str, port: int) -> Listener:
    api = HttpApi(parts.operations, parts.readiness, parts.metrics, version="1", zone=None)
    return await start_http(api, host, port)


async def _start_grpc(parts: Parts, host: str, port: int) -> Listener:
    api = GrpcApi(parts.operations, parts.readiness, parts.metrics, version="1.2.3", zone=None)
    return await start_grpc(api, host, port)


both = pytest.mark.parametrize(
    ("start", "protocol", "key"), [(_start_http, "HTTP", "HttpPort"), (_start_grpc, "gRPC", "GrpcPort")]
)


@both
async def test_a_port_in_use_is_one_clear_sentence(start: Start, protocol: str, key: str) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError) as raised:
            await start(Parts(), HOST, port)
    assert raised.value.message == f"{protocol} cannot listen on {HOST}:{port}: the port is in use"
    assert key in raised.value.hint
    assert f":{port}" in raised.value.hint


def test_a_port_that_an_outgoing_connection_may_have_taken_is_said_to_be_one(tmp_path: Path) -> None:
    """Both defaults lie where Linux takes the ports of outgoing connections from."""
    taken = OSError(errno.EADDRINUSE, "in use")
    linux = range(32768, 61000)
    for port in (Settings().http_port, Settings().grpc_port):
        hint = cannot_listen(taken, "HTTP", "HttpPort", HOST, port, ephemeral=linux).hint
        assert f"sysctl -w net.ipv4.ip_local_reserved_ports={port}" in hint
        assert "32768 to 60999" in hint
        assert "ss -tanp" in hint  # of every connection, not of listening ones alone
    assert "sysctl" not in cannot_listen(taken, "HTTP", "HttpPort", HOST, 8080, ephemeral=linux).hint
    file = tmp_path / "ip_local_port_range"
    assert ephemeral_ports(file) == range(0)  # another system than Linux
    file.write_text("32768\t60999\n", encoding="ascii")
    assert ephemeral_ports(file) == linux


@both
async def test_an_address_of_another_machine_is_one_clear_sentence(
    start: Start, protocol: str, key: str
) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(StartError) as raised:
            await start(Parts(), host, 0)
        assert (
            raised.value.message == f"{protocol} cannot listen on {host}:0: this machine has no such address"
        )
        assert "Host" in raised.value.hint
        assert key not in raised.value.message


def test_other_reasons_are_named_too() -> None:
    refused = cannot_listen(OSError(errno.EACCES, "Permission denied"), "HTTP", "HttpPort", HOST, 80)
    assert "not allowed" in refused.message
    assert "1023" in refused.hint
    odd = cannot_listen(OSError(errno.EMFILE, "Too many open files"), "HTTP", "HttpPort", HOST, 80)
    assert "Too many open files" in odd.message


@both
async def test_a_port_can_be_had_again_after_a_stop(start: Start, protocol: str, key: str) -> None:
    first = await start(Parts(), HOST, 0)
    await first.stop(1.0)
    second = await start(Parts(), HOST, first.port)
    assert second.port == first.port
    await second.stop(1.0)


class Client:
    """One call that the service holds, over either protocol."""

    def __init__(self, protocol: str, port: int) -> None:
        self.port = port
        self._make = self._http if protocol == "HTTP" else self._grpc

    def start(self) -> "asyncio.Task[Any]":
        return asyncio.create_task(self._make())

    async def _http(self) -> Any:
        url = f"http://{HOST}:{self.port}/api/dtmsvr/submit"
        async with ClientSession() as session, session.post(url, data=b"{}") as answer:
            return answer.status

    async def _grpc(self) -> Any:
        channel = Channel(HOST, self.port)
        try:
            return (await call(channel, "/dtmgimp.Dtm/Submit", b"")).status
        finally:
            channel.close()


@both
async def test_a_stop_lets_a_running_call_end(start: Start, protocol: str, key: str) -> None:
    parts = Parts()
    parts.service.hold = asyncio.Event()
    listener = await start(parts, HOST, 0)
    running = Client(protocol, listener.port).start()
    await parts.service.was_asked.wait()
    stopping = asyncio.create_task(listener.stop(5.0))
    await asyncio.sleep(0.05)
    assert not stopping.done()
    parts.service.hold.set()
    assert await running == (200 if protocol == "HTTP" else 0)
    await asyncio.wait_for(stopping, 30)


@both
async def test_a_stop_is_bounded(start: Start, protocol: str, key: str) -> None:
    parts = Parts()
    parts.service.hold = asyncio.Event()
    listener = await start(parts, HOST, 0)
    running = Client(protocol, listener.port).start()
    await parts.service.was_asked.wait()
    await asyncio.wait_for(listener.stop(0.2), 30)
    parts.service.hold.set()
    await asyncio.wait([running])
    assert running.exception() is not None or running.result() not in {200, 0}


@both
async def test_a_stop_does_not_wait_for_idle_connections(start: Start, protocol: str, key: str) -> None:
    listener = await start(Parts(), HOST, 0)
    reader, writer = await asyncio.open_connection(HOST, listener.port)
    await asyncio.sleep(0.05)
    async with asyncio.timeout(30):
        await listener.stop(3600.0)
        await reader.read()  # closed by the server
    writer.close()
