"""Starts drives, owns their tasks, and knows which transactions run here."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from coordinator.engine.drive import Drive
from coordinator.engine.entry import Entry
from coordinator.engine.lease import Ended, Lease
from coordinator.engine.tools import Tools
from coordinator.errors import Busy, DtmError, Stopping, StoreUnavailable
from coordinator.model import Branch, Options
from coordinator.owner import prefix_of
from coordinator.store.base import Stored, payload_bytes
from coordinator.telemetry.log import log

_REPORTED_RUNNING = 20  # gids named when a stop has to cut drives off


class Engine:
    """Drives what was let in to the house; each transaction is one task.

    instance: this coordinator's name. start: what tells this run of it from an earlier one. Together with a
    counter they make owner tokens, `<instance>/<start>/<counter>` (PROTOCOL §9). why_no_work: asked before
    each new transaction; says why none may be taken or claimed, an empty text when they may.
    """

    def __init__(
        self, tools: Tools, *, instance: str, start: str, why_no_work: Callable[[], str] = str
    ) -> None:
        self._tools = tools
        self.why_no_work = why_no_work
        self.owner_prefix = prefix_of(instance, start)
        self._tokens = _counter()
        self._drives: set[asyncio.Task[Ended]] = set()
        self._by_gid: dict[str, asyncio.Task[Ended]] = {}
        self._waiting: dict[str, list[asyncio.Future[Ended | None]]] = {}  # for the end of a round, by gid
        self._stopping = False

    @property
    def tools(self) -> Tools:
        """What every drive is handed."""
        return self._tools

    @property
    def running(self) -> int:
        """How many transactions are driven now."""
        return len(self._drives)

    def is_running(self, gid: str) -> bool:
        """Whether this gid is driven in this process."""
        return gid in self._by_gid

    @contextmanager
    def entry(self, branches: Sequence[Branch]) -> Iterator[Entry]:
        """A place in the house for one more transaction while it is stored and started.

        branches: whose payloads it brings. Raises Busy when there is no place, Stopping: before anything is
        stored.
        """
        if self._stopping:
            raise Stopping(
                "the coordinator is stopping", "ask again: another one, or this one after its restart"
            )
        if why := self.why_no_work():
            raise Stopping(f"the coordinator takes no more work: {why}", "ask another one")
        admission = self._tools.admission
        entry = admission.enter(payload_bytes(branches))
        if entry is None:
            raise Busy(
                f"the coordinator is full: it drives {admission.fill}",
                "ask again later, add a coordinator, or raise ConcurrencyMax or BytesInFlightMax",
            )
        try:
            yield entry
        finally:
            if not entry.is_handed_over:
                entry.leave()

    def new_owner(self) -> str:
        """A fresh owner token: never given twice, by no coordinator."""
        return f"{self.owner_prefix}{next(self._tokens)}"

    def lease(self, owner: str, options: Options, *, since: float | None = None) -> Lease:
        """The lease that a write gives to `owner`. since: when that began, monotonic; None is now."""
        began = self._tools.clock.monotonic() if since is None else since
        return Lease(owner, began + self._tools.timing.lease(options))

    def start(self, stored: Stored, lease: Lease, entry: Entry) -> None:
        """Drive the transaction, whose row holds this lease, in a task that the engine owns.

        entry: its place in the house, given back when the drive ends.
        """
        entry.is_handed_over = True
        gid = stored.transaction.gid
        drive = Drive(self._tools, stored, lease)
        task = asyncio.create_task(drive.run(), name=gid)
        self._drives.add(task)
        self._by_gid[gid] = task
        task.add_done_callback(lambda done: self._forget(done, entry))

    async def round_ended(self, gid: str, seconds: float) -> Ended | None:
        """Wait until a round of this gid has ended here, one that runs or a later one.

        None when none did within so many seconds, or nobody knows how.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Ended | None] = loop.create_future()
        self._waiting.setdefault(gid, []).append(ended)
        give_up = loop.call_later(seconds, _tell, ended, None)
        try:
            return await ended
        finally:
            give_up.cancel()
            self._waiting[gid].remove(ended)
            if not self._waiting[gid]:
                del self._waiting[gid]

    def refuse_new(self) -> None:
        """From now on `entry` raises Stopping."""
        self._stopping = True

    async def until_idle(self) -> None:
        """Wait until no transaction is driven here."""
        while self._drives:
            await asyncio.wait(self._drives)

    async def stop(self, grace: float) -> None:
        """Let drives end for `grace` seconds, give the others back; none is running afterwards."""
        self.refuse_new()
        if self._drives:
            await asyncio.wait(self._drives, timeout=grace)
        left = [gid for gid, task in self._by_gid.items() if not task.done()]
        for task in self._drives:
            task.cancel()
        if self._drives:
            await asyncio.wait(self._drives)
        if left:
            log.info("left to recovery, {} in all: {}", len(left), left[:_REPORTED_RUNNING])
            await self._give_back(grace)

    async def _give_back(self, seconds: float) -> None:
        """What this process holds is due at once, for whoever looks first."""
        tools = self._tools
        try:
            async with asyncio.timeout(seconds):
                await tools.store.take_back(
                    now=tools.clock.now(), owner_prefix=self.owner_prefix, except_prefix=""
                )
        except (DtmError, TimeoutError) as error:
            log.warning("what was running is taken up when its leases end: {}", error)

    def _forget(self, task: asyncio.Task[Ended], entry: Entry) -> None:
        entry.leave()
        gid = task.get_name()
        self._drives.discard(task)
        if self._by_gid.get(gid) is task:
            del self._by_gid[gid]
        ended = None
        if not task.cancelled():
            if (error := task.exception()) is not None:
                _log_broken_off(gid, error)
            else:
                ended = task.result()
        if ended is not None and ended.deferred:
            return  # a later round will tell
        for waiting in self._waiting.get(gid, ()):
            _tell(waiting, ended)


def _tell(waiting: "asyncio.Future[Ended | None]", ended: Ended | None) -> None:
    if not waiting.done():
        waiting.set_result(ended)


def _log_broken_off(gid: str, error: BaseException) -> None:
    bound = log.with_fields(gid=gid)
    match error:
        case StoreUnavailable() | Busy():
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
