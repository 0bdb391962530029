"""The hot path of the SQL store: insertions, changes and moves, through group commit."""

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any, Final

from coordinator.clock import Clock
from coordinator.errors import Conflict, DtmError, Invalid
from coordinator.model import Branch, Status, Transaction
from coordinator.store.at_once import without_a_look
from coordinator.store.base import Change, Changed, Move, Moved, Stored
from coordinator.store.batch import Outcome, Work, plain, size_of, write_batch
from coordinator.store.commits import Observer, TryAgain, failure_of
from coordinator.store.database import Database
from coordinator.store.faults import STORE_ERRORS, Fault, Refused, fault_of
from coordinator.store.fitting import attempts, is_unfit, named, without_unfit_trace
from coordinator.store.group_commit import GroupCommit
from coordinator.store.limits import NUL, check_no_nul, without_nul
from coordinator.store.own_rows import written_with_text_times
from coordinator.store.recall import Recall
from coordinator.store.rows import insertion_of, takeover_of, update_of
from coordinator.store.runner import Runner
from coordinator.store.statements import Cursor
from coordinator.store.waiting import Limits, Trouble
from coordinator.store.wall_clock import WallClock
from coordinator.telemetry.log import log

_BATCH_SECONDS_MAX: Final = 10.0  # after this a database counts as frozen and its connection is thrown away
_PLAIN_SECONDS: Final = 10.0
_LATE: Final = timedelta(seconds=_BATCH_SECONDS_MAX + 1)


