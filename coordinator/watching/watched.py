"""Branch and database calls, measured: counted for metrics, and said when they are slow."""

from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from coordinator.calls.base import Answer, Caller
from coordinator.model import Branch, BranchStatus, Result, Transaction
from coordinator.results import plain_url
from coordinator.store.runner import Runner
from coordinator.store.statements import Cursor
from coordinator.telemetry.slow import Slow
from coordinator.telemetry.trace_context import trace_field
from coordinator.watching.endpoint_record import EndpointRecord

T = TypeVar("T")


class Counts(Protocol):
    """Who counts."""

    def branch_took(self, trans_type: str, result: Result, seconds: float, *, again: bool) -> None:
        """A branch call ended."""
        ...


class Recorded(Protocol):
    """The part of a pattern that says whether a result ends the matter."""

    def recorded(self, branch: Branch, result: Result) -> BranchStatus | None:
        """What a result makes of its row; None: it is called again."""
        ...


class WatchedCaller:
    """A Caller that measures each call. patterns: by trans_type. endpoints: remembers how they did."""

    def __init__(
        self,
        inner: Caller,
        counts: Counts,
        slow: Slow,
        patterns: Mapping[str, Recorded],
        endpoints: EndpointRecord,
    ) -> None:
        self._endpoints = endpoints
        self._inner = inner
        self._counts = counts
        self._slow = slow
        self._patterns = patterns

    def endpoint(self, transaction: Transaction, branch: Branch) -> str:
        """See Caller."""
        return self._inner.endpoint(transaction, branch)

    async def call(self, transaction: Transaction, branch: Branch, *, timeout: float) -> Answer:
        """See Caller."""
        started = perf_counter()
        answer = await self._inner.call(transaction, branch, timeout=timeout)
        ended = perf_counter()
        seconds = ended - started
        trans_type, result = transaction.trans_type, answer.result
        if endpoint := self._inner.endpoint(transaction, branch):
            self._endpoints.took(endpoint, result, seconds, ended)
        again = result is not Result.SUCCESS and (self._patterns[trans_type].recorded(branch, result) is None)
        self._counts.branch_took(trans_type, result, seconds, again=again)
        if seconds >= self._slow.seconds:
            self._slow.said(
                seconds,
                gid=transaction.gid,
                branch=branch.branch_id,
                op=branch.op,
                url=plain_url(branch.url).partition("?")[0],
                result=result.value,
                **trace_field(transaction.ext_data),
            )
        return answer

    async def close(self) -> None:
        """See Caller."""
        await self._inner.close()


class WatchedRunner:
    """A store's Runner whose slow transactions are said."""

    def __init__(self, inner: Runner, slow: Slow) -> None:
        self._inner = inner
        self._slow = slow

    async def write(self, function: Callable[[Cursor], T], *, seconds: float) -> T:
        """See Runner."""
        started = perf_counter()
        try:
            return await self._inner.write(function, seconds=seconds)
        finally:
            self._say_if_slow("write", started)

    async def write_at_once(self, send: Callable[[Any], Awaitable[bool]], *, seconds: float) -> bool:
        """See Runner."""
        started = perf_counter()
        try:
            return await self._inner.write_at_once(send, seconds=seconds)
        finally:
            self._say_if_slow("write", started)

    async def transact(self, function: Callable[[Connection], T], *, seconds: float) -> T:
        """See Runner."""
        started = perf_counter()
        try:
            return await self._inner.transact(function, seconds=seconds)
        finally:
            self._say_if_slow("transact", started)

    async def read(
        self, function: Callable[[Connection], T], *, seconds: float, at_leisure: bool = False
    ) -> T:
        """See Runner."""
        started = perf_counter()
        try:
            return await self._inner.read(function, seconds=seconds, at_leisure=at_leisure)
        finally:
            self._say_if_slow("read", started)

    def connections(self) -> Mapping[str, float]:
        """See Runner."""
        return self._inner.connections()

    async def close(self) -> None:
        """See Runner."""
        await self._inner.close()

    def _say_if_slow(self, call: str, started: float) -> None:
        took = perf_counter() - started
        if took >= self._slow.seconds:
            self._slow.said(took, call=call)
