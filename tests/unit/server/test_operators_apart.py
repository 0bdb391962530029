"""A port of their own for operators: their calls are answered there and nowhere else."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from grpclib.client import Channel

from coordinator.access.permissions import is_for_clients, is_for_operators
from coordinator.config.access import Access
from coordinator.config.network import Operators, Tls
from coordinator.config.read import access_remark
from coordinator.config.rules import broken_rules
from coordinator.config.settings import Settings
from coordinator.config.store import Store
from coordinator.errors import StartError
from coordinator.server.server import Server
from coordinator.tls import TlsFiles, client_context
from tests.support.certificates import Authority
from tests.support.ports import HOST, free_port
from tests.unit.access.calls import Call, every_call, grpc_call, http_call

UNIMPLEMENTED = 12


class Asked(NamedTuple):
    """What the helpers of tests/unit/access look at."""

    session: aiohttp.ClientSession
    channel: Channel
    url: str

    async def has(self, call: Call) -> bool:
        """Whether the call is answered there, whatever the answer."""
        one: Any = self
        match call.protocol:
            case "HTTP":
                method, path = call.name.replace("*", "GET").replace("{topic}", "t").split(" ")
                return (await http_call(one, method, path, None))[0] != 404
            case "JSON-RPC":
                body = f'{{"jsonrpc":"2.0","id":1,"method":"{call.name}","params":{{}}}}'
                return (await http_call(one, "POST", "/api/json-rpc", body))[0] != 404
            case _:
                return (await grpc_call(one, call.name))[0] != UNIMPLEMENTED


def settings_in(folder: Path, **more: Any) -> Settings:
    return Settings(
        http_port=free_port(),
        grpc_port=free_port(),
        store=Store(path=folder / "dtm.db"),
        **{"host": HOST, "operators": Operators(port=free_port(), grpc_port=free_port()), **more},
    )


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[str]:
    server = Server(settings, reset=False)
    said = await server.start()
    try:
        yield said
    finally:
        await server.stop()


async def test_each_call_is_answered_where_the_document_says(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    operators = settings.operators
    async with running(settings), aiohttp.ClientSession() as session:
        clients = Asked(session, Channel(HOST, settings.grpc_port), f"http://{HOST}:{settings.http_port}")
        apart = Asked(session, Channel(HOST, operators.grpc_port), f"http://{HOST}:{operators.port}")
        for call in await every_call():
            assert await clients.has(call) is is_for_clients(call.needs), call.name
            assert await apart.has(call) is is_for_operators(call.needs), call.name
        clients.channel.close()
        apart.channel.close()


async def test_without_a_grpc_port_theirs_are_not_answered_over_grpc(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, operators=Operators(port=free_port()))
    async with running(settings) as said, Channel(HOST, settings.grpc_port) as channel:
        one: Any = Asked(None, channel, "")  # type: ignore[arg-type]
        assert (await grpc_call(one, "/dtmcoordinator.Operator/Stop"))[0] == UNIMPLEMENTED
        assert (await grpc_call(one, "/dtmgimp.Dtm/NewGid"))[0] == 0
    assert re.search(rf"operators  {HOST}:{settings.operators.port}, and nowhere else", said)
    assert f"look at  http://{HOST}:{settings.operators.port}/ and" in said


async def test_no_branch_may_live_there(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with running(settings), aiohttp.ClientSession() as session:
        for port in (settings.operators.port, settings.operators.grpc_port):
            for host in (HOST, "localhost", "0x7f.1", "[::ffff:127.0.0.1]"):
                saga = {
                    "gid": f"g-{host}-{port}",
                    "trans_type": "saga",
                    "steps": [{"action": f"http://{host}:{port}/api/dtmsvr/resetCronTime"}],
                    "payloads": ["{}"],
                }
                url = f"http://{HOST}:{settings.http_port}/api/dtmsvr/submit"
                async with session.post(url, json=saga) as answer:
                    assert answer.status == 500
                    assert "is this coordinator itself" in await answer.text()


@pytest.mark.parametrize("own", [True, False])
async def test_it_listens_with_a_certificate_of_its_own_or_that_of_the_other_ports(
    tmp_path: Path, own: bool
) -> None:
    ours, people = Authority(tmp_path, "ours"), Authority(tmp_path, "people")
    ports = {"port": free_port(), "grpc_port": free_port()}
    files: Mapping[str, str] = (
        {"cert_file": str(people.issue("operators.pem", "localhost")), "client_ca_file": str(people.file)}
        if own
        else {}
    )
    settings = settings_in(
        tmp_path,
        tls=Tls(cert_file=str(ours.issue("server.pem", "localhost"))),
        operators=Operators.model_validate({**ports, **files}),
        access=Access(mode="all", certificates="DNS:anna operator"),
    )
    shown = str(people.issue("anna.pem", "anna")) if own else ""
    theirs = client_context(TlsFiles(str((people if own else ours).file), shown))
    public = client_context(TlsFiles(str(ours.file)))
    async with running(settings) as said, aiohttp.ClientSession() as session:
        assert f"https://{HOST}:{settings.operators.port}/api/ready" in said
        url = f"https://localhost:{settings.operators.port}/api/dtmsvr/all"
        async with session.get(url, ssl=theirs) as answer:
            assert answer.status == (200 if own else 401)
        async with session.get(f"https://localhost:{settings.http_port}/api/ping", ssl=public) as answer:
            assert answer.status == 200
        with pytest.raises((aiohttp.ClientError, OSError)):
            if own:  # the other ports' CA is not theirs
                await session.get(url, ssl=public)
            await session.get(url.replace("https", "http"))


async def test_a_name_that_leads_to_loopback_by_a_trick_is_refused_where_it_is_loopback(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path, host="0.0.0.0")
    async with running(settings), aiohttp.ClientSession() as session:
        evil = {"Host": "evil.example"}
        for port, path, status in (
            (settings.operators.port, "/api/dtmsvr/all", 403),
            (settings.http_port, "/api/dtmsvr/newGid", 200),
        ):
            async with session.get(f"http://{HOST}:{port}{path}", headers=evil) as answer:
                assert answer.status == status


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda *_: None, HOST, 0)
    port = taken.sockets[0].getsockname()[1]
    server = Server(settings_in(tmp_path, operators=Operators(port=port)), reset=False)
    with pytest.raises(StartError) as raised:
        await server.start()
    assert "Operators.Port" in raised.value.hint
    taken.close()


@pytest.mark.parametrize(
    ("operators", "key", "problem"),
    [
        ({"port": 36789}, "operators.port", "is 36789, as HttpPort is"),
        ({"port": 1, "grpc_port": 36790}, "operators.grpc_port", "is 36790, as GrpcPort is"),
        ({"port": 7, "grpc_port": 7}, "operators.grpc_port", "is 7, as Operators.Port is"),
        ({"grpc_port": 7}, "operators.grpc_port", "needs Operators.Port beside it"),
        ({"port": 7, "client_ca_file": "x"}, "operators.client_ca_file", "needs Operators.CertFile beside"),
    ],
)
def test_what_cannot_be_is_said(operators: Mapping[str, Any], key: str, problem: str) -> None:
    settings = Settings(operators=Operators.model_validate(operators))
    found = [(".".join(it.path), it.problem) for it in broken_rules(settings, {})]
    assert any(path == key and said.startswith(problem) for path, said in found), found


@pytest.mark.parametrize(
    ("host", "apart", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", ""),
        ("0.0.0.0", "127.0.0.1", "0.0.0.0 is no loopback: whoever reaches these ports may submit;"),
        ("127.0.0.1", "10.0.0.1", "10.0.0.1 is no loopback: whoever reaches these ports may stop and read"),
        ("0.0.0.0", "10.0.0.1", "0.0.0.0 and 10.0.0.1 is no loopback: whoever reaches these ports may sub"),
    ],
)
def test_what_mode_off_leaves_open_is_said(host: str, apart: str, expected: str) -> None:
    said = access_remark(Settings(host=host, operators=Operators(host=apart, port=1)))
    assert expected in said
    assert bool(said) is bool(expected)
