"""Host names, looked up in threads; the name servers here are functions."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from coordinator.discovery.base import DiscoveryError
from coordinator.discovery.dns import DnsResolver
from coordinator.discovery.names import Names
from coordinator.discovery.open import ROUND_ROBIN, open_resolver


class NameServer:
    """Answers from a table; a host may hang until `release`."""

    def __init__(self, **table: Sequence[str] | OSError) -> None:
        self.table: dict[str, Sequence[str] | OSError] = dict(table)
        self.asked: list[str] = []
        self.hanging: set[str] = set()
        self.released = threading.Event()

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host in self.hanging:
            self.released.wait(30)
        found = self.table.get(host, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
        if isinstance(found, OSError):
            raise found
        return found


AWAY = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@asynccontextmanager
async def asking(server: NameServer, **options: Any) -> AsyncIterator[Names]:
    names = Names(look_up=server, **options)
    try:
        yield names
    finally:
        server.released.set()
        await names.close()


async def test_a_host_is_looked_up_once_for_all_who_ask() -> None:
    server = NameServer(host=["10.0.0.1", "10.0.0.2", "10.0.0.1"])
    async with asking(server) as names:
        answers = await asyncio.gather(*(names.addresses("host") for _ in range(50)))
        assert set(answers) == {("10.0.0.1", "10.0.0.2")}
        assert await names.addresses("host") == ("10.0.0.1", "10.0.0.2")
        assert server.asked == ["host"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1%1"])
async def test_an_address_needs_no_name_server(address: str) -> None:
    async with asking(NameServer()) as names:
        assert await names.addresses(address) == (address,)


async def test_a_name_server_that_hangs_for_one_host_holds_up_no_other() -> None:
    server = NameServer(host=["10.0.0.1"])
    server.hanging = {f"hangs-{number}" for number in range(100)}
    async with asking(server, lookups_max=200) as names:
        stuck = [asyncio.create_task(names.addresses(host)) for host in server.hanging for _ in range(3)]
        async with asyncio.timeout(30):
            assert await names.addresses("host") == ("10.0.0.1",)
        assert not any(task.done() for task in stuck)
        for task in stuck:
            task.cancel()
        await asyncio.wait(stuck)
    assert sorted(server.asked) == sorted([*server.hanging, "host"]), "one look-up each, however many ask"


async def test_threads_are_bounded() -> None:
    server = NameServer()
    server.hanging = {str(number) + "x" for number in range(10)}
    async with asking(server, lookups_max=3) as names:
        stuck = [asyncio.create_task(names.addresses(host)) for host in server.hanging]
        await asyncio.sleep(0.1)
        assert len(server.asked) == 3
        server.released.set()
        answers = await asyncio.gather(*stuck, return_exceptions=True)
    assert all(isinstance(answer, socket.gaierror) for answer in answers)


async def test_a_new_answer_counts_once_the_old_one_is_out_of_date() -> None:
    server = NameServer(host=["10.0.0.1"])
    async with asking(server, fresh_seconds=0) as names:
        assert await names.addresses("host") == ("10.0.0.1",)
        server.table["host"] = ["10.0.0.2", "10.0.0.3"]
        assert await names.addresses("host") == ("10.0.0.2", "10.0.0.3")
        server.table["host"] = ["10.0.0.3", "10.0.0.2"]
        assert await names.addresses("host") == ("10.0.0.2", "10.0.0.3"), "the order is stable"


async def test_with_no_name_server_there_the_last_known_addresses_are_used() -> None:
    server = NameServer(host=["10.0.0.1"])
    async with asking(server, fresh_seconds=0) as names:
        await names.addresses("host")
        server.table["host"] = AWAY
        assert await names.addresses("host") == ("10.0.0.1",)
        server.table["host"] = ["10.0.0.2"]
        assert await names.addresses("host") == ("10.0.0.2",)


async def test_with_a_name_server_that_hangs_the_last_known_addresses_are_used_soon() -> None:
    server = NameServer(host=["10.0.0.1"])
    async with asking(server, fresh_seconds=0, patience_seconds=0.05) as names:
        await names.addresses("host")
        server.hanging = {"host"}
        async with asyncio.timeout(30):
            for _ in range(3):
                assert await names.addresses("host") == ("10.0.0.1",)
    assert server.asked == ["host", "host"], "one look-up waits, not one for each call"


async def test_a_host_that_is_gone_is_no_longer_known() -> None:
    """That there is no such name is an answer."""
    server = NameServer(host=["10.0.0.1"])
    async with asking(server, fresh_seconds=0) as names:
        await names.addresses("host")
        del server.table["host"]
        for _ in range(2):
            with pytest.raises(OSError, match="not known"):
                await names.addresses("host")


@pytest.mark.parametrize(
    "problem", [AWAY, OSError(5, "Input/output error"), UnicodeError("label too long"), ()]
)
async def test_what_cannot_be_looked_up_is_an_os_error(problem: Any) -> None:
    def look_up(_: str) -> Sequence[str]:
        if isinstance(problem, Exception):
            raise problem
        return ()

    names = Names(look_up=look_up)
    with pytest.raises(OSError, match=r"."):
        await names.addresses("host")
    await names.close()


async def test_who_gives_up_takes_the_look_up_from_nobody() -> None:
    server = NameServer(host=["10.0.0.1"])
    server.hanging = {"host"}
    async with asking(server) as names:
        first, second = (asyncio.create_task(names.addresses("host")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        server.released.set()
        assert await second == ("10.0.0.1",)


async def test_the_system_is_asked_for_real_names() -> None:
    names = Names()
    assert set(await names.addresses("localhost")) <= {"127.0.0.1", "::1"}
    await names.close()


# ---- services behind a name --------------------------------------------------------------------------------


async def test_every_address_behind_a_name_is_an_endpoint() -> None:
    async with asking(NameServer(svc=["10.0.0.1", "fd00::1"], other=["10.0.0.3"])) as names:
        resolver = DnsResolver(names)
        assert await resolver.endpoints("dns:///svc:8080") == ("10.0.0.1:8080", "[fd00::1]:8080")
        assert list(await resolver.endpoints("dns:///svc:1,other:2,gone:3")) == [
            *("10.0.0.1:1", "[fd00::1]:1", "10.0.0.3:2")
        ]
        with pytest.raises(DiscoveryError, match="gone cannot be resolved"):
            await resolver.endpoints("dns:///gone:8080")


@pytest.mark.parametrize(
    ("balancer", "target", "endpoints"),
    [
        ("", "svc:8080", ["svc:8080"]),
        ("pick_first", "svc:8080", ["svc:8080"]),
        (ROUND_ROBIN, "svc:8080", ["10.0.0.1:8080", "10.0.0.2:8080"]),
        ("", "dns:///svc:8080", ["10.0.0.1:8080", "10.0.0.2:8080"]),
        (ROUND_ROBIN, "direct:///svc:8080,b:1", ["svc:8080", "b:1"]),
    ],
)
async def test_a_plain_host_is_balanced_when_the_configuration_says_so(
    balancer: str, target: str, endpoints: list[str]
) -> None:
    async with asking(NameServer(svc=["10.0.0.1", "10.0.0.2"])) as names:
        resolver = open_resolver(names, balancer=balancer)
        assert list(await resolver.endpoints(target)) == endpoints
        await resolver.close()


async def test_a_system_that_gives_no_thread_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with asking(NameServer(host=["10.0.0.1"])) as names:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(OSError, match="can't start new thread"):
                await names.addresses("host")
        assert await names.addresses("host") == ("10.0.0.1",)