class Writes:
    """Made inside a running loop; its owner closes the runner."""

    def __init__(
        self,
        runner: Runner,
        database: Database,
        *,
        clock: Clock,
        wall_clock: WallClock,
        limits: Limits,
        observer: Observer,
    ) -> None:
        self._runner = runner
        self._database = database
        self._clock = clock
        self._wall_clock = wall_clock
        self._own_clock = WallClock(UTC, offsets=wall_clock.offsets)
        self._recall = Recall() if database.at_once is not None and database.at_once.counts else None
        self._plain_until = 0.0  # monotonic
        self._group_commit: GroupCommit[Work, Outcome] = GroupCommit(
            self._write_batch, limits=limits, observer=observer
        )
        self.seconds_to_wait = self._group_commit.seconds_to_wait

    @property
    def trouble(self) -> Trouble:
        """Why writes have been failing."""
        return self._group_commit.trouble

    @property
    def waiting(self) -> int:
        """How many writes wait for a commit."""
        return self._group_commit.waiting

    async def insert(self, transaction: Transaction, branches: Sequence[Branch], *, timeout: float) -> bool:
        """See coordinator.store.base.Store."""
        if not self._database.nul_in_text:
            check_no_nul(transaction, branches)
        columns = self._database.columns
        transaction = without_unfit_trace(transaction, columns)
        insertion = insertion_of(transaction, branches, self._wall_clock)
        gid = transaction.gid
        try:
            finds_no_place = transaction.status is Status.SUBMITTED and not transaction.owner
            outcome = await self._submit(insertion, gid, timeout, at_leisure=finds_no_place)
        except Invalid as error:
            raise named(error, transaction, branches, columns) from error
        if outcome is not Changed.APPLIED:
            return False
        if self._recall is not None:
            self._recall.inserted(Stored(transaction, tuple(branches)))
        return True

    async def change(self, change: Change, *, timeout: float) -> Changed:
        """See coordinator.store.base.Store."""
        if not self._database.nul_in_text:
            if NUL in change.gid:
                return Changed.MISSING
            change = without_nul(change)
        if change.own_rows:
            change = replace(change, own_rows=written_with_text_times(change.own_rows, self._own_clock))
        columns = self._database.columns
        refused: DtmError | None = None
        for attempt in attempts(change, columns):
            if refused is not None:
                log.warning("{}; stored with plainer words: {}", refused, change.assign, gid=change.gid)
            work = update_of(attempt, self._wall_clock)
            try:
                outcome = await self._submit(work, change.gid, timeout, at_leisure=_lets_go(change))
                assert isinstance(outcome, Changed), "a change's outcome"
                if self._recall is not None and outcome is Changed.APPLIED:
                    self._recall.changed(attempt)
                return outcome
            except Invalid as error:
                if is_unfit(change.gid, columns):
                    return Changed.MISSING
                refused = named(error, attempt.assign, change.added, columns)
            except (Refused, Conflict) as error:
                if not (change.by_driver and attempt.own_rows):
                    raise
                refused = error  # a table of our own takes nothing: nobody's work waits for that
        assert refused is not None, "there is one attempt at least"
        raise refused

    async def move(self, move: Move, *, timeout: float) -> Moved:
        """See coordinator.store.base.Store."""
        if not self._database.nul_in_text and NUL in move.gid:
            return Moved(Changed.MISSING, None)
        recalled = self._recall.take(move.gid) if self._recall is not None else None
        work = takeover_of(move, recalled, self._wall_clock)
        outcome = await self._submit(work, move.gid, timeout)
        if isinstance(outcome, DtmError):
            raise outcome
        assert isinstance(outcome, Moved), "a move's outcome"
        return outcome

    def _submit(
        self, work: Work, gid: str, timeout: float, *, at_leisure: bool = False
    ) -> Awaitable[Outcome]:
        return self._group_commit.submit(
            work, key=gid.casefold(), size=size_of(work), timeout=timeout, at_leisure=at_leisure
        )

    async def _write_batch(self, works: Sequence[Work], closely: bool) -> Sequence[Outcome | None]:
        """Drivers leave their own rows out where somebody holds these: nobody waits for what is only told."""
        if self._clock.monotonic() < self._plain_until:
            works = plain(works)
        try:
            return await self._write(works, closely)
        except TryAgain as error:
            if not error.one_by_one or (without := plain(works)) == works:
                raise
            self._plain_until = self._clock.monotonic() + _PLAIN_SECONDS
            log.warning(
                "somebody holds rows of this batch ({}): for {:.0f} s what goes wrong is not kept",
                *(error.reason, _PLAIN_SECONDS),
            )
            return await self._write(without, closely)

    async def _write(self, works: Sequence[Work], closely: bool) -> Sequence[Outcome | None]:
        now = self._wall_clock.text(self._clock.now())
        if not closely and (outcomes := await self._written_at_once(works, now)):
            return outcomes
        statements = self._database.statements
        began = False

        def write(cursor: Cursor) -> Sequence[Outcome | None]:
            nonlocal began
            began = True
            return write_batch(cursor, statements, works, now, wait=closely)

        try:
            return await self._runner.write(write, seconds=_BATCH_SECONDS_MAX)
        except STORE_ERRORS as error:
            raise failure_of(error, began=began) from error

    async def _written_at_once(self, works: Sequence[Work], now: str) -> Sequence[Outcome]:
        """Write the batch if all of it is as expected; otherwise return nothing."""
        at_once = self._database.at_once
        if at_once is None or (expected := without_a_look(works)) is None:
            return ()
        began = False

        def send(connection: Any) -> Awaitable[bool]:
            nonlocal began
            began = True
            return at_once.sent(connection, built)

        try:
            latest = self._clock.now() + _LATE
            if (built := at_once.built(expected.fences, expected.gathered, now, latest)) is None:
                return ()
            written = await self._runner.write_at_once(send, seconds=_BATCH_SECONDS_MAX)
            return expected.outcomes if written else ()
        except STORE_ERRORS as error:
            if fault_of(error) is Fault.REFUSED:
                return ()  # who looks finds whose value it is
            raise failure_of(error, began=began) from error

    async def close(self, *, seconds: float) -> None:
        """Write what was taken for at most so long, and take nothing more."""
        await self._group_commit.close(seconds=seconds)


def _lets_go(change: Change) -> bool:
    """Whether a driver gives back a transaction that has to wait, and has nothing else to say."""
    lets_go = change.assign.owner == "" and change.assign.status is None
    return lets_go and change.by_driver and not change.results
