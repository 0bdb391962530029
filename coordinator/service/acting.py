"""What an action of a person makes of one stored transaction: one fenced write, with the record of it."""

from collections.abc import Callable, Sequence
from typing import Final

from coordinator.access.audit import Actor, Record
from coordinator.access.recorder import Recorder
from coordinator.attempt import notes_of
from coordinator.engine.drives import Engine
from coordinator.errors import Invalid
from coordinator.explain.actions import Action, Planned, SkipReason
from coordinator.model import Transaction
from coordinator.owner import SEPARATOR
from coordinator.store.attempt_rows import not_stuck
from coordinator.store.base import Assign, Change, Changed
from coordinator.store.own_rows import OwnWrite

REASON_MAX: Final = 500  # characters of what somebody gives as a reason
_BY_HAND: Final = "by-hand."  # how the owner of a row begins that a person has changed; no driver's does


class Acting:
    """write_seconds: how long a caller waits for the store. wake: makes recovery look now."""

    def __init__(
        self, engine: Engine, recorder: Recorder, *, write_seconds: float, wake: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._recorder = recorder
        self._write_seconds = write_seconds
        self._wake = wake

    async def write(
        self,
        transaction: Transaction,
        planned: Planned,
        record: Record,
        by: Actor,
        reason: str = "",
        *,
        own_rows: Sequence[OwnWrite] = (),
    ) -> Changed:
        """Write what is planned, if the row is as it was read. own_rows: written in the same commit.

        Raises Conflict where one of these is stored already, StoreUnavailable.
        """
        tools = self._engine.tools
        is_end = planned.status is not None and planned.status.is_final
        owner = planned.owner
        if owner == "":  # so that of two people at once, one finds it changed
            owner = _BY_HAND + self._engine.new_owner().replace(SEPARATOR, ".")
        rows: tuple[OwnWrite, ...] = (*own_rows, *self._recorder.rows(by, record))
        if is_end and notes_of(transaction.ext_data).since:
            rows = (*rows, not_stuck(transaction.gid))
        words = planned.rollback_reason
        change = Change(
            transaction.gid,
            frozenset({transaction.status}),
            transaction.owner,
            planned.results,
            Assign(
                status=planned.status,
                owner=owner,
                next_cron_time=planned.next_cron_time,
                rollback_reason=f"{words}: {reason}" if words and reason else words,
            ),
            own_rows=rows,
        )
        ended = await tools.store.change(change, timeout=self._write_seconds)
        if ended is Changed.APPLIED:
            if planned.status is not None and is_end:
                tools.ended(transaction, planned.status)
            self._recorder.done(by, record)
            self._wake()
        return ended


def check_reason(reason: str) -> None:
    """Raise Invalid for one that is too long."""
    if len(reason) > REASON_MAX:
        raise Invalid(f"reason: is too long: {len(reason)} characters, at most {REASON_MAX}")


def record_of(
    transaction: Transaction,
    action: Action,
    planned: Planned,
    reason: str,
    skip_reason: SkipReason | None = None,
) -> Record:
    """What stands in the record of who did what."""
    was, became = str(transaction.status), str(planned.status or transaction.status)
    if action is Action.RETRY:
        times = (transaction.next_cron_time, planned.next_cron_time or transaction.next_cron_time)
        was, became = (f"{time:due %Y-%m-%d %H:%M:%S} UTC" for time in times)
    if action is Action.SKIP:
        skipped = ", ".join(f"{branch_id} {op}" for (branch_id, op), _ in planned.results)
        was, became = f"{skipped} not called", f"skipped: {skip_reason}"
    return Record(action.value, transaction.gid, reason, was, became)
