"""One driver's turn on one transaction: ask the pattern, call, record, until it ends or waits.

Every write is fenced by the owner token: a driver that finds the row not its own stops without another call.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta

from coordinator.backoff import after_round
from coordinator.calls.base import Answer
from coordinator.engine.alerts import Alert, is_marked, marked
from coordinator.engine.tools import Tools
from coordinator.errors import StoreUnavailable, ending_with
from coordinator.model import Branch, BranchKey, BranchStatus, Result, Status, Transaction, TransType
from coordinator.patterns.decision import Abort, Await, Decision, Finish, Round, Run, Submit, Wait
from coordinator.store.base import Assign, Change, Changed, Stored
from coordinator.telemetry.log import log
from coordinator.telemetry.trace_context import trace_field

REASON_LENGTH_MAX = 1024  # characters, column rollback_reason
_WRITE_SECONDS_MIN = 1.0  # a result is worth one quick try even when the lease is nearly over


@dataclass(slots=True)
class Lease:
    """The right to drive one transaction."""

    owner: str  # fence token
    expires_at: float  # on the monotonic clock, seconds


@dataclass(frozen=True, slots=True)
class Ended:
    """How a round ended: the transaction as it stands, and the last answer that was not success."""

    transaction: Transaction
    unhappy: Answer | None = None
    fenced: bool = False  # somebody else moved the row; `transaction` is what this driver last knew


class Fenced(Exception):
    """The row is not this driver's any more."""


def rollback_reason(url: str, text: str) -> str:
    """`url:<url> return failed: <text> FAILURE`, the middle cut so that it fits the column (PROTOCOL §6)."""
    reason = ending_with(f"url:{url} return failed: {text}", "FAILURE")
    if len(reason) <= REASON_LENGTH_MAX:
        return reason
    half = (REASON_LENGTH_MAX - 1) // 2
    return f"{reason[:half]}…{reason[half - REASON_LENGTH_MAX + 1 :]}"


