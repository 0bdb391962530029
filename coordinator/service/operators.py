"""What people and consoles ask: looking, stopping for good, bringing the next round forward (PROTOCOL §3)."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from coordinator.engine.drives import Engine
from coordinator.errors import Failure, Invalid
from coordinator.model import UNFINISHED, Status, Transaction, later
from coordinator.owner import is_a_drivers
from coordinator.service.lookup import RACES_MAX, Lookup, lost_races
from coordinator.service.validate import require_gid
from coordinator.store.base import Assign, Change, Changed, Filter, KeyValue, Stored


class Operators:
    """wake: makes recovery look now. write_seconds: how long a caller waits for the store."""

    def __init__(
        self,
        engine: Engine,
        lookup: Lookup,
        *,
        wake: Callable[[], None],
        write_seconds: float,
        reset_seconds: float,
    ) -> None:
        """reset_seconds: what reset_cron_time takes when no time is given, 3 x TimeoutToFail."""
        self._engine = engine
        self._lookup = lookup
        self._wake = wake
        self._write_seconds = write_seconds
        self._reset_seconds = reset_seconds

    async def query(self, gid: str) -> Stored | None:
        """The transaction and its branches, or None. Raises Invalid for an empty gid."""
        if not gid:
            raise Invalid("no gid specified")
        return await self._lookup.read(gid)

    async def all(self, wanted: Filter) -> Sequence[Transaction]:
        """Transactions, newest first."""
        return await self._engine.tools.store.list(wanted)

    async def find_value(self, category: str, key: str) -> KeyValue | None:
        """One row of what coordinators share, such as a topic."""
        return await self._engine.tools.store.find_value(category, key)

    async def list_values(self, category: str, *, limit: int, before_id: int | None) -> Sequence[KeyValue]:
        """Rows of what coordinators share, newest first."""
        return await self._engine.tools.store.list_values(category, limit=limit, before_id=before_id)

    async def force_stop(self, gid: str) -> None:
        """Set it to `failed`; nothing more is called. Raises Failure when it is final already."""
        require_gid(gid)
        for _ in range(RACES_MAX):
            transaction = (await self._lookup.find(gid)).transaction
            if transaction.status.is_final:
                raise Failure(f"global transaction force stop error. status: {transaction.status}. error:")
            # The owner is taken away, so that whoever drives it is fenced off before its next call.
            stop = Change(gid, UNFINISHED, None, assign=Assign(status=Status.FAILED, owner=""))
            if await self._change(stop):
                self._engine.tools.ended(transaction, Status.FAILED)
                return
        raise lost_races(gid)

    async def reset_next_cron_time(self, gid: str) -> None:
        """Make one unfinished transaction due now; one that is driven, when its driver's lease is over.

        One that runs here just now is left to its driver.
        """
        require_gid(gid)
        for _ in range(RACES_MAX):
            transaction = (await self._lookup.find(gid)).transaction
            if transaction.status.is_final or self._engine.is_running(gid):
                return
            due_at = self._soonest(transaction)
            if due_at >= transaction.next_cron_time:
                self._wake()
                return
            due = Assign(next_cron_time=due_at)
            if await self._change(
                Change(gid, frozenset({transaction.status}), transaction.owner, assign=due)
            ):
                self._wake()
                return
        raise lost_races(gid)

    def _soonest(self, transaction: Transaction) -> datetime:
        """When it may be taken up without a second driver beside the first (PROTOCOL §9)."""
        tools = self._engine.tools
        # Columns hold whole seconds, rounded up: of the second that has begun, it is due already.
        now = tools.clock.now().replace(microsecond=0)
        if not is_a_drivers(transaction.owner):
            return now
        # next_cron_time may be later by far: it counts the back-off as well. Whoever takes or renews a lease
        # stamps update_time, in whole seconds.
        return max(now, later(transaction.update_time, tools.timing.lease(transaction.options) + 1))

    async def reset_cron_time(self, *, timeout: float | None, limit: int) -> tuple[int, bool]:
        """Make due now what is due later than `timeout` seconds from now (None: 3 x TimeoutToFail).

        Returns how many were changed, at most `limit`, and whether more remain.
        """
        now = self._engine.tools.clock.now()
        seconds = self._reset_seconds if timeout is None else timeout
        reset = await self._engine.tools.store.reset_cron_time(
            now=now, later_than=now + timedelta(seconds=seconds), limit=limit
        )
        self._wake()
        return reset

    async def _change(self, change: Change) -> bool:
        changed = await self._engine.tools.store.change(change, timeout=self._write_seconds)
        return changed is Changed.APPLIED
