"""A workflow while it runs: ordinary code, whose steps are remembered and undone (PROTOCOL §7)."""

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

from coordinator.client.patterns import workflow_nested as nested
from coordinator.client.patterns.workflow_places import Places
from coordinator.client.patterns.workflow_policy import Retry, check_timeout, within
from coordinator.client.patterns.workflow_rows import Step, from_json, function_name, named, to_json, url_name
from coordinator.client.patterns.workflow_run import Act, Later, Run
from coordinator.client.patterns.workflow_xa import XaStep
from coordinator.client.transport.branch_calls import BranchAnswer, BranchCall
from coordinator.client.transport.checks import check_url_called_from_here, wrong
from coordinator.client.transport.context import BranchContext
from coordinator.client.transport.coordinator import Coordinator
from coordinator.client.transport.options import headers_of_call
from coordinator.client.transport.payload import Payload
from coordinator.client.xa.branch import Connect
from coordinator.model import Op, Options, TransType, later

T = TypeVar("T")
Data = TypeVar("Data")
Result = TypeVar("Result")
Data_contra = TypeVar("Data_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


class Workflow:
    """What a workflow function works with: `async def register(wf: Workflow, data)` (PROTOCOL §7).

    The function is run again from its beginning after a crash, and the steps that were recorded are not done
    again, so it must take the same way each time: what may differ (reads of a database) belongs in a `do`.
    Steps may run at once (`asyncio.gather(wf.do(a), wf.do(b))`), two chains of steps may not: they are
    numbered as they begin, and the numbers must be the same each time. A step that raises Failure undoes the
    steps before it, in reverse, unless the function catches it; the failed step itself is not undone. Any
    other exception leaves the workflow open, and the coordinator has it run again later.

    A step is recorded with its name: that of its function, the path of its url, or `name`. Where another step
    comes to its place when the function is run again, that is a Mismatch. What a step returns has room for
    65,535 bytes; one that returns more counts as done and the workflow is rolled back with it, raising
    InvalidUse, unless Workflows have a place for it (`external`).
    """

    def __init__(
        self,
        coordinator: Coordinator,
        options: Options,
        run: Run,
        places: Places,
        now: Callable[[], datetime],
    ) -> None:
        self.gid = run.gid
        self._coordinator = coordinator
        self._options = options
        self._run = run
        self._places = places
        self._now = now

    async def saga(
        self,
        action: str,
        compensate: str = "",
        payload: Payload = None,
        *,
        headers: Mapping[str, str] | None = None,
        name: str = "",
        timeout: float = 0.0,
        retry: Retry | None = None,
    ) -> BranchAnswer:
        """Call `action`, undone by `compensate` (op `rollback`); return its answer.

        headers: sent with the calls of this step, before those of the execution. timeout: seconds for each
        call of it; 0: request_timeout of the execution, or the time-out of the `Dtm`. retry: how often it is
        called at once where it is not known whether it was done; None: once. Raises Failure when it
        says no, Ongoing, DtmError when it is not known whether it was done, InvalidUse for what cannot be
        called or sent.
        """
        how = _Call(name, headers, timeout, retry)
        return await self._call_step("saga", how, payload, action, confirm="", undo=compensate)

    async def tcc(
        self,
        payload: Payload,
        try_url: str,
        confirm_url: str,
        cancel_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        name: str = "",
        timeout: float = 0.0,
        retry: Retry | None = None,
    ) -> BranchAnswer:
        """Call try; confirm follows when the workflow succeeds, cancel when it fails; return try's answer.

        The branch sees them as `action`, `commit` and `rollback`. The rest is as of `saga`.
        """
        how = _Call(name, headers, timeout, retry)
        return await self._call_step("tcc", how, payload, try_url, confirm=confirm_url, undo=cancel_url)

    async def do(
        self,
        function: Callable[[BranchContext], Awaitable[T]],
        *,
        rollback: Callable[[BranchContext], Awaitable[object]] | None = None,
        name: str = "",
        timeout: float = 0.0,
        retry: Retry | None = None,
    ) -> T:
        """Run a function of this process, once it is recorded never again; return its result.

        function, rollback: get the branch context, for `barrier`. timeout: seconds, after which it is
        cancelled; 0: none. retry: how often it is run at once where it raises; None: once. The result must
        be something that JSON can say, and comes back as JSON gives it back. A crash between the function and
        its record runs it again: use the barrier for what must not happen twice. Raises what function raises.
        """
        check_timeout(timeout)
        step = self._places.next(named("do", name, function_name(function)))

        async def act() -> bytes:
            if retry is None and not timeout:  # as most are
                return to_json(await function(self._branch(step, Op.ACTION)), "result")
            result = await within(timeout, retry, lambda: function(self._branch(step, Op.ACTION)))
            return to_json(result, "result")

        async def undo() -> bytes:
            assert rollback is not None
            await rollback(self._branch(step, Op.ROLLBACK))
            return b""

        later = Later(step, rollback=undo if rollback else None)
        result: T = from_json(await self._run.step(later, act))
        return result

    async def xa(
        self,
        connect: Connect,
        business: Callable[[Any], Awaitable[T]],
        *,
        table: str = "",
        name: str = "",
    ) -> T:
        """Run `business(connection)` in a transaction that is prepared now and ended with the workflow.

        connect, table: as `Dtm.xa_branch` takes them. Returns what business returned, as JSON gives it back;
        after a crash it may be that of an earlier attempt. Raises what business raises.
        """
        place = self._places.next(named("xa", name, function_name(business)))
        step = XaStep(self._run.log, self.gid, place, connect, table, business)
        result: T = from_json(await self._run.step(step.later, step.act))
        return result

    async def patched(self, name: str) -> bool:
        """Whether a change of the function counts for this workflow: not for one that was past it before.

        What was begun with the older code, and has recorded steps behind this place, goes on by the older
        way; all others by the newer. The answer is recorded, and stays. name: of the change, once for each.

        Example:
            if await wf.patched("ask-the-warehouse"):
                await wf.saga(f"{warehouse}/reserve", f"{warehouse}/release", data)
        """
        return await self._run.patched(self._places, name)

    async def sleep(self, seconds: float, *, name: str = "") -> None:
        """Sleep so long, durably: for a moment or a month (PROTOCOL §7).

        Nothing of the workflow is kept in memory meanwhile. The coordinator calls back when the time is over,
        whichever process answers then, a few seconds late at most. `execute` raises Ongoing. Raises
        InvalidUse for a server that cannot do that, as one in Go.
        """
        check_timeout(seconds)
        await self.sleep_until(later(self._now(), seconds), name=name)

    async def sleep_until(self, moment: datetime, *, name: str = "") -> None:
        """The same until a moment, which is past at once where it has passed. moment: aware."""
        if moment.tzinfo is None:
            raise wrong("moment", moment, "give a datetime with a time zone, such as datetime.now(UTC)")
        await self._run.sleep(self._places, named("sleep", name, ""), moment, self._now)

    async def now(self) -> datetime:
        """The time when this step was first done, in UTC; recorded."""
        return datetime.fromisoformat(
            await self._drawn("now", lambda: self._now().astimezone(UTC).isoformat())
        )

    async def random(self) -> float:
        """A random number, 0 <= it < 1, the same in each run; recorded."""
        return await self._drawn("random", random.SystemRandom().random)

    async def uuid(self) -> UUID:
        """A random UUID, the same in each run; recorded."""
        return UUID(await self._drawn("uuid", lambda: str(uuid4())))

    async def run_in_parallel(self, *chains: "Callable[[Workflow], Awaitable[T]]", name: str = "") -> list[T]:
        """Run chains of steps at once, each with a workflow of its own to work with; return their results.

        Their steps are numbered by chain, so that it does not matter which is faster. All are run to their
        end; then the first one's Failure is raised, or what another raised. The last chain is undone first.

        Example:
            hotel, flight = await wf.run_in_parallel(book_hotel, book_flight)
        """
        inner = [self._chain(one) for one in chains]
        return await nested.in_parallel(self._run, self._places, named("parallel", name, ""), inner)

    async def child(self, workflow: "WorkflowFunction[Data, Result]", data: Data) -> Result:
        """Run another workflow function inside of this one: one transaction, whose end counts for all.

        data, and what it returns: as of `execute`, of any size. Where it raises Failure its own steps are
        undone before that is raised here, so that this function may catch it and go on.
        """
        name = named("child", "", workflow.name)
        encoded = to_json(data, "data")
        chain = self._chain(lambda inner: workflow.function(inner, from_json(encoded)))
        result: Result = from_json(
            to_json(await nested.inside(self._run, self._places, name, chain), "result")
        )
        return result

    def _chain(self, function: "Callable[[Workflow], Awaitable[T]]") -> "Callable[[str], Awaitable[T]]":
        """Return what runs the function with the places of this prefix; in the task that calls it."""

        def run(prefix: str) -> Awaitable[T]:
            places = Places(self.gid, prefix)
            return function(Workflow(self._coordinator, self._options, self._run, places, self._now))

        return run

    async def _drawn(self, kind: str, draw: Callable[[], T]) -> T:
        async def act() -> bytes:
            return to_json(draw(), "result")

        result: T = from_json(await self._run.step(Later(self._places.next(kind)), act))
        return result

    async def _call_step(
        self, kind: str, how: "_Call", payload: Payload, url: str, *, confirm: str, undo: str
    ) -> BranchAnswer:
        check_url_called_from_here("url", url)
        for later_url in (confirm, undo):
            if later_url != "":
                check_url_called_from_here("url", later_url)
        check_timeout(how.timeout)
        headers = headers_of_call(self._options, how.headers, url)
        encoded = self._coordinator.encode(payload)
        step = self._places.next(named(kind, how.name, url_name(url)))

        seconds = how.timeout or self._options.request_timeout

        def call(op: Op, to: str, retry: Retry | None = None) -> Act:
            asked = BranchCall(to, encoded, self.gid, TransType.WORKFLOW, step.branch_id, op, headers=headers)

            async def once() -> bytes:
                return (await self._coordinator.call_branch(asked, seconds)).body

            return lambda: within(0, retry, once)

        later = Later(
            step,
            commit=call(Op.COMMIT, confirm) if confirm else None,
            rollback=call(Op.ROLLBACK, undo) if undo else None,
        )
        return BranchAnswer(await self._run.step(later, call(Op.ACTION, url, how.retry), url))

    def _branch(self, step: Step, op: Op) -> BranchContext:
        return BranchContext(self.gid, TransType.WORKFLOW, step.branch_id, op)


@dataclass(frozen=True, slots=True)
class _Call:
    """How a step is called, as it was given."""

    name: str
    headers: Mapping[str, str] | None
    timeout: float
    retry: Retry | None


@dataclass(frozen=True)  # slots and type arguments do not go together: WorkflowFunction[int, str](…)
class WorkflowFunction(Generic[Data_contra, Result_co]):
    """A function that is a workflow, and the name by which the coordinator calls it back (PROTOCOL §7)."""

    name: str
    function: Callable[[Workflow, Data_contra], Awaitable[Result_co]]
