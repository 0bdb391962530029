"""Workflows for blocking code: the function runs in the thread that waits for it (PROTOCOL §5, §7)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, Unpack

from coordinator.client import dtm as _dtm
from coordinator.client import workflows as _workflows
from coordinator.client.frameworks.for_wsgi import HttpAnswer, StartResponse, answer_request, answer_wsgi
from coordinator.client.frameworks.request import Source
from coordinator.client.patterns import workflow as _workflow
from coordinator.client.portal import Portal, in_caller
from coordinator.client.transport.branch_calls import BranchAnswer
from coordinator.client.transport.context import BranchContext
from coordinator.client.transport.options import TransactionOptions
from coordinator.client.transport.payload import Payload
from coordinator.client.xa.blocking import Connect, open_in_caller
from coordinator.proto.workflow import WorkflowData


class BlockingDtm(Protocol):
    """What workflows ask of the blocking `Dtm`."""

    @property
    def inner(self) -> _dtm.Dtm:
        """The async client."""
        ...

    @property
    def portal(self) -> Portal:
        """Its thread; raises InvalidUse when it is not open."""
        ...


class Workflow:
    """A `coordinator.client.Workflow` of blocking code: `def register(wf: Workflow, data)` (PROTOCOL §7).

    Functions that are handed in run in the thread of the workflow function.
    """

    def __init__(self, inner: _workflow.Workflow, portal: Portal) -> None:
        self._inner = inner
        self._portal = portal
        self.gid = inner.gid

    def saga(self, action: str, compensate: str = "", payload: Payload = None) -> BranchAnswer:
        """Call `action`, undone by `compensate` (op `rollback`); return its answer.

        Raises Failure when it says no, Ongoing, DtmError when it is not known whether it was done.
        """
        return self._portal.call(lambda: self._inner.saga(action, compensate, payload))

    def tcc(self, payload: Payload, try_url: str, confirm_url: str, cancel_url: str) -> BranchAnswer:
        """Call try; confirm or cancel follows at the workflow's end. Raises as `saga`."""
        return self._portal.call(lambda: self._inner.tcc(payload, try_url, confirm_url, cancel_url))

    def do(
        self,
        function: Callable[[BranchContext], Any],
        *,
        rollback: Callable[[BranchContext], object] | None = None,
    ) -> Any:
        """Run a function of this process, once it is recorded never again; return its result.

        function, rollback: get the branch context, for `barrier`. The result is what JSON can say. Raises
        what function raises.
        """

        async def acting(branch: BranchContext) -> Any:
            return await in_caller(lambda: function(branch))

        async def undoing(branch: BranchContext) -> object:
            assert rollback is not None
            return await in_caller(lambda: rollback(branch))

        return self._portal.call(lambda: self._inner.do(acting, rollback=undoing if rollback else None))

    def xa(self, connect: Connect, business: Callable[[Any], Any], *, table: str = "") -> Any:
        """Run `business(connection)` in a transaction that is prepared now and ended with the workflow.

        connect: returns a new connection of pymysql, psycopg or psycopg2. Returns what business returned, as
        JSON gives it back. Raises what business raises.
        """

        async def doing(owned: Any) -> Any:
            return await in_caller(lambda: business(owned.connection))

        return self._portal.call(lambda: self._inner.xa(lambda: open_in_caller(connect), doing, table=table))


Function = Callable[[Workflow, Any], Any]


@dataclass(frozen=True, slots=True)
class WorkflowFunction:
    """A blocking function that is a workflow, and the name by which it is called back (PROTOCOL §7)."""

    name: str
    function: Function


def workflow(name: str) -> Callable[[Function], WorkflowFunction]:
    """Make a blocking function a workflow (PROTOCOL §7). name: stored with each, so it must not change.

    Example:
        @workflow("register")
        def register(wf: Workflow, data: dict[str, str]) -> dict[str, str]:
            wf.saga(f"{user}/save", f"{user}/remove", data)
            return {"welcome": data["name"]}
    """
    return lambda function: WorkflowFunction(name, function)


class Workflows:
    """The blocking workflow functions of one service (PROTOCOL §5, §7); see `coordinator.client.Workflows`.

    callback: the http url where `answer` or `wsgi` is served, whatever `dtm` speaks; or, for a grpc:// one
    only, `host:port/workflow.Workflow/Execute` of a server of grpcio that has `grpc_handler()`.

    Example:
        workflows = Workflows(dtm, [register], callback="http://me:8080/workflow")

        @application.route("/workflow", methods=["GET", "POST"])
        def callback():
            return workflows.answer(flask.request)

        answer = workflows.execute(register, {"name": "ann"})
    """

    def __init__(
        self,
        dtm: BlockingDtm,
        functions: Iterable[WorkflowFunction],
        *,
        callback: str,
        **options: Unpack[TransactionOptions],
    ) -> None:
        self._dtm = dtm
        self._inner_of = {id(one): self._waiting_for(one) for one in functions}
        self._inner = _workflows.Workflows(dtm.inner, self._inner_of.values(), callback=callback, **options)

    def execute(
        self,
        workflow: WorkflowFunction,
        data: Any = None,
        *,
        gid: str | None = None,
        wait_seconds: float = 0.0,
    ) -> Any:
        """Run a workflow in this thread and return its result; with an earlier gid, go on with that.

        data, wait_seconds, what is raised: see `coordinator.client.Workflows.execute`.
        """
        inner = self._inner_of.get(id(workflow)) or self._waiting_for(workflow)  # which is refused
        return self._dtm.portal.call(
            lambda: self._inner.execute(inner, data, gid=gid, wait_seconds=wait_seconds)
        )

    def resume(self, branch: BranchContext, body: bytes) -> bytes:
        """Go on with the workflow that a callback is about; for other frameworks. Raises DtmError."""
        return self._dtm.portal.call(lambda: self._inner.resume(branch, body))

    def answer(self, request: Source) -> HttpAnswer:
        """Answer the coordinator's callback: body, status and headers, which a Flask view may return.

        request: of Flask or Django (GET where data is empty, else POST; exempt it from CSRF). Every error of
        the client's tree becomes an answer; raises InvalidUse for a request of another kind.
        """
        return answer_request(request, self.resume)

    def wsgi(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """The same as a WSGI application of its own."""
        return answer_wsgi(environ, start_response, self.resume)

    def grpc_handler(self) -> Any:
        """Return what answers the coordinator's callback on a blocking server of grpcio (PROTOCOL §4, §7).

        It serves `/workflow.Workflow/Execute`, beside whatever else the server serves; every error of the
        client's tree becomes its code (§2). The server's threads run the workflows that are called back.
        Raises InvalidUse where grpcio is not installed.

        Example:
            server = grpc.server(ThreadPoolExecutor(20), interceptors=[BlockingBranchInterceptor()])
            server.add_generic_rpc_handlers((workflows.grpc_handler(),))
        """

        def answer(branch: BranchContext, body: bytes) -> bytes:
            self.resume(branch, WorkflowData.FromString(body).data)
            return b""

        return _workflows.grpcio_module().blocking_branch_method(_workflows.GRPC_PATH, answer)

    def _waiting_for(self, blocking: WorkflowFunction) -> _workflows.WorkflowFunction:
        async def running(inner: _workflow.Workflow, data: Any) -> Any:
            portal = self._dtm.portal
            return await in_caller(lambda: blocking.function(Workflow(inner, portal), data))

        return _workflows.WorkflowFunction(blocking.name, running)
