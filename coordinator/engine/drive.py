"""One driver's turn on one transaction: ask the pattern, call, record, until it ends or waits.

Every write is fenced by the owner token: a driver that finds the row not its own stops without another call.
"""

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from coordinator.attempt import has_notes
from coordinator.backoff import failed_rounds, noted, pause_after
from coordinator.calls.answers import named_failure
from coordinator.calls.base import Answer
from coordinator.deadlines import LATE_SECONDS
from coordinator.engine.attempts import FailedCall, RoundNotes
from coordinator.engine.lease import Ended, Fenced, Lease
from coordinator.engine.round_calls import QUEUE_SECONDS, Calls, LetIn
from coordinator.engine.step_results import step_results
from coordinator.engine.told import about, alert_of, branch_answer, log_no_result, rollback_reason
from coordinator.engine.tools import Tools
from coordinator.errors import StoreUnavailable
from coordinator.model import Branch, BranchKey, BranchStatus, Result, Status
from coordinator.patterns.decision import Abort, Await, Decision, Finish, Round, Run, Submit, Wait
from coordinator.store.base import Assign, Change, Changed, Stored
from coordinator.store.fence import assigned
from coordinator.telemetry.log import log

_NOTHING = Assign()  # a write of results alone
HeldUp = Collection[BranchKey] | None
_WRITE_SECONDS_MIN = 1.0  # a result is worth one quick try even when the lease is nearly over


