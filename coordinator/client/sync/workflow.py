"""A workflow of blocking code while it runs, in the thread that waits for it (PROTOCOL §7)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from coordinator.client.errors import Ongoing
from coordinator.client.patterns import workflow as _workflow
from coordinator.client.patterns.workflow_policy import Retry
from coordinator.client.patterns.workflow_rows import Halted, function_name
from coordinator.client.portal import Portal, in_caller
from coordinator.client.transport.branch_calls import BranchAnswer
from coordinator.client.transport.context import BranchContext
from coordinator.client.transport.payload import Payload
from coordinator.client.xa.blocking import Connect, open_in_caller

T = TypeVar("T")
Data = TypeVar("Data")
Result = TypeVar("Result")
Data_contra = TypeVar("Data_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


class Workflow:
    """A `coordinator.client.Workflow` of blocking code: `def register(wf: Workflow, data)` (PROTOCOL §7).

    Functions that are handed in run in the thread of the workflow function.
    """

    def __init__(self, inner: _workflow.Workflow, portal: Portal) -> None:
        self._inner = inner
        self._portal = portal
        self.gid = inner.gid

    def saga(
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

        Raises Failure when it says no, Ongoing, DtmError when it is not known whether it was done.
        """
        return self._portal.call(
            lambda: self._inner.saga(
                action, compensate, payload, headers=headers, name=name, timeout=timeout, retry=retry
            )
        )

    def tcc(
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
        """Call try; confirm or cancel follows at the workflow's end. Raises as `saga`."""
        urls = try_url, confirm_url, cancel_url
        return self._portal.call(
            lambda: self._inner.tcc(payload, *urls, headers=headers, name=name, timeout=timeout, retry=retry)
        )

    def do(
        self,
        function: Callable[[BranchContext], T],
        *,
        rollback: Callable[[BranchContext], object] | None = None,
        name: str = "",
        timeout: float = 0.0,
        retry: Retry | None = None,
    ) -> T:
        """Run a function of this process, once it is recorded never again; return its result.

        function, rollback: get the branch context, for `barrier`. The result is what JSON can say. timeout:
        what returns later than that is not known; it is not interrupted. Raises what function raises.
        """

        async def acting(branch: BranchContext) -> T:
            return await in_caller(lambda: function(branch))

        async def undoing(branch: BranchContext) -> object:
            assert rollback is not None
            return await in_caller(lambda: rollback(branch))

        undo, called = undoing if rollback else None, name or function_name(function)
        return self._portal.call(
            lambda: self._inner.do(acting, rollback=undo, name=called, timeout=timeout, retry=retry)
        )

    def xa(self, connect: Connect, business: Callable[[Any], T], *, table: str = "", name: str = "") -> T:
        """Run `business(connection)` in a transaction that is prepared now and ended with the workflow.

        connect: returns a new connection of pymysql, psycopg or psycopg2. Returns what business returned, as
        JSON gives it back. Raises what business raises.
        """

        async def doing(owned: Any) -> T:
            return await in_caller(lambda: business(owned.connection))

        def opened() -> Awaitable[Any]:
            return open_in_caller(connect)

        called = name or function_name(business)
        return self._portal.call(lambda: self._inner.xa(opened, doing, table=table, name=called))

    def patched(self, name: str) -> bool:
        """Whether a change of the function counts: not for a workflow that was past it before.

        name: of the change; see `coordinator.client.Workflow.patched`.
        """
        return self._portal.call(lambda: self._inner.patched(name))

    def sleep(self, seconds: float, *, name: str = "") -> None:
        """Sleep so long, durably; see `coordinator.client.Workflow.sleep`. No thread waits meanwhile."""
        self._portal.call(lambda: self._inner.sleep(seconds, name=name))

    def sleep_until(self, moment: datetime, *, name: str = "") -> None:
        """The same until a moment. moment: aware."""
        self._portal.call(lambda: self._inner.sleep_until(moment, name=name))

    def now(self) -> datetime:
        """The time when this step was first done, in UTC; recorded."""
        return self._portal.call(self._inner.now)

    def random(self) -> float:
        """A random number, 0 <= it < 1, the same in each run; recorded."""
        return self._portal.call(self._inner.random)

    def uuid(self) -> UUID:
        """A random UUID, the same in each run; recorded."""
        return self._portal.call(self._inner.uuid)

    def run_in_parallel(self, *chains: "Callable[[Workflow], T]", name: str = "") -> list[T]:
        """Run chains of steps at once, each in a thread of its own; return their results.

        See `coordinator.client.Workflow.run_in_parallel`.
        """
        threads = [self._in_thread(one) for one in chains]
        return self._portal.call(lambda: self._inner.run_in_parallel(*threads, name=name))

    def child(self, workflow: "WorkflowFunction[Data, Result]", data: Data) -> Result:
        """Run another workflow function inside of this one; see `coordinator.client.Workflow.child`."""
        inner = inner_of(workflow, self._portal)
        return self._portal.call(lambda: self._inner.child(inner, data))

    def _in_thread(self, chain: "Callable[[Workflow], T]") -> Callable[[_workflow.Workflow], Awaitable[T]]:
        async def run(inner: _workflow.Workflow) -> T:
            return await asyncio.to_thread(lambda: chain(Workflow(inner, self._portal)))

        return run


@dataclass(frozen=True)  # slots and type arguments do not go together: WorkflowFunction[int, str](…)
class WorkflowFunction(Generic[Data_contra, Result_co]):
    """A blocking function that is a workflow, and the name by which it is called back (PROTOCOL §7)."""

    name: str
    function: Callable[[Workflow, Data_contra], Result_co]


def inner_of(
    blocking: WorkflowFunction[Data, Result], portal: Portal
) -> _workflow.WorkflowFunction[Data, Result]:
    """Return the workflow of the async client that runs it, in the thread that waits."""

    async def running(inner: _workflow.Workflow, data: Data) -> Result:
        halted: list[Halted] = []

        def run() -> Result:
            try:
                return blocking.function(Workflow(inner, portal), data)
            except Halted as error:  # it would end the waiting as Ctrl-C does
                halted.append(error)
                raise Ongoing("the workflow sleeps", gid=inner.gid) from None

        try:
            return await in_caller(run)
        except Ongoing:
            for error in halted:
                raise error from None
            raise

    return _workflow.WorkflowFunction(blocking.name, running)
