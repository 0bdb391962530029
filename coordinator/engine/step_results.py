"""What steps of one transaction answer that keep it: filled into later calls, written with their success."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from coordinator.attempt import Kind
from coordinator.calls.answers import unknown
from coordinator.calls.base import Answer, Caller
from coordinator.clock import Clock
from coordinator.errors import StoreUnavailable
from coordinator.model import Branch, Op, Place, Result, Transaction
from coordinator.results import MARKS, NoResult, filled, keeps, places_of, plain_url, problem_of, uses
from coordinator.store.base import Change, Store, Stored
from coordinator.store.result_table import result_row

_UNREADABLE = "the result cannot be read: it came compressed, which nobody asked for"


class StepResults(Protocol):
    """What a driver asks of them."""

    @property
    def caller(self) -> Caller:
        """Who calls branches, with what results fill in."""
        ...

    def must_read(self, branches: Sequence[Branch]) -> bool:
        """Whether these calls need what another driver had written: `read` it first."""
        ...

    async def read(self, seconds: float) -> None:
        """Have what was written, in so many seconds. Raises StoreUnavailable."""
        ...

    def settled(self, branch: Branch, answer: Answer) -> Answer:
        """The answer, its result kept; FAILURE where that cannot be, or lacks what later calls need."""
        ...

    def taken(self, change: Change) -> Change:
        """The change with the results that are not written yet."""
        ...


class Without:
    """A transaction none of whose steps keeps a result."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller

    def must_read(self, branches: Sequence[Branch]) -> bool:
        """See StepResults."""
        return False

    async def read(self, seconds: float) -> None:
        """See StepResults."""

    def settled(self, branch: Branch, answer: Answer) -> Answer:
        """See StepResults."""
        return answer

    def taken(self, change: Change) -> Change:
        """See StepResults."""
        return change


class Filling:
    """A Caller of one transaction, which fills payloads with what other steps have answered."""

    def __init__(self, inner: Caller, store: Store, clock: Clock, branches: Sequence[Branch]) -> None:
        self._inner = inner
        self._store = store
        self._clock = clock
        self._number = {name: at for at, name in enumerate(dict.fromkeys(it.branch_id for it in branches))}
        self._branches = branches
        self._needed: Sequence[Place] | None = None
        self._results: dict[int, bytes] = {}
        self._has_read = False
        self._unwritten: list[tuple[str, bytes, datetime]] = []

    # --- for the driver ---

    @property
    def caller(self) -> Caller:
        """See StepResults."""
        return self

    def must_read(self, branches: Sequence[Branch]) -> bool:
        """See StepResults. Once: what comes later comes from this driver."""
        return not self._has_read and any(uses(it.url) for it in branches)

    async def read(self, seconds: float) -> None:
        """See StepResults."""
        try:
            async with asyncio.timeout(seconds):
                stored = await self._store.kept_results(self._branches[0].gid)
        except TimeoutError as error:
            raise StoreUnavailable("the store did not answer in time") from error
        of_before = {self._number[name]: it for name, it in stored.items() if name in self._number}
        self._results = of_before | self._results
        self._has_read = True

    def settled(self, branch: Branch, answer: Answer) -> Answer:
        """See StepResults."""
        if answer.result is not Result.SUCCESS or not keeps(branch.url):
            return answer
        if answer.body is None:
            return Answer(Result.FAILURE, _UNREADABLE)
        step = self._number[branch.branch_id]
        if problem := problem_of(answer.body, step, self._places()):
            return Answer(Result.FAILURE, problem)
        self._results[step] = answer.body
        self._unwritten.append((branch.branch_id, answer.body, self._clock.now()))
        return answer

    def taken(self, change: Change) -> Change:
        """See StepResults."""
        if not self._unwritten:
            return change
        rows = [result_row(change.gid, *it) for it in self._unwritten]
        self._unwritten = []
        return replace(change, own_rows=(*change.own_rows, *rows))

    def _places(self) -> Sequence[Place]:
        if self._needed is None:
            users = [it for it in self._branches if uses(it.url) and it.op == Op.ACTION]
            self._needed = [place for it in users for place in places_of(it.payload)]
        return self._needed

    # --- as a Caller ---

    def endpoint(self, transaction: Transaction, branch: Branch) -> str:
        """See Caller."""
        return self._inner.endpoint(transaction, branch)

    async def call(self, transaction: Transaction, branch: Branch, *, timeout: float) -> Answer:
        """See Caller. What an action needs and nobody has is FAILURE: no repeat would bring it."""
        if uses(branch.url):
            is_undo = branch.op != Op.ACTION  # of a step that may not have been done
            try:
                payload = filled(branch.payload, self._results, missing_is_null=is_undo)
            except NoResult as error:
                return Answer(Result.FAILURE, str(error))
            except ValueError as error:
                return unknown(f"{plain_url(branch.url)} cannot be called: {error}", Kind.URL)
            branch = replace(branch, payload=payload)
        return await self._inner.call(transaction, branch, timeout=timeout)

    async def close(self) -> None:
        """See Caller; the inner one has an owner of its own."""


def step_results(caller: Caller, store: Store, clock: Clock, stored: Stored) -> StepResults:
    """For one round of a transaction."""
    if any(branch.url.startswith(MARKS) for branch in stored.branches):
        return Filling(caller, store, clock, stored.branches)
    return Without(caller)
