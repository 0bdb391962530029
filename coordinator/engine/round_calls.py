"""The calls of one round: let in by `admission`, in flight, ended. Each leaves its place, however it ends."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from coordinator.calls.base import Answer, Caller
from coordinator.engine.admission import Admission, Outcome
from coordinator.light import light
from coordinator.model import Branch, Transaction

QUEUE_SECONDS: Final = 1.0  # for which a call may wait for a place at its endpoint


@light
@dataclass(frozen=True, slots=True)
class LetIn:
    """A call that has a place at its endpoint, and is to be made or given back."""

    branch: Branch
    endpoint: str


class Calls:
    """seconds: that one call may take."""

    def __init__(self, caller: Caller, admission: Admission, seconds: float) -> None:
        self._caller = caller
        self._admission = admission
        self._seconds = seconds
        self._in_flight: dict[asyncio.Task[Answer], tuple[Branch, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._in_flight)

    def let_in(self, transaction: Transaction, branches: Sequence[Branch]) -> list[LetIn]:
        """Take places for as many of the branches as there are places now."""
        wanted = [LetIn(branch, self._caller.endpoint(transaction, branch)) for branch in branches]
        return [one for one in wanted if self._admission.take(one.endpoint)]

    async def queue(self, transaction: Transaction, branch: Branch) -> LetIn | None:
        """Wait a little for a place; None when there was none."""
        endpoint = self._caller.endpoint(transaction, branch)
        turn = asyncio.get_running_loop().create_future()
        if not self._admission.wait(endpoint, turn):
            return None
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await turn
        except TimeoutError:
            return LetIn(branch, endpoint) if self._admission.give_up(endpoint, turn) else None
        except asyncio.CancelledError:
            if self._admission.give_up(endpoint, turn):
                self._admission.leave(endpoint, Outcome.UNUSED)
            raise
        return LetIn(branch, endpoint)

    def give_back(self, let_in: Iterable[LetIn]) -> None:
        """Leave the places of calls that are not made after all."""
        for one in let_in:
            self._admission.leave(one.endpoint, Outcome.UNUSED)

    def without_held(self, let_in: Sequence[LetIn]) -> Sequence[LetIn]:
        """Leave the places of those whose endpoint is held by now; the others."""
        held = [one for one in let_in if self._admission.held(one.endpoint) is not None]
        self.give_back(held)
        return [one for one in let_in if one not in held] if held else let_in

    async def make(self, transaction: Transaction, one: LetIn) -> Answer:
        """Make one call and wait for its answer: the common case, without a task."""
        answer: Answer | None = None
        try:
            answer = await self._caller.call(transaction, one.branch, timeout=self._seconds)
            return answer
        finally:
            self._leave(one.endpoint, answer)

    def start(self, transaction: Transaction, one: LetIn, now: float) -> None:
        """Begin a call beside others. now: by whatever clock; `ended` returns it."""
        call = self._caller.call(transaction, one.branch, timeout=self._seconds)
        task = asyncio.ensure_future(call)
        # A task that is cancelled before its first step runs no `finally` of its own.
        task.add_done_callback(partial(self._ended, one.endpoint))
        self._in_flight[task] = (one.branch, now)

    async def ended(self, *, within: float | None = None) -> list[tuple[Branch, float, Answer]]:
        """Wait for the next call to end; return all that have, and when each began, in that order.

        within: seconds; empty when none ended in that time.
        """
        done, _ = await asyncio.wait(self._in_flight, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        ended = [task for task in self._in_flight if task in done]
        return [(*self._in_flight.pop(task), task.result()) for task in ended]

    async def drop(self) -> None:
        """End what is in flight; nothing is known of those calls."""
        for task in self._in_flight:
            task.cancel()
        if self._in_flight:
            await asyncio.wait(self._in_flight)
            self._in_flight.clear()

    def _ended(self, endpoint: str, task: asyncio.Future[Answer]) -> None:
        is_known = not task.cancelled() and task.exception() is None
        self._leave(endpoint, task.result() if is_known else None)

    def _leave(self, endpoint: str, answer: Answer | None) -> None:
        if answer is None:
            outcome = Outcome.UNUSED
        else:
            outcome = Outcome.LOST if answer.is_lost else Outcome.ANSWERED
        self._admission.leave(endpoint, outcome, call_seconds=self._seconds)
