"""The hot path of the SQL store: insertions, changes and moves, through group commit."""

from collections.abc import Sequence
from typing import Final

from coordinator.clock import Clock
from coordinator.errors import DtmError, Invalid
from coordinator.model import Branch, Transaction
from coordinator.store.base import Change, Changed, Move, Moved
from coordinator.store.batch import Outcome, Work, size_of, write_batch
from coordinator.store.commits import Observer, failure_of
from coordinator.store.database import Database
from coordinator.store.faults import STORE_ERRORS
from coordinator.store.fitting import attempts, is_unfit, named, without_unfit_trace
from coordinator.store.group_commit import GroupCommit
from coordinator.store.limits import NUL, check_no_nul, without_nul
from coordinator.store.rows import insertion_of, takeover_of, update_of
from coordinator.store.runner import Runner
from coordinator.store.statements import Cursor
from coordinator.store.waiting import Limits, Trouble
from coordinator.store.wall_clock import WallClock
from coordinator.telemetry.log import log

_BATCH_SECONDS_MAX: Final = 10.0  # after this a database counts as frozen and its connection is thrown away


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
        self._group_commit: GroupCommit[Work, Outcome] = GroupCommit(
            self._write_batch, limits=limits, observer=observer
        )

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
        insertion = insertion_of(without_unfit_trace(transaction, columns), branches, self._wall_clock)
        gid = transaction.gid
        try:
            outcome = await self._group_commit.submit(
                insertion, key=gid.casefold(), size=size_of(insertion), timeout=timeout
            )
        except Invalid as error:
            raise named(error, transaction, branches, columns) from error
        return outcome is Changed.APPLIED

    async def change(self, change: Change, *, timeout: float) -> Changed:
        """See coordinator.store.base.Store."""
        if not self._database.nul_in_text:
            if NUL in change.gid:
                return Changed.MISSING
            change = without_nul(change)
        columns, refused = self._database.columns, None
        for attempt in attempts(change, columns):
            if refused is not None:
                log.warning("{}; stored with plainer words: {}", refused, change.assign, gid=change.gid)
            work = update_of(attempt, self._wall_clock)
            try:
                outcome = await self._group_commit.submit(
                    work, key=change.gid.casefold(), size=size_of(work), timeout=timeout
                )
                assert isinstance(outcome, Changed), "a change's outcome"
                return outcome
            except Invalid as error:
                if is_unfit(change.gid, columns):
                    return Changed.MISSING
                refused = named(error, attempt.assign, change.added, columns)
        assert refused is not None, "there is one attempt at least"
        raise refused

    async def move(self, move: Move, *, timeout: float) -> Moved:
        """See coordinator.store.base.Store."""
        if not self._database.nul_in_text and NUL in move.gid:
            return Moved(Changed.MISSING, None)
        work = takeover_of(move, self._wall_clock)
        outcome = await self._group_commit.submit(
            work, key=move.gid.casefold(), size=size_of(work), timeout=timeout
        )
        if isinstance(outcome, DtmError):
            raise outcome
        assert isinstance(outcome, Moved), "a move's outcome"
        return outcome

    async def _write_batch(self, works: Sequence[Work], closely: bool) -> Sequence[Outcome | None]:
        now = self._wall_clock.text(self._clock.now())
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

    async def close(self, *, seconds: float) -> None:
        """Write what was taken for at most so long, and take nothing more."""
        await self._group_commit.close(seconds=seconds)
