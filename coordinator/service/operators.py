"""What people and consoles ask: looking, stopping for good, bringing the next round forward (PROTOCOL §3)."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from coordinator.access.audit import NOBODY, REFUSED, Actor, Record
from coordinator.access.recorder import Recorder
from coordinator.attempt import notes_of
from coordinator.engine.drives import Engine
from coordinator.errors import Failure, Invalid
from coordinator.explain.actions import soonest
from coordinator.model import Status, Transaction
from coordinator.service.lookup import Lookup
from coordinator.service.validate import require_gid
from coordinator.store.attempt_rows import not_stuck
from coordinator.store.base import Assign, Change, Changed, KeyValue, Stored
from coordinator.store.listed import Filter, Listed
from coordinator.store.own_rows import OwnRowGone


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
        recorder: Recorder,
    ) -> None:
        """reset_seconds: what reset_cron_time takes when no time is given, 3 x TimeoutToFail.

        recorder: keeps who did what, in the commit of what was done.
        """
        self._recorder = recorder
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

    async def all(self, wanted: Filter) -> Listed:
        """Transactions, newest first."""
        return await self._engine.tools.store.list(wanted)

    async def find_value(self, category: str, key: str) -> KeyValue | None:
        """One row of what coordinators share, such as a topic."""
        return await self._engine.tools.store.find_value(category, key)

    async def list_values(self, category: str, *, limit: int, before_id: int | None) -> Sequence[KeyValue]:
        """Rows of what coordinators share, newest first."""
        return await self._engine.tools.store.list_values(category, limit=limit, before_id=before_id)

    async def force_stop(self, gid: str, by: Actor = NOBODY, reason: str = "") -> None:
        """Set it to `failed`; nothing more is called. Raises Failure when it is final already."""
        require_gid(gid)

        async def write(stored: Stored) -> bool | None:
            transaction = stored.transaction
            if transaction.status.is_final:
                error = Failure(f"global transaction force stop error. status: {transaction.status}. error:")
                outcome = f"{REFUSED}: {error.message}"
                self._recorder.refused(by, Record("stop", gid, reason, transaction.status, outcome=outcome))
                raise error
            record = Record("stop", gid, reason, transaction.status, Status.FAILED)
            # The owner is taken away, so that whoever drives it is fenced off before its next call.
            stop = Change(
                gid,
                frozenset({transaction.status}),
                None,
                assign=Assign(status=Status.FAILED, owner=""),
                own_rows=(*self._recorder.rows(by, record), *_no_longer_stuck(transaction)),
            )
            if not await self._change(stop):
                return None
            self._engine.tools.ended(transaction, Status.FAILED)
            self._recorder.done(by, record)
            return True

        await self._lookup.settled(gid, write)

    async def reset_next_cron_time(self, gid: str, by: Actor = NOBODY, reason: str = "") -> None:
        """Make one unfinished transaction due now; one that is driven, when its driver's lease is over.

        One that runs here just now is left to its driver.
        """
        require_gid(gid)
        tools = self._engine.tools

        async def write(stored: Stored) -> bool | None:
            transaction = stored.transaction
            if transaction.status.is_final or self._engine.is_running(gid):
                return False
            due_at = soonest(tools.timing, transaction, tools.clock.now())
            if due_at >= transaction.next_cron_time:
                return True
            was, became = (
                f"{time:due %Y-%m-%d %H:%M:%S} UTC" for time in (transaction.next_cron_time, due_at)
            )
            record = Record("retry", gid, reason, was, became)
            due = Change(
                gid,
                frozenset({transaction.status}),
                transaction.owner,
                assign=Assign(next_cron_time=due_at),
                own_rows=self._recorder.rows(by, record),
            )
            if not await self._change(due):
                return None
            self._recorder.done(by, record)
            return True

        if await self._lookup.settled(gid, write):
            self._wake()

    async def reset_cron_time(
        self, *, timeout: float | None, limit: int, by: Actor = NOBODY, reason: str = ""
    ) -> tuple[int, bool]:
        """Make due now what is due later than `timeout` seconds from now (None: 3 x TimeoutToFail).

        Returns how many were changed, at most `limit`, and whether more remain.
        """
        now = self._engine.tools.clock.now()
        seconds = self._reset_seconds if timeout is None else timeout

        def record(count: int) -> Record:
            target = f"due later than {seconds:g} s from now, at most {limit}"
            return Record("retry many", target, reason, became=f"{count} due now")

        reset = await self._engine.tools.store.reset_cron_time(
            now=now,
            later_than=now + timedelta(seconds=seconds),
            limit=limit,
            own_rows=lambda count: self._recorder.rows(by, record(count)),
        )
        self._recorder.done(by, record(reset[0]))
        self._wake()
        return reset

    async def _change(self, change: Change) -> bool:
        changed = await self._engine.tools.store.change(change, timeout=self._write_seconds)
        return changed is Changed.APPLIED


def _no_longer_stuck(transaction: Transaction) -> tuple[OwnRowGone, ...]:
    return (not_stuck(transaction.gid),) if notes_of(transaction.ext_data).since else ()
