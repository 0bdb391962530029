"""Finding services through etcd, as go-zero does it (PROTOCOL §11): all keys `<name>/…`, watched."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from coordinator.discovery.base import DiscoveryError, MayReach
from coordinator.discovery.etcd import RETRY_SECONDS_MAX, RETRY_SECONDS_MIN, EtcdTls, open_client
from coordinator.discovery.target import Target, endpoint, parse_target, shown

if TYPE_CHECKING:
    from coordinator.discovery.etcd_client import EtcdClient

FIRST_SECONDS: Final = 3.0  # how long the first question may take; later ones are answered from memory
SILENCE_SECONDS: Final = (
    60.0  # after so long without news the watch is made anew: it may be dead without a sign
)
IDLE_SECONDS: Final = 600.0  # a service that nobody asked for is forgotten
SERVICES_MAX: Final = 256  # watched at a time

_log: Final = logging.getLogger(__name__)


class EtcdResolver:
    """Keeps a watch on every service that was asked for, and answers from what it saw last.

    etcd being away does no harm to a service that is known already. may_reach: judges its servers; None: all
    are trusted. tls: those that are spoken to with TLS; None: none.
    """

    def __init__(self, may_reach: MayReach | None = None, tls: EtcdTls | None = None) -> None:
        self._tls = tls
        self._may_reach = may_reach
        self._watches: dict[str, _Watch] = {}

    async def endpoints(self, target: str) -> Sequence[str]:
        """Return the endpoints of `etcd://h1:2379,h2:2379/name`, in the order of their keys."""
        watch = self._watches.get(target)
        if watch is None:
            watch = self._watch(target)
        return watch.endpoints or await watch.first()

    async def close(self) -> None:
        """End all watches."""
        watches = list(self._watches.values())
        self._watches.clear()
        await asyncio.gather(*(watch.stop() for watch in watches))

    def _watch(self, target: str) -> "_Watch":
        if len(self._watches) >= SERVICES_MAX:
            raise DiscoveryError(f"{len(self._watches)} services are watched in etcd, no more are allowed")
        watch = self._watches[target] = _Watch(parse_target(target), self._may_reach, self._tls)
        watch.task.add_done_callback(lambda _: self._watches.pop(target, None))
        return watch


class _Watch:
    """What is known of one service, and the task that keeps it up to date."""

    def __init__(self, target: Target, may_reach: MayReach | None, tls: EtcdTls | None) -> None:
        self._tls = tls.of(target.hosts) if tls is not None else None
        self._target = target
        self._may_reach = may_reach
        self._endpoints: tuple[str, ...] | None = None  # None: never heard
        self._problem = "no answer yet"
        self._name = shown(str(target))  # for people
        self._retry = RETRY_SECONDS_MIN
        self._has_warned = False
        self._tried = asyncio.Event()  # set after the first attempt, however it went
        self._loop = asyncio.get_running_loop()
        self._last_asked = self._loop.time()
        self.task = asyncio.create_task(self._run(), name=f"etcd watch of {target.key}")
        self.task.add_done_callback(_report)

    @property
    def endpoints(self) -> Sequence[str]:
        """What was seen last; empty when nothing was."""
        self._last_asked = self._loop.time()
        return self._endpoints or ()

    async def first(self) -> Sequence[str]:
        """Wait for the first attempt to ask. Raises DiscoveryError when no endpoint is known after it."""
        if not self._tried.is_set():
            try:
                async with asyncio.timeout(FIRST_SECONDS):
                    await self._tried.wait()
            except TimeoutError:
                raise DiscoveryError(
                    f"{self._name}: etcd does not answer within {FIRST_SECONDS:g} s"
                ) from None
        if self._endpoints is None:
            raise DiscoveryError(f"{self._name}: {self._problem}")
        if not self._endpoints:
            raise DiscoveryError(
                f"{self._name}: no endpoint is registered under the prefix {self._target.key}/"
            )
        return self._endpoints

    async def stop(self) -> None:
        """End the task."""
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _run(self) -> None:
        target = self._target
        client = await open_client(target.hosts, target.user, target.password, self._may_reach, self._tls)
        try:
            while self._loop.time() - self._last_asked < IDLE_SECONDS:
                try:
                    await self._follow(client)
                except DiscoveryError as error:
                    self._take_note(error)
                    await asyncio.sleep(self._retry)
                    self._retry = min(2 * self._retry, RETRY_SECONDS_MAX)
        finally:
            await client.close()

    async def _follow(self, client: "EtcdClient") -> None:
        """Learn who is there, and whatever changes, until nothing has come for SILENCE_SECONDS."""
        prefix = f"{self._target.key}/"
        async with aclosing(client.changes(prefix)) as changes:  # first the watch, so that nothing is missed
            while await _has_come(changes):
                self._learn(await client.values(prefix))

    def _learn(self, values: Sequence[str]) -> None:
        self._endpoints = tuple(dict.fromkeys(value for value in values if self._is_endpoint(value)))
        _log.debug("%s: %s", self._name, ", ".join(self._endpoints) or "no endpoint")
        self._tried.set()
        self._retry = RETRY_SECONDS_MIN
        if self._has_warned:
            _log.info("%s: etcd answers again", self._name)
            self._has_warned = False

    def _take_note(self, error: DiscoveryError) -> None:
        self._problem = str(error)
        self._tried.set()
        if not self._has_warned:  # once for each time that etcd is away
            _log.warning("%s: %s; what was known is used meanwhile", self._name, error)
            self._has_warned = True

    def _is_endpoint(self, value: str) -> bool:
        try:
            return endpoint(value) == value
        except ValueError as error:
            _log.warning("%s: the value %r %s", self._name, value, error)
            return False


async def _has_come(changes: AsyncGenerator[None, None]) -> bool:
    """Wait for the next change. False when there was none for SILENCE_SECONDS."""
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            await anext(changes)
    except TimeoutError:
        return False
    return True


def _report(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s has ended; it begins anew when next asked for", task.get_name(), exc_info=error)
