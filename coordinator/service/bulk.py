"""One action asked of many transactions: what it would do, and the job that does it (docs/operating.md)."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from coordinator.access.audit import Actor, Record
from coordinator.access.permissions import Principal
from coordinator.access.recorder import Recorder
from coordinator.clock import Clock
from coordinator.errors import Busy, Failure, Forbidden, Invalid, StoreUnavailable
from coordinator.explain.actions import Action
from coordinator.service.acting import check_reason
from coordinator.service.bulk_plan import EXAMPLES_MAX, Group, Plan, Wish, check_agreed, check_wish, planned
from coordinator.service.filter_grammar import parse_filter
from coordinator.store.bulk_rows import Item, ItemResult, Job, State
from coordinator.store.gathering import Match, Matches
from coordinator.store.own_rows import OwnRow
from coordinator.store.search import Search

ITEMS_MAX: Final = 100_000  # of one job
UNFINISHED_MAX: Final = 50  # jobs that have not ended
_GATHER_SECONDS_MAX: Final = 20.0
_ITEMS_AT_ONCE: Final = 2_000  # stored in one commit
_VERBS: Final[Mapping[State, str]] = {
    State.PAUSED: "pause",
    State.RUNNING: "resume",
    State.CANCELLED: "cancel",
}


class Tables(Protocol):
    """What is asked of the store. Raises StoreUnavailable."""

    async def newest_id(self) -> int:
        """See BulkTables."""
        ...

    async def matches(self, wanted: Search, *, id_max: int, after: str, limit: int, now: datetime) -> Matches:
        """See BulkTables."""
        ...

    async def unfinished(self) -> int:
        """See BulkTables."""
        ...

    async def make(self, job: Job) -> int:
        """See BulkTables."""
        ...

    async def add_items(self, job_id: int, items: Sequence[Item]) -> None:
        """See BulkTables."""
        ...

    async def move(
        self, job: Job, to: State, *, records: Sequence[OwnRow] = (), owner: str | None = None
    ) -> bool:
        """See BulkTables."""
        ...

    async def jobs(self, *, limit: int, before_id: int | None) -> Sequence[Job]:
        """See BulkTables."""
        ...

    async def find(self, job_id: int) -> Job:
        """See BulkTables."""
        ...

    async def items(
        self, job_id: int, *, results: Collection[str] = (), after: int = 0, limit: int
    ) -> Sequence[Item]:
        """See BulkTables."""
        ...


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and from where."""

    who: Principal
    address: str = ""

    @property
    def actor(self) -> Actor:
        """As the record of who did what has it."""
        return Actor(self.who.name, self.who.method, self.address)


