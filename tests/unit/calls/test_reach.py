"""What is connected to is what was judged: redirects, names that change, every protocol (PROTOCOL §10)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from loguru import logger

from coordinator.calls.connect import Reach
from coordinator.calls.places import Places
from coordinator.calls.router import BranchCaller
from coordinator.discovery.names import Names
from coordinator.discovery.open import open_resolver
from coordinator.discovery.place_rules import parse_place_rules
from coordinator.engine.alerts import Alert
from coordinator.engine.hook import WebHookAlerts
from coordinator.model import Branch, Options, Result, Status, Transaction
from tests.support.ports import free_port

FINE, FORBIDDEN = "127.0.0.1", "127.0.0.2"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Network:
    """Two servers at one port: of a branch at FINE, of somebody else at FORBIDDEN; names lead to either."""

    def __init__(self) -> None:
        self.port = free_port()
        self.answer = OK
        self.asked: list[bytes] = []  # heads of the requests that the branch had
        self.touched = 0  # connections to the other
        self.look_ups: list[str] = []
        self.hosts: dict[str, Sequence[Sequence[str]]] = {}  # what each look-up finds, the last for ever

    def look_up(self, host: str) -> Sequence[str]:
        found = self.hosts[host]
        earlier = self.look_ups.count(host)
        self.look_ups.append(host)
        return found[min(earlier, len(found) - 1)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answer)
        writer.close()

    async def touch(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.touched += 1
        writer.close()


@asynccontextmanager
async def networked() -> AsyncIterator[Network]:
    network = Network()
    async with (
        await asyncio.start_server(network.serve, FINE, network.port),
        await asyncio.start_server(network.touch, FORBIDDEN, network.port),
    ):
        yield network


def names_of(network: Network) -> Names:
    return Names(look_up=network.look_up, fresh_seconds=0)


async def call(network: Network, url: str, *, allow: str = "", deny: str = FORBIDDEN, **values: str) -> str:
    """Call once; returns the answer's text, `success` for that."""
    protocol = "http" if url.startswith("http") else "grpc"
    headers = {"Host": "other.example", "X-Token": "t"} if protocol == "http" else {}
    places = Places(parse_place_rules(allow), parse_place_rules(deny))
    names = names_of(network)
    resolver = open_resolver(names, may_reach=places.require, **values)
    caller = BranchCaller(resolver, names=names, places=places)
    transaction = Transaction(
        "g1", "saga", Status.SUBMITTED, protocol, options=Options(branch_headers=headers)
    )
    try:
        answer = await caller.call(transaction, Branch("g1", "01", "action", url, b"{}"), timeout=5)
    finally:
        await caller.close()
        await resolver.close()
        await names.close()
    assert answer.result in {Result.SUCCESS, Result.UNKNOWN}, "a refused call is never FAILURE"
    return "success" if answer.result is Result.SUCCESS else answer.text


async def test_a_branch_is_called() -> None:
    async with networked() as network:
        network.hosts["shop.example"] = [[FINE]]
        assert await call(network, f"http://shop.example:{network.port}/do") == "success"
        assert b"Host: shop.example:" in network.asked[0]
        assert b"other.example" not in network.asked[0]


@pytest.mark.parametrize("address", [FORBIDDEN, "::ffff:127.0.0.2"])
async def test_a_name_that_leads_where_nobody_may_call_is_refused_with_the_rule(address: str) -> None:
    async with networked() as network:
        network.hosts["shop.example"] = [[address]]
        text = await call(network, f"http://shop.example:{network.port}/do")
        assert text.startswith(f"http://shop.example:{network.port}/do: not called (shop.example (")
        assert text.endswith(") is denied by Branches.Deny: 127.0.0.2)")
        text = await call(network, f"shop.example:{network.port}/user.User/save")
        assert text.endswith(") is denied by Branches.Deny: 127.0.0.2)")
        assert network.touched == 0


async def test_of_several_addresses_those_that_may_be_called_are() -> None:
    async with networked() as network:
        network.hosts["shop.example"] = [[FORBIDDEN, FINE, FORBIDDEN]]
        for _ in range(3):
            assert await call(network, f"http://shop.example:{network.port}/do") == "success"
        assert network.touched == 0


