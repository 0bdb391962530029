"""Being found through etcd the go-zero way (PROTOCOL §11): a leased key `<name>/<lease>` is `host:port`."""

import asyncio
import importlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coordinator.discovery.base import DiscoveryError, MakeContext, MayReach

if TYPE_CHECKING:
    from coordinator.discovery.etcd_client import EtcdClient

LEASE_SECONDS: Final = 10  # how long the entry outlives a coordinator that has died
RENEW_SECONDS: Final = 3.0
RETRY_SECONDS_MIN: Final = 0.5  # doubled at each failure in a row
RETRY_SECONDS_MAX: Final = 5.0
STOP_SECONDS: Final = 3.0

_log: Final = logging.getLogger(__name__)


async def open_client(
    hosts: Sequence[str],
    user: str,
    password: str,
    may_reach: MayReach | None = None,
    tls: MakeContext | None = None,
) -> "EtcdClient":
    """Return a client that is not yet connected. Its library takes half a second to load: not on the loop."""
    module = await asyncio.to_thread(importlib.import_module, "coordinator.discovery.etcd_client")
    client: EtcdClient = module.EtcdClient(hosts, user=user, password=password, may_reach=may_reach, tls=tls)
    return client


@dataclass(frozen=True, slots=True)
class EtcdTls:
    """The etcd servers that are spoken to with TLS, `host:port` each, whoever names them; and with what."""

    hosts: frozenset[str]
    context: MakeContext

    def of(self, hosts: Sequence[str]) -> MakeContext | None:
        """With what these are spoken to; None: plainly."""
        return self.context if self.hosts.issuperset(hosts) else None


class EtcdRegistration:
    """An entry in etcd, kept for as long as the coordinator runs.

    hosts: `host:port` of etcd's servers. key: the service's name. endpoint: the `host:port` to be found at.
    tls: what the servers are spoken to with; None: plainly.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        key: str,
        endpoint: str,
        *,
        user: str = "",
        password: str = "",
        tls: MakeContext | None = None,
    ) -> None:
        self._hosts = tuple(hosts)
        self._key = key
        self._endpoint = endpoint
        self._user = user
        self._password = password
        self._tls = tls
        self._client: EtcdClient | None = None
        self._lease = 0
        self._is_registered = False
        self._has_warned = False
        self._task: asyncio.Task[None] | None = None

    is_wanted: Final = True

    @property
    def is_registered(self) -> bool:
        """True when the entry stood the last time it was looked after."""
        return self._is_registered

    async def start(self) -> None:
        """Begin to register. etcd may be away: it is tried again for as long as it takes."""
        self._task = asyncio.create_task(self._keep(), name="etcd registration")

    async def stop(self) -> None:
        """Take the entry back and close; at most STOP_SECONDS."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("the registration in etcd had ended", exc_info=error)
        self._is_registered = False
        client, self._client = self._client, None
        if client is None:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                if self._lease:
                    await client.revoke(self._lease)
        except (TimeoutError, DiscoveryError) as error:
            _log.debug("the entry in etcd was not taken back, it ends with its lease: %s", error)
        finally:
            self._lease = 0
            await client.close()

    async def _keep(self) -> None:
        """Look after the entry again and again."""
        self._client = await open_client(self._hosts, self._user, self._password, tls=self._tls)
        retry = RETRY_SECONDS_MIN
        while True:
            try:
                await self._look_after(self._client)
            except DiscoveryError as error:
                self._is_registered = False
                self._warn(error)
                await asyncio.sleep(retry)
                retry = min(2 * retry, RETRY_SECONDS_MAX)
            else:
                retry = RETRY_SECONDS_MIN
                self._has_warned = False
                await asyncio.sleep(RENEW_SECONDS)

    async def _look_after(self, client: "EtcdClient") -> None:
        """Renew the lease or take a new one, and see that the key is there; the first time and any other."""
        if not (self._lease and await client.keep_alive(self._lease)):
            if self._lease:
                _log.warning("etcd has lost the lease of %s; it is registered again", self._key)
            self._lease = 0  # so that a failure here does not renew the old one
            self._lease = await client.grant(LEASE_SECONDS)
        name = f"{self._key}/{self._lease}"
        if await client.get(name) != self._endpoint:
            await client.put(name, self._endpoint, self._lease)
            _log.info("registered in etcd: %s is %s", name, self._endpoint)
        self._is_registered = True

    def _warn(self, error: DiscoveryError) -> None:
        if not self._has_warned:  # once for each time that etcd is away
            _log.warning("not registered as %s: %s; this is tried again", self._key, error)
            self._has_warned = True