class Drive:
    """Drives one transaction for one round. Made, run once, thrown away."""

    def __init__(self, tools: Tools, stored: Stored, lease: Lease, *, patient: bool) -> None:
        """patient: calls may queue for a busy endpoint; recovery's do not (DESIGN, promise 5)."""
        self._tools = tools
        self._transaction = stored.transaction
        self._branches = list(stored.branches)
        self._position = {branch.key: index for index, branch in enumerate(self._branches)}
        self._lease = lease
        self._patient = patient
        self._pattern = tools.patterns[stored.transaction.trans_type]
        self._round = Round(timeout_to_fail=tools.timing.timeout_to_fail)
        self._calls: dict[asyncio.Task[Answer], Branch] = {}
        self._unwritten: list[tuple[BranchKey, BranchStatus]] = []
        self._unhappy: Answer | None = None
        self._failing: tuple[Branch, Answer] | None = None  # the last that gave no result, ONGOING aside
        self._succeeded = False

    async def run(self) -> Ended:
        """Drive until the transaction ends, must wait, or turns out to be somebody else's.

        Raises StoreUnavailable when a result could not be written: the lease runs out and recovery goes on.
        """
        tools = self._tools
        try:
            while not self._transaction.status.is_final:
                match self._decide():
                    case Run() as run:
                        await self._run(run)
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
            return Ended(self._transaction, self._unhappy, fenced=True)
        finally:
            await self._drop_calls()
        return Ended(self._transaction, self._unhappy)

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

    async def _run(self, run: Run) -> None:
        # Promise 2: a result is durable before the next step that depends on it starts.
        if self._unwritten:
            await self._write(_NOTHING)
        await self._hold_lease(run.delay)
        round = self._round
        alone = len(run.branches) == 1 and not round.in_flight and not round.unrecorded
        for branch in run.branches:
            if round.unrecorded.pop(branch.key, None) is not None:
                round.repeats += 1
        if alone:  # the common case needs no task
            self._settle(run.branches[0], await self._call(run.branches[0], run.delay))
            return
        for branch in run.branches:
            round.in_flight.add(branch.key)
            self._calls[asyncio.create_task(self._call(branch, run.delay))] = branch

    async def _call(self, branch: Branch, delay: float) -> Answer:
        if delay:
            await asyncio.sleep(delay)
        timeout = self._call_timeout
        patience = 0.0
        if self._patient:
            patience = max(
                0.0, min(timeout, self._lease.expires_at - self._tools.clock.monotonic() - timeout)
            )
        return await self._tools.caller.call(self._transaction, branch, timeout=timeout, patience=patience)

    async def _await_one(self) -> None:
        if self._unwritten:
            await self._write(_NOTHING)
        done, _ = await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)
        for task in [task for task in self._calls if task in done]:  # in the order in which they began
            branch = self._calls.pop(task)
            self._round.in_flight.discard(branch.key)
            self._settle(branch, task.result())

    def _settle(self, branch: Branch, answer: Answer) -> None:
        transaction, result = self._transaction, answer.result
        ok = result is Result.SUCCESS
        self._tools.observer.branch_called(transaction.trans_type, branch.branch_id, branch.op, ok)
        status = self._pattern.recorded(branch, result)
        if status is not None:
            self._branches[self._position[branch.key]] = replace(branch, status=status)
            self._unwritten.append((branch.key, status))
        else:
            self._round.unrecorded[branch.key] = result
        if ok:
            self._succeeded = True
            return
        self._unhappy = answer
        if status is None:
            if result is not Result.ONGOING:
                self._failing = (branch, answer)
            self._log_no_result(branch, answer)
        elif not self._round.failure_reason:
            self._round.failure_reason = rollback_reason(branch.url, answer.text)

    async def _hold_lease(self, delay: float) -> None:
        """Renew unless the lease outlasts the call that is about to start, its time-out included."""
        clock, timing = self._tools.clock, self._tools.timing
        while self._lease.expires_at - (asked_at := clock.monotonic()) <= delay + self._call_timeout:
            await self._write(Assign(next_cron_time=timing.lease_until(self._transaction, clock.now())))
            self._lease.expires_at = asked_at + timing.lease(self._transaction.options)

    async def _release(self, wait: Wait) -> None:
        tools, transaction = self._tools, self._transaction
        if wait.until is not None:
            await self._write(Assign(owner="", next_cron_time=wait.until))
            return
        interval = tools.timing.retry_interval
        if wait.doubles:
            interval = after_round(
                tools.timing,
                transaction,
                succeeded=self._succeeded,
                unknown=self._failing is not None,
            )
        # Jitter: not all of an outage's victims at once.
        due = tools.clock.now() + timedelta(seconds=interval * (1 + tools.random.random() / 10))
        if wait.not_after is not None:
            due = min(due, wait.not_after)
        alert = self._alert(interval) if wait.doubles else None  # else the interval counts no failed rounds
        ext_data = None if alert is None or is_marked(transaction.ext_data) else marked(transaction.ext_data)
        await self._write(
            Assign(owner="", next_cron_interval=interval, next_cron_time=due, ext_data=ext_data)
        )
        if alert is not None:
            tools.alerts.failing(alert)

    def _alert(self, interval: int) -> Alert | None:
        timing, transaction = self._tools.timing, self._transaction
        failures = timing.failures(interval, transaction.options)
        if self._failing is None or not timing.is_alarming(failures):
            return None
        branch, answer = self._failing
        return Alert(transaction.gid, transaction.status, branch.url, answer.text, failures)

    async def _write(self, assign: Assign) -> None:
        results, self._unwritten = tuple(self._unwritten), []
        transaction = self._transaction
        change = Change(transaction.gid, frozenset({transaction.status}), self._lease.owner, results, assign)
        changed = await self._tools.store.change(change, timeout=self._seconds_to_write)
        if changed is not Changed.APPLIED:
            raise Fenced
        self._transaction = assigned(transaction, assign)

    async def _drop_calls(self) -> None:
        for task in self._calls:
            task.cancel()
        if self._calls:
            await asyncio.wait(self._calls)
            self._calls.clear()

    @property
    def _seconds_to_write(self) -> float:
        return max(self._lease.expires_at - self._tools.clock.monotonic(), _WRITE_SECONDS_MIN)

    @property
    def _call_timeout(self) -> int:
        return self._tools.timing.call_timeout(self._transaction.options)

    def _log_no_result(self, branch: Branch, answer: Answer) -> None:
        if self._transaction.trans_type == TransType.WORKFLOW and answer.result is Result.FAILURE:
            return  # so a client that was called back says that it has rolled back: it has ended it
        log.with_fields(**about(self._transaction)).warning(
            "no result from {}: {} {}; it will be called again",
            branch.url,
            answer.result,
            answer.text[:500],
            branch=branch.branch_id,
            op=branch.op,
        )


def about(transaction: Transaction) -> dict[str, str]:
    """The fields of a log line about a transaction: its gid, and its trace where it has one."""
    return {"gid": transaction.gid, **trace_field(transaction.ext_data)}


def assigned(transaction: Transaction, assign: Assign) -> Transaction:
    """The transaction as it stands after the assignment was stored."""
    if assign is _NOTHING:
        return transaction
    values = {name: value for name in _ASSIGNABLE if (value := getattr(assign, name)) is not None}
    return replace(transaction, **values) if values else transaction


_ASSIGNABLE = tuple(Assign.__dataclass_fields__)
_NOTHING = Assign()  # a write of results alone
