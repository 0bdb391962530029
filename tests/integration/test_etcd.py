"""etcd as go-zero uses it (PROTOCOL §11), against a real one."""

import asyncio
import json
import logging
import subprocess
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from coordinator.discovery.base import DiscoveryError
from coordinator.discovery.etcd import LEASE_SECONDS, EtcdRegistration
from coordinator.discovery.etcd_resolver import EtcdResolver
from tests.support.patience import PATIENCE
from tests.support.ports import free_port
from tests.support.servers import EtcdServer


class Etcdctl:
    """The operator's own tool, so that what we write is seen by other eyes than ours."""

    def __init__(self, etcd: EtcdServer) -> None:
        self._etcd = etcd
        self.login: tuple[str, ...] = ()

    def run(self, *arguments: str) -> str:
        command = ["etcdctl", f"--endpoints=http://{self._etcd.endpoint}", *self.login, *arguments]
        done = subprocess.run(command, env={"ETCDCTL_API": "3"}, capture_output=True, text=True, check=True)
        return done.stdout

    def registered(self, name: str) -> dict[str, str]:
        """Key → value of all that go-zero would find under the name."""
        found = json.loads(self.run("get", f"{name}/", "--prefix", "-w", "json")).get("kvs", [])
        return {b64decode(kv["key"]).decode(): b64decode(kv["value"]).decode() for kv in found}

    def leases(self, name: str) -> list[int]:
        return [int(key.rpartition("/")[2]) for key in self.registered(name)]