async def test_a_name_that_leads_elsewhere_a_moment_later_changes_nothing() -> None:
    """What was judged is what is connected to; nobody looks the name up between the two."""
    async with networked() as network:
        network.hosts["shop.example"] = [[FINE], [FORBIDDEN]]
        assert await call(network, f"http://shop.example:{network.port}/do") == "success"
        assert network.look_ups == ["shop.example"]
        assert "denied" in await call(network, f"http://shop.example:{network.port}/do")
        network.hosts["user.example"] = [[FINE], [FORBIDDEN]]
        await call(network, f"user.example:{network.port}/user.User/save")
        assert "denied" in await call(network, f"user.example:{network.port}/user.User/save")
        assert network.touched == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.2:{port}/secret",
        "//127.0.0.2:{port}/secret",
        "http://leads.example:{port}/",
        "http://user:password@leads.example.:{port}/",
        "http://[::ffff:127.0.0.2]:{port}/",
        "https://127.0.0.2:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://①⑥⑨.254.169.254/",
        "http://0xa9fea9fe/",
    ],
)
async def test_no_redirect_leads_where_nobody_may_call(status: int, place: str) -> None:
    async with networked() as network:
        network.hosts |= {
            "shop.example": [[FINE]],
            "leads.example": [[FORBIDDEN]],
            "leads.example.": [[FORBIDDEN]],
            "0xa9fea9fe": [["169.254.169.254"]],
        }
        location = place.format(port=network.port).encode()
        network.answer = b"HTTP/1.1 %d Over\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, location)
        text = await call(network, f"http://shop.example:{network.port}/do")
        assert "Branches." in text
        assert network.touched == 0


@pytest.mark.parametrize(
    "target",
    [
        "127.0.0.2:{port}",
        "leads.example:{port}",
        "dns:///leads.example:{port}",
        "direct:///leads.example:{port},127.0.0.2:{port}",
        "passthrough:///leads.example:{port}",
        "169.254.169.254:80",
    ],
)
async def test_no_grpc_target_leads_where_nobody_may_call(target: str) -> None:
    async with networked() as network:
        network.hosts["leads.example"] = [[FORBIDDEN]]
        text = await call(network, f"{target.format(port=network.port)}/user.User/save")
        assert "Branches." in text
        assert network.touched == 0


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost"])
async def test_no_etcd_server_leads_where_nobody_may_call(host: str) -> None:
    async with networked() as network:
        deny = FORBIDDEN if host == FORBIDDEN else "127.0.0.0/8, ::1"
        text = await call(network, f"etcd://{host}:{network.port}/user.rpc/user.User/save", deny=deny)
        assert "is denied by Branches.Deny" in text
        assert network.touched == 0
        assert network.asked == []


async def test_an_etcd_server_is_not_followed_elsewhere() -> None:
    async with networked() as network:
        network.answer = (
            b"HTTP/1.1 307 Over\r\nLocation: http://127.0.0.2:%d/version\r\nContent-Length: 0\r\n\r\n"
            % network.port
        )
        await call(network, f"etcd://{FINE}:{network.port}/user.rpc/user.User/save", deny="")
        assert network.asked
        assert network.touched == 0


@pytest.mark.parametrize("target", ["user.svc:{port}", "dns:///user.svc:{port}"])
@pytest.mark.parametrize("balancer", ["", "round_robin"])
async def test_a_name_that_is_allowed_is_allowed_however_it_is_looked_up(target: str, balancer: str) -> None:
    async with networked() as network:
        network.hosts |= {"user.svc": [[FINE]], "other.example": [[FINE]]}
        target = target.format(port=network.port)
        text = await call(network, f"{target}/user.User/save", allow="*.svc", deny="", balancer=balancer)
        assert network.asked and "Branches" not in text
        target = target.replace("user.svc", "other.example")
        text = await call(network, f"{target}/user.User/save", allow="*.svc", deny="", balancer=balancer)
        assert "is not in Branches.Allow" in text


async def test_no_alert_is_redirected_where_nobody_may_call() -> None:
    async with networked() as network:
        network.hosts |= {"hooks.example": [[FINE]], "leads.example": [[FORBIDDEN]]}
        network.answer = (
            b"HTTP/1.1 307 Over\r\nLocation: http://leads.example:%d/\r\nContent-Length: 0\r\n\r\n"
            % network.port
        )
        names = names_of(network)
        reach = Reach(names, Places(deny=parse_place_rules(FORBIDDEN)))
        alerts = WebHookAlerts(f"http://hooks.example:{network.port}/token", reach, pauses_seconds=())
        said: asyncio.Queue[str] = asyncio.Queue()
        handler = logger.add(lambda line: said.put_nowait(str(line)), level="ERROR", format="{message}")
        running = asyncio.create_task(alerts.run())
        try:
            alerts.failing(Alert("g", "submitted", "http://b/", "boom", 3))
            async with asyncio.timeout(30):
                while "did not take" not in (line := await said.get()):
                    pass
        finally:
            logger.remove(handler)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await names.close()
        assert "leads.example (127.0.0.2) is denied by Branches.Deny" in line
        assert "/token" not in line
        assert network.touched == 0