class Bulk:
    """tables: None where the store has none. owner: of what is made here. wake: has jobs looked for."""

    def __init__(
        self,
        tables: Tables | None,
        clock: Clock,
        recorder: Recorder,
        *,
        owner: str,
        wake: Callable[[], None],
    ) -> None:
        self._tables_or_none = tables
        self._clock = clock
        self._recorder = recorder
        self._owner = owner
        self._wake = wake

    async def plan(self, wish: Wish, by: Asker) -> Plan:
        """What would be done, without doing it. Raises Invalid, also where it is too much to look through."""
        check_wish(wish)
        plan, _ = await self._planned(wish, by)
        return plan

    async def make(self, wish: Wish, by: Asker, *, needs: str) -> Job:
        """The job, which has begun. needs: the permission that `by` has for it.

        Raises Unconfirmed; Failure where there is nothing to do; Invalid, Busy.
        """
        check_wish(wish)
        plan, matches = await self._planned(wish, by)
        items = await asyncio.to_thread(_items_of, matches)
        return await self._made(self._job(wish, plan, by, needs), plan, wish.confirm, items, by)

    async def again(self, job_id: int, by: Asker, *, reason: str, confirm: int = 0) -> Job:
        """A new job of what failed in one that has ended. Raises as `make` does, NotFound, Forbidden."""
        check_reason(reason)
        old = await self._theirs(job_id, by)
        if not old.state.is_final:
            raise Failure(f"bulk job {job_id} is {old.state}: it has not ended.")
        found: list[Item] = []
        while page := await self._tables.items(
            job_id,
            results=(ItemResult.FAILED.value,),
            after=found[-1].number if found else 0,
            limit=_ITEMS_AT_ONCE,
        ):
            found += page
        items = [Item(number, it.gid, it.trans_id) for number, it in enumerate(found, start=1)]
        group = Group(None, len(items), tuple([it.gid for it in items[:EXAMPLES_MAX]]))
        plan = Plan(Action(old.action), old.filter, old.id_max, len(items), (group,) if items else ())
        wish = Wish(plan.action, old.filter, old.id_max, reason or old.reason, old.rate, confirm)
        job = replace(self._job(wish, plan, by, old.needs), source=job_id)
        return await self._made(job, plan, confirm, items, by)

    async def jobs(self, *, limit: int, before_id: int | None) -> Sequence[Job]:
        """The newest first."""
        return await self._tables.jobs(limit=limit, before_id=before_id)

    async def show(self, job_id: int) -> Job:
        """It, as far as it has come. Raises NotFound."""
        return await self._tables.find(job_id)

    async def items(
        self, job_id: int, *, results: Collection[str] = (), after: int = 0, limit: int
    ) -> Sequence[Item]:
        """Its items, and how it went with each. results: those alone; "": that wait. Raises NotFound."""
        items = await self._tables.items(job_id, results=results, after=after, limit=limit)
        if not items:
            await self._tables.find(job_id)
        return items

    async def pause(self, job_id: int, by: Asker, reason: str = "") -> Job:
        """It rests until it is resumed. Raises NotFound, Failure where it does not run."""
        return await self._moved(job_id, State.PAUSED, (State.RUNNING,), by, reason)

    async def resume(self, job_id: int, by: Asker, reason: str = "") -> Job:
        """It goes on. Raises NotFound, Failure where it does not rest, Forbidden."""
        await self._theirs(job_id, by)
        job = await self._moved(job_id, State.RUNNING, (State.PAUSED,), by, reason)
        self._wake()
        return job

    async def cancel(self, job_id: int, by: Asker, reason: str = "") -> Job:
        """It ends; what is left of its items is left alone. Raises NotFound, Failure where it has ended."""
        return await self._moved(job_id, State.CANCELLED, (State.RUNNING, State.PAUSED), by, reason)

    async def _planned(self, wish: Wish, by: Asker) -> tuple[Plan, Sequence[Match]]:
        wanted = parse_filter(wish.filter)
        id_max = wish.id_max or await self._tables.newest_id()
        matches = await self._gathered(wanted, id_max)
        return await asyncio.to_thread(planned, wish, id_max, matches, by.who), matches

    async def _gathered(self, wanted: Search, id_max: int) -> Sequence[Match]:
        now, began = self._clock.now(), self._clock.monotonic()
        found: dict[int, Match] = {}
        after, is_first = "", True
        while after or is_first:
            page = await self._tables.matches(
                wanted, id_max=id_max, after=after, limit=ITEMS_MAX + 1, now=now
            )
            found |= {match.trans_id: match for match in page.found}
            if len(found) > ITEMS_MAX:
                raise Invalid(
                    f"filter: finds more than {ITEMS_MAX} transactions, the most that one job takes:"
                    " narrow it, for instance with -status:succeed -status:failed"
                )
            if page.after and self._clock.monotonic() - began > _GATHER_SECONDS_MAX:
                raise Invalid(
                    f"filter: it takes more than {_GATHER_SECONDS_MAX:.0f} s to look through all that is"
                    " stored: name a status of what is unfinished, a gid, endpoint, op, kind or error"
                )
            after, is_first = page.after, False
        return await asyncio.to_thread(_in_order, found)

    def _job(self, wish: Wish, plan: Plan, by: Asker, needs: str) -> Job:
        actor = by.actor
        return Job(
            wish.action.value,
            wish.filter,
            plan.id_max,
            plan.count,
            wish.rate,
            wish.reason,
            *(actor.who, actor.method, actor.address, by.who.gid_prefix),
            needs=needs,
            owner=self._owner,
        )

    async def _made(self, job: Job, plan: Plan, confirm: int, items: Sequence[Item], by: Asker) -> Job:
        check_agreed(plan, confirm)
        if await self._tables.unfinished() >= UNFINISHED_MAX:
            raise Busy(f"{UNFINISHED_MAX} bulk jobs have not ended", "cancel some, or wait")
        job = replace(job, id=await self._tables.make(job))
        for start in range(0, len(items), _ITEMS_AT_ONCE):
            await self._tables.add_items(job.id, items[start : start + _ITEMS_AT_ONCE])
        became = f"bulk job {job.id}: {job.items} transactions"
        record = Record(f"bulk {job.action}", job.filter, job.reason, became=became)
        moved = await self._tables.move(
            job, State.RUNNING, records=self._recorder.rows(by.actor, record), owner=self._owner
        )
        if not moved:
            raise StoreUnavailable(f"bulk job {job.id} was not stored in time: nothing was done")
        self._recorder.done(by.actor, record)
        self._wake()
        return await self._tables.find(job.id)

    async def _moved(
        self, job_id: int, to: State, expected: Collection[State], by: Asker, reason: str
    ) -> Job:
        check_reason(reason)
        job = await self._tables.find(job_id)
        verb = _VERBS[to]
        record = Record(f"bulk {verb}", f"bulk job {job_id}", reason, job.state, to)
        if job.state not in expected or not await self._tables.move(
            job, to, records=self._recorder.rows(by.actor, record)
        ):
            now = (await self._tables.find(job_id)).state
            raise Failure(f"bulk job {job_id} is {now}: it cannot be asked to {verb}.")
        self._recorder.done(by.actor, record)
        return await self._tables.find(job_id)

    async def _theirs(self, job_id: int, by: Asker) -> Job:
        """The job, of which more may be done by who has the permission that it needs. Raises Forbidden."""
        job = await self._tables.find(job_id)
        if job.needs not in by.who.permissions:
            raise Forbidden(
                f"{by.who.name} lacks the permission {job.needs}; docs/security.md says who has it"
            )
        return job

    @property
    def _tables(self) -> Tables:
        if self._tables_or_none is None:
            raise StoreUnavailable("this store keeps no bulk jobs")
        return self._tables_or_none


def _items_of(matches: Sequence[Match]) -> list[Item]:
    return [Item(number, match.gid, match.trans_id) for number, match in enumerate(matches, start=1)]


def _in_order(found: Mapping[int, Match]) -> list[Match]:
    return [found[trans_id] for trans_id in sorted(found)]