@pytest.fixture
def etcdctl(etcd: EtcdServer) -> Etcdctl:
    return Etcdctl(etcd)


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Return the lines that are logged, `LEVEL text`."""
    lines: list[str] = []
    logger, handler = logging.getLogger("coordinator.discovery"), logging.Handler()
    handler.emit = lambda record: lines.append(f"{record.levelname} {record.getMessage()}")  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


async def until(
    condition: Callable[[], object] | Callable[[], Awaitable[object]], seconds: float = 15
) -> None:
    """Wait until the condition holds: etcd has no event for its outside."""
    async with asyncio.timeout(seconds * PATIENCE):
        while True:
            held = condition()
            if await held if isinstance(held, Awaitable) else held:
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def registered(*hosts: str, name: str, endpoint: str) -> AsyncIterator[EtcdRegistration]:
    registration = EtcdRegistration(hosts, name, endpoint)
    await registration.start()
    try:
        yield registration
    finally:
        await registration.stop()


@asynccontextmanager
async def resolving() -> AsyncIterator[EtcdResolver]:
    resolver = EtcdResolver()
    try:
        yield resolver
    finally:
        await resolver.close()


async def _resolves(resolver: EtcdResolver, target: str, *endpoints: str) -> None:
    async def seen() -> bool:
        try:
            return sorted(await resolver.endpoints(target)) == sorted(endpoints)
        except DiscoveryError:
            return not endpoints

    await until(seen)


# ---- registering -------------------------------------------------------------------------------------------


async def test_the_entry_is_what_go_zero_looks_for(etcd: EtcdServer, etcdctl: Etcdctl) -> None:
    """Key `<name>/<leaseID>`, value `host:port`, lease of 10 s."""
    async with registered(etcd.endpoint, name="plain", endpoint="10.0.0.1:36790") as registration:
        await until(lambda: registration.is_registered)
        [(key, value)] = etcdctl.registered("plain").items()
        name, lease = key.split("/")
        assert (name, value) == ("plain", "10.0.0.1:36790")
        described = json.loads(etcdctl.run("lease", "timetolive", f"{int(lease):x}", "--keys", "-w", "json"))
        assert described["granted-ttl"] == LEASE_SECONDS
        assert b64decode(described["keys"][0]).decode() == key


async def test_a_clean_stop_takes_the_entry_back_at_once(etcd: EtcdServer, etcdctl: Etcdctl) -> None:
    async with registered(etcd.endpoint, name="stopped", endpoint="h:1") as registration:
        await until(lambda: registration.is_registered)
        assert len(etcdctl.registered("stopped")) == 1
    assert etcdctl.registered("stopped") == {}
    assert not registration.is_registered
    await registration.stop()


async def test_the_lease_is_kept_alive(etcd: EtcdServer, etcdctl: Etcdctl) -> None:
    async with registered(etcd.endpoint, name="alive", endpoint="h:1") as registration:
        await until(lambda: registration.is_registered)
        before = etcdctl.registered("alive")
        await asyncio.sleep(LEASE_SECONDS + 2)
        assert etcdctl.registered("alive") == before, "the same lease"


async def test_a_lost_lease_is_replaced(etcd: EtcdServer, etcdctl: Etcdctl) -> None:
    async with registered(etcd.endpoint, name="lost", endpoint="h:1") as registration:
        await until(lambda: registration.is_registered)
        [lease] = etcdctl.leases("lost")
        etcdctl.run("lease", "revoke", f"{lease:x}")
        assert etcdctl.registered("lost") == {}
        await until(lambda: list(etcdctl.registered("lost").values()) == ["h:1"])
        assert etcdctl.leases("lost") != [lease]


async def test_a_vanished_or_overwritten_key_is_put_back(etcd: EtcdServer, etcdctl: Etcdctl) -> None:
    async with registered(etcd.endpoint, name="vanished", endpoint="h:1") as registration:
        await until(lambda: registration.is_registered)
        [(key, _)] = etcdctl.registered("vanished").items()
        etcdctl.run("del", key)
        await until(lambda: etcdctl.registered("vanished") == {key: "h:1"})
        etcdctl.run("put", key, "other:1", "--lease=" + f"{int(key.rpartition('/')[2]):x}")
        await until(lambda: etcdctl.registered("vanished") == {key: "h:1"})


async def test_etcd_being_away_at_the_start_stops_nobody(log: list[str]) -> None:
    """Registration is retried, with one warning, and stopping is quick."""
    async with registered(f"127.0.0.1:{free_port()}", name="away", endpoint="h:1") as registration:
        await until(lambda: log)
        await asyncio.sleep(2)
        assert not registration.is_registered
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 3.5 * PATIENCE
    assert len([line for line in log if line.startswith("WARNING")]) == 1
    assert "away" in log[0]


async def test_the_registration_returns_after_etcd_was_away(
    etcd: EtcdServer, etcdctl: Etcdctl, log: list[str]
) -> None:
    async with registered(etcd.endpoint, name="returns", endpoint="h:1") as registration:
        await until(lambda: registration.is_registered)
        await asyncio.to_thread(etcd.kill)
        await until(lambda: not registration.is_registered)
        await asyncio.to_thread(etcd.start)
        await until(lambda: registration.is_registered)
        assert list(etcdctl.registered("returns").values()) == ["h:1"]
    assert len([line for line in log if line.startswith("WARNING")]) == 1


async def test_every_host_is_tried(etcd: EtcdServer, etcdctl: Etcdctl) -> None:
    dead = f"127.0.0.1:{free_port()}"
    async with registered(dead, etcd.endpoint, name="hosts", endpoint="h:1") as registration:
        await until(lambda: registration.is_registered)
        assert list(etcdctl.registered("hosts").values()) == ["h:1"]
        async with resolving() as resolver:
            await _resolves(resolver, f"etcd://{dead},{etcd.endpoint}/hosts", "h:1")


async def test_a_host_that_takes_connections_and_says_nothing_is_passed_over(
    etcd: EtcdServer, etcdctl: Etcdctl
) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    silent = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, registered(silent, etcd.endpoint, name="silent", endpoint="h:1") as registration:
        await until(lambda: registration.is_registered)


async def test_a_server_that_is_not_etcd_is_a_warning(log: list[str]) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, registered(host, name="other", endpoint="h:1"):
        await until(lambda: log)
    assert log[0].startswith("WARNING not registered as other")


# ---- resolving ---------------------------------------------------------------------------------------------


async def test_all_endpoints_under_the_name_are_found_and_followed(
    etcd: EtcdServer, etcdctl: Etcdctl
) -> None:
    target = f"etcd://{etcd.endpoint}/user.rpc"
    etcdctl.run("put", "user.rpc/1", "h1:1")
    etcdctl.run("put", "user.rpcs/1", "other-service:1")
    async with resolving() as resolver:
        assert list(await resolver.endpoints(target)) == ["h1:1"]
        etcdctl.run("put", "user.rpc/2", "h2:2")
        await _resolves(resolver, target, "h1:1", "h2:2")
        etcdctl.run("del", "user.rpc/1")
        await _resolves(resolver, target, "h2:2")
        etcdctl.run("del", "user.rpc/2")
        await _resolves(resolver, target)


async def test_a_burst_of_changes_is_not_missed(etcd: EtcdServer, etcdctl: Etcdctl) -> None:
    target = f"etcd://{etcd.endpoint}/burst"
    etcdctl.run("put", "burst/0", "h:1000")
    async with resolving() as resolver:
        await resolver.endpoints(target)
        await asyncio.gather(
            *(asyncio.to_thread(etcdctl.run, "put", f"burst/{n}", f"h:{1000 + n}") for n in range(1, 20))
        )
        await _resolves(resolver, target, *(f"h:{1000 + n}" for n in range(20)))


async def test_questions_about_one_service_share_a_watch(etcd: EtcdServer, etcdctl: Etcdctl) -> None:
    etcdctl.run("put", "shared/1", "h:1")
    async with resolving() as resolver:
        await asyncio.gather(*(resolver.endpoints(f"etcd://{etcd.endpoint}/shared") for _ in range(50)))
        assert len(resolver._watches) == 1


async def test_a_service_that_nobody_has_registered_is_an_error_at_once(etcd: EtcdServer) -> None:
    async with resolving() as resolver:
        with pytest.raises(DiscoveryError, match=r"no endpoint is registered under the prefix nobody/"):
            await resolver.endpoints(f"etcd://{etcd.endpoint}/nobody")


async def test_the_first_question_while_etcd_is_away_is_an_error_in_bounded_time() -> None:
    async with resolving() as resolver:
        began = asyncio.get_running_loop().time()
        with pytest.raises(DiscoveryError, match="etcd does not answer"):
            await resolver.endpoints(f"etcd://127.0.0.1:{free_port()}/user.rpc")
        assert asyncio.get_running_loop().time() - began < 4 * PATIENCE


async def test_values_that_are_no_endpoints_are_left_out(
    etcd: EtcdServer, etcdctl: Etcdctl, log: list[str]
) -> None:
    etcdctl.run("put", "junk/1", "not an endpoint")
    etcdctl.run("put", "junk/2", "h:1")
    etcdctl.run("put", "junk/3", "h:1")  # the entry of an earlier life, whose lease has not yet ended
    async with resolving() as resolver:
        assert list(await resolver.endpoints(f"etcd://{etcd.endpoint}/junk")) == ["h:1"]
    assert "'not an endpoint' has no port" in log[0]


async def test_while_etcd_is_away_the_last_known_endpoints_are_used(
    etcd: EtcdServer, etcdctl: Etcdctl, log: list[str]
) -> None:
    target = f"etcd://{etcd.endpoint}/known"
    etcdctl.run("put", "known/1", "h1:1")
    async with resolving() as resolver:
        assert list(await resolver.endpoints(target)) == ["h1:1"]
        await asyncio.to_thread(etcd.kill)
        await until(lambda: log)
        for _ in range(10):
            assert list(await resolver.endpoints(target)) == ["h1:1"]
            await asyncio.sleep(0.1)
        await asyncio.to_thread(etcd.start)
        etcdctl.run("put", "known/2", "h2:2")
        await _resolves(resolver, target, "h1:1", "h2:2")
    assert [line.split()[0] for line in log] == ["WARNING", "INFO"]


async def test_a_registration_is_seen_and_its_end_too(etcd: EtcdServer) -> None:
    target = f"etcd://{etcd.endpoint}/both"
    async with resolving() as resolver:
        async with registered(etcd.endpoint, name="both", endpoint="h:1"):
            await _resolves(resolver, target, "h:1")
        await _resolves(resolver, target)


# ---- users -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("etcd")  # says so where there is no etcd
async def test_user_and_password() -> None:
    """`etcd://…/name?user=&password=`; a token that is no longer valid is renewed."""
    with EtcdServer("--auth-token-ttl=1") as etcd:
        etcdctl = Etcdctl(etcd)
        etcdctl.run("user", "add", "root:secret")
        etcdctl.run("user", "grant-role", "root", "root")
        etcdctl.run("auth", "enable")
        etcdctl.login = ("--user=root:secret",)
        registration = EtcdRegistration([etcd.endpoint], "guarded", "h:1", user="root", password="secret")
        await registration.start()
        try:
            await until(lambda: registration.is_registered)
            async with resolving() as resolver:
                await _resolves(resolver, f"etcd://{etcd.endpoint}/guarded?user=root&password=secret", "h:1")
                await asyncio.sleep(5)
                assert registration.is_registered
                with pytest.raises(DiscoveryError) as caught:
                    await resolver.endpoints(f"etcd://{etcd.endpoint}/guarded?user=root&password=wrong")
                assert "wrong" not in str(caught.value)
        finally:
            await registration.stop()
        assert etcdctl.registered("guarded") == {}
