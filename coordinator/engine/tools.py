"""What every driver is handed: store, calls, time, chance, patterns, and those who are told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from time import perf_counter
from typing import Protocol

from coordinator.backoff import Timing, is_marked
from coordinator.calls.base import Caller
from coordinator.clock import Clock
from coordinator.engine.admission import Admission
from coordinator.engine.alarm import Alarm
from coordinator.engine.alerts import Alerts, LoggedAlerts
from coordinator.engine.attempts import Keeping, NotKept
from coordinator.engine.lull import Lull
from coordinator.engine.shelf import Kind, Shelf, rounded_size
from coordinator.explain.play import Held
from coordinator.model import Branch, Status, Transaction
from coordinator.patterns.by_type import Pattern
from coordinator.patterns.decision import Round, Run
from coordinator.store.base import Due, Store, Stored, payload_bytes
from coordinator.store.wall_clock import rounded_up
from coordinator.telemetry.log import log
from coordinator.watching.tracing import OFF, Tracing


class Observer(Protocol):
    """Who counts. Called on the hot path: cheap, and never raises."""

    def transaction_ended(self, trans_type: str, status: Status, seconds: float) -> None:
        """A transaction reached a final status, `seconds` after it was created."""
        ...

    def branch_called(self, trans_type: str, branch_id: str, op: str, ok: bool) -> None:
        """A branch call ended; ok: with success."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What every driver is handed."""

    store: Store
    caller: Caller
    clock: Clock
    random: Random
    timing: Timing
    patterns: Mapping[str, Pattern]  # by trans_type
    observer: Observer
    admission: Admission
    alerts: Alerts = field(default_factory=LoggedAlerts)
    tracing: Tracing = OFF
    keeping: Keeping = field(default_factory=NotKept)
    alarm: Alarm = field(default_factory=Alarm)  # of what is stored here to be due soon
    shelf: Shelf = field(default_factory=Shelf)
    lull: Lull = field(default_factory=lambda: Lull(perf_counter))
    no_results: str = ""  # why steps cannot keep their results; empty where they can

    def next_branches(self, stored: Stored) -> Sequence[Branch]:
        """Whom a new round would call first; nobody, where it would do something else.

        Raises ValueError for rows that no client can have made.
        """
        pattern = self.patterns.get(stored.transaction.trans_type)
        if pattern is None:
            raise ValueError(f"its trans_type is {stored.transaction.trans_type!r}")
        round = Round(timeout_to_fail=self.timing.timeout_to_fail)
        match pattern.decide(stored.transaction, stored.branches, round, self.clock.now()):
            case Run(branches):
                return branches
            case _:
                return ()

    def next_endpoints(self, stored: Stored) -> Sequence[str]:
        """The endpoints of those calls, each once. Raises ValueError likewise."""
        branches = self.next_branches(stored)
        return [*dict.fromkeys([self.caller.endpoint(stored.transaction, branch) for branch in branches])]

    def one_with_room(self, endpoints: Sequence[str]) -> str:
        """The first of these that has room, else the first; empty without any."""
        first = endpoints[0] if endpoints else ""
        return next((one for one in endpoints if self.admission.is_for_new(one)), first)

    def crowded_endpoint(self, stored: Stored) -> str:
        """The endpoint of its next call where that finds no place; empty where it may start.

        Raises ValueError as next_branches does.
        """
        if self.admission.is_calm and self.shelf.nobody_waits:
            return ""
        endpoint = self.one_with_room(self.next_endpoints(stored))
        return "" if self.is_for_new(endpoint) else endpoint

    def is_for_new(self, endpoint: str) -> bool:
        """Whether a new call finds a place there: one is free, and thousands do not wait for it already."""
        return self.admission.is_for_new(endpoint) and self.shelf.patience(endpoint) == 1

    def let_go(self, transaction: Transaction, endpoint: str, *, is_remembered: bool = False) -> Transaction:
        """The transaction as it is written where the endpoint has no place: due later, driven by nobody.

        is_remembered: `let_out` will be told, so that it need not wait for its time.
        """
        times = self.shelf.patience(endpoint) if is_remembered else 1
        seconds = self.admission.defer(endpoint, times=times)
        until = self.timing.deferred_until(transaction, seconds, self.clock.now())
        return replace(transaction, owner="", next_cron_time=until)

    def held(self, transaction: Transaction) -> Held:
        """Until when the endpoint of a branch of this transaction is held, as far as it is."""

        def until(branch: Branch) -> datetime | None:
            hold = self.admission.held(self.caller.endpoint(transaction, branch))
            return None if hold is None else hold.until

        return until

    def kind(self, transaction: Transaction, size: int, endpoint: str) -> Kind:
        """What must be remembered of a row to claim it later. size: bytes. endpoint: of its next call."""
        fails_at = self.timing.fails_at(transaction, self.clock.now())
        lease = self.timing.lease(transaction.options)
        return Kind(transaction.status, endpoint, rounded_size(size), lease, fails_at)

    def expect(self, transaction: Transaction) -> None:
        """What was just stored, owned by nobody, is to be taken up when it is due."""
        self.alarm.note(transaction.next_cron_time, self.clock.now())

    def let_out(self, stored: Stored, *, wants_place: bool) -> None:
        """What was just stored to be driven later, so that its row need not be read when it is due.

        wants_place: it goes when there is a place; else at its time, and it is kept only beside a crowd.
        """
        self.expect(stored.transaction)
        if self.shelf.nobody_waits and not wants_place:
            return
        try:
            endpoints = self.next_endpoints(stored)
        except ValueError:  # recovery will say so
            return
        if len(endpoints) != 1 or not (wants_place or self.shelf.count(endpoints[0])):
            return
        transaction = stored.transaction
        if transaction.options.timeout_to_fail > 0:  # which is counted from the time that is stored
            transaction = replace(transaction, create_time=transaction.create_time.replace(microsecond=0))
        kind = self.kind(transaction, payload_bytes(stored.branches), endpoints[0])
        if kind.fails_at is None and transaction.options.timeout_to_fail > 0:
            return  # that is past already: its next call is another one
        due_at = rounded_up(transaction.next_cron_time)
        keep = self.shelf.put if wants_place else self.shelf.rest
        keep(Due(transaction.id, transaction.gid, transaction.status, "", due_at), kind)

    def ended(self, transaction: Transaction, status: Status) -> None:
        """Tell those who count and those who watch that the transaction reached this final status."""
        seconds = (self.clock.now() - transaction.create_time).total_seconds()
        self.observer.transaction_ended(transaction.trans_type, status, seconds)
        # What went well is for debugging; of what did not, there is a line whoever ended it.
        write = log.debug if status is Status.SUCCEED else log.info
        write("{} {} after {:.3f} s", transaction.trans_type, status, seconds, gid=transaction.gid)
        self.alerts.ended(transaction.gid, status, was_reported=is_marked(transaction.ext_data))
