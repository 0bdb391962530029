"""Starts drives, owns their tasks, and knows which transactions run here."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from coordinator.engine.drive import Drive, Ended, Lease
from coordinator.engine.tools import Tools
from coordinator.errors import Busy, StoreUnavailable
from coordinator.model import Options
from coordinator.owner import prefix_of
from coordinator.store.base import Stored
from coordinator.telemetry.log import log

_REPORTED_RUNNING = 20  # gids named when a stop has to cut drives off


class Engine:
    """Takes a transaction only while fewer than `running_max` run, recovered ones counted; each is one task.

    instance: this coordinator's name. start: what tells this run of it from an earlier one. Together with a
    counter they make owner tokens, `<instance>/<start>/<counter>` (PROTOCOL §9).
    """

    def __init__(self, tools: Tools, *, instance: str, start: str, running_max: int) -> None:
        self._tools = tools
        self.owner_prefix = prefix_of(instance, start)
        self._running_max = running_max
        self._tokens = _counter()
        self._drives: set[asyncio.Task[Ended]] = set()
        self._by_gid: dict[str, asyncio.Task[Ended]] = {}
        self._starting = 0  # places held by `place`
        self._stopping = False

    @property
    def tools(self) -> Tools:
        """What every drive is handed."""
        return self._tools

    @property
    def running(self) -> int:
        """How many transactions are driven now."""
        return len(self._drives)

    def running_of(self, gid: str) -> asyncio.Task[Ended] | None:
        """The drive of this gid in this process, if there is one."""
        return self._by_gid.get(gid)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for one more transaction while it is stored and started.

        Raises Busy when none may be taken: before anything is stored.
        """
        if self._stopping:
            raise Busy("the coordinator is stopping", "ask again: another one, or this one after its restart")
        taken = len(self._drives) + self._starting
        if taken >= self._running_max:
            raise Busy(
                f"{taken} transactions are running, the most that this coordinator drives",
                "ask again later, add a coordinator, or raise ConcurrencyMax",
            )
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    def new_owner(self) -> str:
        """A fresh owner token: never given twice, by no coordinator."""
        return f"{self.owner_prefix}{next(self._tokens)}"

    def lease(self, owner: str, options: Options) -> Lease:
        """The lease that a write which starts now will give to `owner`. Take it before the write."""
        seconds = self._tools.timing.lease(options)
        return Lease(owner, self._tools.clock.monotonic() + seconds)

    def start(self, stored: Stored, lease: Lease, *, patient: bool) -> asyncio.Task[Ended]:
        """Drive the transaction, whose row holds this lease, in a task that the engine owns.

        The task's result says how the round ended. patient: see Drive.
        """
        gid = stored.transaction.gid
        drive = Drive(self._tools, stored, lease, patient=patient)
        task = asyncio.create_task(drive.run(), name=gid)
        self._drives.add(task)
        self._by_gid[gid] = task
        task.add_done_callback(self._forget)
        return task

    def refuse_new(self) -> None:
        """From now on `place` has none: the coordinator is stopping."""
        self._stopping = True

    async def stop(self, grace: float) -> None:
        """Let drives end for `grace` seconds, leave the others to recovery; none is running afterwards."""
        self.refuse_new()
        if self._drives:
            await asyncio.wait(self._drives, timeout=grace)
        left = [gid for gid, task in self._by_gid.items() if not task.done()]
        if left:
            log.info("{} transactions are left to recovery: {}", len(left), left[:_REPORTED_RUNNING])
        for task in self._drives:
            task.cancel()
        if self._drives:
            await asyncio.wait(self._drives)

    def _forget(self, task: asyncio.Task[Ended]) -> None:
        gid = task.get_name()
        self._drives.discard(task)
        if self._by_gid.get(gid) is task:
            del self._by_gid[gid]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log_broken_off(gid, error)


def _log_broken_off(gid: str, error: BaseException) -> None:
    bound = log.with_fields(gid=gid)
    match error:
        case StoreUnavailable():
            bound.warning("the store did not take a result, recovery will go on: {}", error)
        case ValueError():  # a row that no client of this version can have made
            bound.error("cannot be driven, its row stays as it is: {}", error)
        case _:
            bound.error("the drive broke off, recovery will try again", exception=error)


def _counter() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number
