"""Works on bulk jobs: a portion of each in turn, as fast as each may go, while the lease on it lasts.

A job is anybody's whose lease is over, so that one whose coordinator died is gone on with by another. That no
item is done twice depends on no lease: its result is inserted in the commit that does it.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from coordinator.access.audit import Actor
from coordinator.engine.drives import Engine
from coordinator.errors import Conflict, DtmError, Invalid, StoreUnavailable
from coordinator.explain.actions import PLANS, Action, against
from coordinator.explain.play import Rows
from coordinator.model import Transaction
from coordinator.owner import SEPARATOR, prefix_of
from coordinator.service.acting import Acting, record_of
from coordinator.service.bulk_plan import not_theirs
from coordinator.service.lookup import RACES_MAX
from coordinator.store.base import Changed
from coordinator.store.bulk_rows import LEASE, Item, ItemResult, Job, State, result_row
from coordinator.store.bulk_tables import BulkTables
from coordinator.store.bulk_work import BulkWork
from coordinator.store.faults import Refused
from coordinator.store.own_rows import OwnRow
from coordinator.telemetry.log import log

LOOK_SECONDS: Final = 5.0  # between two looks for jobs that nobody works on
TURN_SECONDS: Final = 0.25  # between two portions
JOBS_MAX: Final = 4  # that one coordinator works on at once
_PORTION_MAX: Final = 250  # items
_RENEW_SECONDS: Final = 3.0
_SPARE_SECONDS: Final = 3.0  # before a lease is over nothing is begun any more; columns hold whole seconds
_FORGET_SECONDS: Final = 600.0  # between two looks for old jobs
_FORGOTTEN_AT_ONCE: Final = 5_000


@dataclass(slots=True)
class _Held:
    """A job that is worked on here. Seconds are monotonic. allowance: items that may be begun now."""

    job: Job
    lease_until: float
    renew_at: float
    seen_at: float
    passed: int
    allowance: float = 1.0
    trouble: str = ""  # why items are left for later
    lost: Counter[int] = field(default_factory=Counter)  # races, by the item's number


class BulkRunner:
    """is_alone: nobody else can work on the store. kept: how long a job outlives its end."""

    def __init__(
        self,
        engine: Engine,
        acting: Acting,
        tables: BulkTables,
        *,
        is_alone: bool,
        kept: timedelta,
    ) -> None:
        self._engine = engine
        self._acting = acting
        self._tables = tables
        self._work: BulkWork = tables.work
        self._kept = kept
        self.owner = engine.owner_prefix
        instance = engine.owner_prefix.rsplit(SEPARATOR, 2)[0]
        self._earlier = "" if is_alone else prefix_of(instance)  # how owners begin that have died
        self._held: dict[int, _Held] = {}
        self._wake = asyncio.Event()
        self._look_at = self._forget_at = 0.0  # monotonic
        self.problem = ""  # why no job is worked on; empty where they are

    def wake(self) -> None:
        """Look now rather than at the next interval."""
        self._look_at = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Go on until cancelled. A store that is away is waited for."""
        while True:
            self._wake.clear()
            try:
                pause = await self.beat()
                self.problem = ""
            except DtmError as error:
                if str(error) != self.problem:
                    log.warning("bulk jobs wait: {}", error)
                pause, self.problem = LOOK_SECONDS, str(error)
            except Exception as error:  # noqa: BLE001 - this loop must outlive any row
                pause, self.problem = LOOK_SECONDS, repr(error)
                log.error("bulk jobs stumbled, and go on", exception=error)
            await self._rest(pause)

    async def let_go(self) -> None:
        """Leave what is worked on here to others, at once."""
        if self._held:
            self._held.clear()
            try:
                await self._work.let_go(self.owner)
            except DtmError as error:
                log.debug("bulk jobs are left to whoever finds their lease over: {}", error)

    async def beat(self) -> float:
        """Look for jobs where it is time, and do a portion of each; the seconds until the next beat.

        Raises DtmError.
        """
        clock = self._engine.tools.clock
        if self._engine.why_no_work():
            await self.let_go()
            return LOOK_SECONDS
        if clock.monotonic() >= self._look_at:
            self._look_at = clock.monotonic() + LOOK_SECONDS
            await self._look()
        for held in list(self._held.values()):
            if not await self._turn(held):
                self._held.pop(held.job.id, None)
                self._look_at = 0.0  # for one that had no place
        if not self._held and clock.monotonic() >= self._forget_at:
            await self._forget()
        return TURN_SECONDS if self._held or not self._look_at else LOOK_SECONDS

    async def _look(self) -> None:
        began = self._engine.tools.clock.monotonic()
        active = await self._work.active()
        for job in active.jobs:
            if job.state is State.MAKING and job.until <= active.now:
                await self._tables.move(job, State.CANCELLED)
                log.warning("bulk job {} was never whole, as its coordinator died: nothing was done", job.id)
            if job.state is not State.RUNNING or job.id in self._held or len(self._held) >= JOBS_MAX:
                continue
            if self._is_free(job, active.now) and await self._work.take(job, self.owner):
                log.info("bulk job {}: {} of {} transactions", job.id, job.action, job.items)
                self._held[job.id] = _Held(
                    job,
                    *(began + LEASE.total_seconds(), began + _RENEW_SECONDS, began),
                    passed=job.passed,
                )

    def _is_free(self, job: Job, now: datetime) -> bool:
        return not job.owner or job.until <= now or job.owner.startswith(self._earlier)

    async def _turn(self, held: _Held) -> bool:
        """Do a portion, as large as its rate allows; whether to go on with it."""
        now = self._engine.tools.clock.monotonic()
        if now >= held.renew_at:
            if not await self._work.renew(held.job.id, self.owner, held.passed):
                return False
            held.lease_until, held.renew_at = now + LEASE.total_seconds(), now + _RENEW_SECONDS
        rate = held.job.rate
        held.allowance = min(held.allowance + (now - held.seen_at) * rate, max(rate, 1.0))
        held.seen_at = now
        limit = min(int(held.allowance), _PORTION_MAX)
        if not limit:
            return True
        portion = await self._work.portion(held.job.id, self.owner, passed=held.passed, limit=limit)
        if portion is None:
            return False
        if not portion.items:
            await self._tables.move(held.job, State.DONE, owner=self.owner)
            return False
        held.passed = portion.items[0].number - 1
        held.allowance -= len(portion.items)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._item(held, item, portion.transactions.get(item.gid)))
                for item in portion.items
            ]
        if results := [row for task in tasks if (row := task.result()) is not None]:
            await self._add(results)
        if held.trouble:
            trouble, held.trouble = held.trouble, ""
            raise StoreUnavailable(trouble)
        return True

    async def _item(self, held: _Held, item: Item, transaction: Transaction | None) -> OwnRow | None:
        """Do it; the row of its result where that is not stored with what was done."""
        job, clock = held.job, self._engine.tools.clock

        def ended(result: ItemResult, said: str) -> OwnRow:
            return result_row(job.id, item.number, result, said, clock.now())

        if not item.gid.startswith(job.gid_prefix):
            return ended(ItemResult.REFUSED, not_theirs(job.who, job.gid_prefix).told())
        if transaction is None or transaction.id != item.trans_id:
            return ended(ItemResult.FAILED, "it is not there any more, or nobody understands its row")
        if reason := against(Action(job.action), transaction.trans_type, transaction.status):
            return ended(ItemResult.NOT_ELIGIBLE, reason.told())
        if clock.monotonic() > held.lease_until - _SPARE_SECONDS:
            return None
        try:
            written = await self._write(job, transaction, ended(ItemResult.DONE, ""))
        except Conflict:  # its result is stored: somebody did it
            written = Changed.REFUSED
        except (Invalid, Refused) as error:
            return ended(ItemResult.FAILED, error.message)
        except StoreUnavailable as error:
            held.trouble = error.message
            return None
        if written is Changed.REFUSED:  # it has moved since it was read, and is read again
            held.lost[item.number] += 1
            is_over = held.lost[item.number] >= RACES_MAX
            return ended(ItemResult.FAILED, "others change it all the time") if is_over else None
        return None if written is Changed.APPLIED else ended(ItemResult.FAILED, "it is not there any more")

    async def _write(self, job: Job, transaction: Transaction, result: OwnRow) -> Changed:
        tools = self._engine.tools
        action = Action(job.action)
        planned = PLANS[action](tools.timing, Rows(transaction, ()), tools.clock.now())
        said = f"bulk job {job.id}: {job.reason}" if job.reason else f"bulk job {job.id}"
        record = record_of(transaction, action, planned, said)
        by = Actor(job.who, job.method, job.address)
        return await self._acting.write(transaction, planned, record, by, job.reason, own_rows=(result,))

    async def _add(self, results: Sequence[OwnRow]) -> None:
        try:
            await self._work.add_results(results)
        except Conflict:  # one of them is stored: the others are come upon again
            log.debug("somebody else has worked on a bulk job of this coordinator")

    async def _forget(self) -> None:
        tools = self._engine.tools
        if not await self._tables.forget(tools.clock.now(), self._kept, limit=_FORGOTTEN_AT_ONCE):
            self._forget_at = tools.clock.monotonic() + _FORGET_SECONDS

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