class Drive:
    """Drives one transaction for one round. Made, run once, thrown away."""

    def __init__(self, tools: Tools, stored: Stored, lease: Lease) -> None:
        self._tools = tools
        self._transaction = stored.transaction
        self._branches = list(stored.branches)
        self._position = {branch.key: index for index, branch in enumerate(self._branches)}
        self._lease = lease
        self._pattern = tools.patterns[stored.transaction.trans_type]
        self._round = Round(timeout_to_fail=tools.timing.timeout_to_fail)
        call_seconds = tools.timing.call_timeout(stored.transaction.options)
        self._longest_call = call_seconds + LATE_SECONDS
        self._results = step_results(tools.caller, tools.store, tools.clock, stored)
        self._calls = Calls(self._results.caller, tools.admission, call_seconds)
        self._unwritten: list[tuple[BranchKey, BranchStatus]] = []
        self._unhappy: tuple[Branch, Answer] | None = None  # the last that was no success
        self._refused: tuple[Branch, Answer] | None = None  # the first action that said FAILURE
        self._failing: tuple[Branch, Answer] | None = None  # the last that gave no result, ONGOING aside
        self._notes: RoundNotes | None = None  # of what went wrong, once something did
        self._succeeded = False
        self._deferred = False

    async def run(self) -> Ended:
        """Drive until the transaction ends, must wait, or turns out to be somebody else's.

        Raises StoreUnavailable when a result could not be written: the lease runs out and recovery goes on.
        """
        tools = self._tools
        try:
            while not self._transaction.status.is_final:
                match self._decide():
                    case Run() as run:
                        if not await self._run(run):
                            break
                    case Await():
                        await self._await_one()
                    case Abort(reason):
                        await self._abort(reason)
                    case Submit():
                        await self._write(Assign(status=Status.SUBMITTED))
                    case Finish(status):
                        await self._write(Assign(status=status, owner=""))
                        tools.ended(self._transaction, status)
                    case Wait() as wait:
                        await self._release(wait)
                        break
        except Fenced:
            # The rule for a workflow: its client, called back, has ended it.
            log.debug("somebody else moved the row; this driver stops", gid=self._transaction.gid)
            return self._ended(fenced=True)
        finally:
            await self._calls.drop()
        if not self._transaction.status.is_final:
            tools.let_out(Stored(self._transaction, tuple(self._branches)), wants_place=self._deferred)
        return self._ended(deferred=self._deferred)

    def _ended(self, *, fenced: bool = False, deferred: bool = False) -> Ended:
        status, unhappy = self._transaction.status, self._unhappy
        cause = self._refused if status in (Status.ABORTING, Status.FAILED) else unhappy
        answer = unhappy[1] if unhappy else None
        return Ended(self._transaction, answer, branch_answer(*cause) if cause else None, fenced, deferred)

    def _decide(self) -> Decision:
        now = self._tools.clock.now()
        return self._pattern.decide(self._transaction, self._branches, self._round, now)

    async def _abort(self, reason: str) -> None:
        was_prepared = self._transaction.status is Status.PREPARED
        await self._write(Assign(status=Status.ABORTING, rollback_reason=reason))
        log.info("rolling back: {}", reason, **about(self._transaction))
        if was_prepared:  # its client may have registered branches until that very commit
            await self._read_branches()

    async def _read_branches(self) -> None:
        try:
            async with asyncio.timeout(self._seconds_to_write):
                stored = await self._tools.store.find(self._transaction.gid)
        except TimeoutError as error:
            raise StoreUnavailable("the store did not answer in time") from error
        if stored is None:
            raise Fenced
        self._branches = list(stored.branches)
        self._position = {branch.key: index for index, branch in enumerate(self._branches)}

    async def _run(self, run: Run) -> bool:
        """Make these calls, or those that have a place; False when the row was let go for want of any."""
        if run.delay and not await self._pause(run.delay):
            return True  # a call that was in flight has ended: the pattern may think otherwise now
        if self._results.must_read(run.branches):
            await self._results.read(self._seconds_to_write)
        await self._hold_lease(QUEUE_SECONDS + self._longest_call)
        let_in = await self._let_in(run.branches)
        if not let_in:
            if self._calls:
                await self._await_one()  # the pattern will name the others again
                return True
            await self._defer(run.branches[0])
            return False
        let_in = await self._write_before(let_in)
        if not let_in:
            return True  # the pattern will name them again
        transaction, round = self._transaction, self._round
        alone = len(run.branches) == 1 and not round.in_flight and not round.unrecorded
        for one in let_in:
            if round.unrecorded.pop(one.branch.key, None) is not None:
                round.repeats += 1
        if alone:  # the common case needs no task
            began = self._tools.clock.monotonic()
            self._settle(let_in[0].branch, await self._calls.make(transaction, let_in[0]), began)
            return True
        for one in let_in:
            round.in_flight.add(one.branch.key)
            self._calls.start(transaction, one, self._tools.clock.monotonic())
        return True

    async def _let_in(self, branches: Sequence[Branch]) -> Sequence[LetIn]:
        """Take places for those that may be called now; wait a little where nothing else goes on."""
        let_in = self._calls.let_in(self._transaction, branches)
        if let_in or self._calls:
            return let_in
        one = await self._calls.queue(self._transaction, branches[0])
        return (one,) if one else ()

    async def _defer(self, branch: Branch) -> None:
        """Let go for want of a place. It counts nowhere; what others of this round did counts as ever."""
        tools, transaction, now = self._tools, self._transaction, self._tools.clock.now()
        if self._round.unrecorded:
            return await self._release(Wait(not_after=tools.timing.fails_at(transaction, now)))
        self._deferred = True
        seconds = tools.admission.defer(tools.caller.endpoint(transaction, branch))
        return await self._let_go(tools.timing.deferred_until(transaction, seconds, now))

    async def _let_go(self, until: datetime) -> None:
        """The round did not fail: only what succeeded in it counts, as it does at the end of every round."""
        interval, ext_data, held_up = None, None, None
        if self._succeeded:
            held_up = ()
            interval = self._tools.timing.first_interval(self._transaction.options)
            ext_data = noted(self._transaction.ext_data, failed=0, alerted=False)
        await self._write_unowned(interval, until, ext_data, held_up)

    async def _write_unowned(
        self, interval: int | None, due: datetime, ext_data: str | None, held_up: HeldUp
    ) -> None:
        changed = None if ext_data == self._transaction.ext_data else ext_data
        assign = Assign(owner="", next_cron_interval=interval, next_cron_time=due, ext_data=changed)
        await self._write(assign, held_up)

    async def _write_before(self, let_in: Sequence[LetIn]) -> Sequence[LetIn]:
        """Promise 2: a result is durable before the next step that depends on it starts.

        Returns those whose endpoint was not held meanwhile.
        """
        if not self._unwritten:
            return let_in
        try:
            await self._write(_NOTHING)
            await self._hold_lease(self._longest_call)  # the store may have taken its time
        except BaseException:
            self._calls.give_back(let_in)
            raise
        return self._calls.without_held(let_in)

    async def _pause(self, seconds: float) -> bool:
        """Wait so long before calls that are made again; False when one in flight ended meanwhile."""
        if not self._calls:
            await asyncio.sleep(seconds)
            return True
        return not self._settle_all(await self._calls.ended(within=seconds))

    async def _await_one(self) -> None:
        if self._unwritten:
            await self._write(_NOTHING)
        self._settle_all(await self._calls.ended())

    def _settle_all(self, ended: Sequence[tuple[Branch, float, Answer]]) -> int:
        for branch, began, answer in ended:
            self._round.in_flight.discard(branch.key)
            self._settle(branch, answer, began)
        return len(ended)

    def _settle(self, branch: Branch, answer: Answer, began: float) -> None:
        transaction = self._transaction
        answer = self._results.settled(branch, named_failure(answer, transaction.options.failure_statuses))
        result = answer.result
        ok = result is Result.SUCCESS
        self._tools.observer.branch_called(transaction.trans_type, branch.branch_id, branch.op, ok)
        status = self._pattern.recorded(branch, result)
        if status is not None:
            self._branches[self._position[branch.key]] = branch.with_status(status)
            self._unwritten.append((branch.key, status))
        else:
            self._round.unrecorded[branch.key] = result
        if ok:
            self._succeeded = True
            return
        self._unhappy = (branch, answer)
        self._note(branch, answer, began, again=status is None)
        if status is None:
            if result is not Result.ONGOING:
                self._failing = (branch, answer)
            log_no_result(transaction, branch, answer)
        elif not self._round.failure_reason:
            self._refused = (branch, answer)
            self._round.failure_reason = rollback_reason(branch.url, answer.text)

    def _note(self, branch: Branch, answer: Answer, began: float, *, again: bool) -> None:
        tools, transaction = self._tools, self._transaction
        endpoint, seconds = tools.caller.endpoint(transaction, branch), tools.clock.monotonic() - began
        call = FailedCall(branch, answer, endpoint, tools.clock.now(), seconds)
        self._notes = self._notes or tools.keeping.notes()
        self._notes.failed(transaction, call, again=again)

    async def _hold_lease(self, longest: float) -> None:
        """Renew unless the lease lasts for so many seconds: what comes before the call, and its time-out."""
        clock, timing = self._tools.clock, self._tools.timing
        while self._lease.expires_at - (asked_at := clock.monotonic()) <= longest:
            until = timing.lease_end(self._transaction.options, clock.now())
            await self._write(Assign(next_cron_time=until))
            self._lease.expires_at = asked_at + timing.lease(self._transaction.options)

    async def _release(self, wait: Wait) -> None:
        tools, transaction = self._tools, self._transaction
        if wait.until is not None:
            await self._let_go(wait.until)
            return
        unknown = self._failing is not None and wait.doubles
        pause = pause_after(
            tools.timing,
            transaction,
            failed_before=failed_rounds(transaction.ext_data),
            succeeded=self._succeeded,
            unknown=unknown,
            doubles=wait.doubles,
        )
        # Jitter: not all of an outage's victims at once.
        due = tools.clock.now() + timedelta(seconds=pause.interval * (1 + tools.random.random() / 10))
        if wait.not_after is not None:
            due = min(due, wait.not_after)
        alert = None
        if unknown and self._failing is not None and tools.timing.is_alarming(pause.failed_rounds):
            alert = alert_of(transaction, *self._failing, pause.failed_rounds)
        ext_data = noted(transaction.ext_data, failed=pause.failed_rounds, alerted=alert is not None)
        await self._write_unowned(pause.interval, due, ext_data, self._round.unrecorded)
        if alert is not None:
            tools.alerts.failing(alert)

    async def _write(self, assign: Assign, held_up: HeldUp = None) -> None:
        """held_up: see RoundNotes.taken."""
        results, self._unwritten = tuple(self._unwritten), []
        transaction = self._transaction
        expected = frozenset({transaction.status})
        change = Change(transaction.gid, expected, self._lease.owner, results, assign, by_driver=True)
        change = self._results.taken(change)
        if self._notes is not None or has_notes(transaction.ext_data):
            notes = self._notes or self._tools.keeping.notes()
            change = notes.taken(transaction, change, held_up)
            assign = change.assign
        changed = await self._tools.store.change(change, timeout=self._seconds_to_write)
        if changed is not Changed.APPLIED:
            raise Fenced
        if assign is not _NOTHING:
            self._transaction = assigned(transaction, assign)

    @property
    def _seconds_to_write(self) -> float:
        return max(self._lease.expires_at - self._tools.clock.monotonic(), _WRITE_SECONDS_MIN)
