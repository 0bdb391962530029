"""Workflows for blocking code: the function runs in the thread that waits for it (PROTOCOL §5, §7)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar, Unpack

from coordinator.client import dtm as _dtm
from coordinator.client import workflows as _workflows
from coordinator.client.extras import brought_by
from coordinator.client.frameworks.for_wsgi import HttpAnswer, StartResponse, answer_request, answer_wsgi
from coordinator.client.frameworks.request import Source
from coordinator.client.patterns import workflow as _workflow
from coordinator.client.portal import Portal, in_caller
from coordinator.client.sync.workflow import Workflow, WorkflowFunction, inner_of
from coordinator.client.transport.context import BranchContext
from coordinator.client.transport.options import TransactionOptions

Data = TypeVar("Data")
Result = TypeVar("Result")


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


class External(Protocol):
    """Where a service keeps what is too large for rows (PROTOCOL §14); see `coordinator.client.External`."""

    def save(self, key: str, data: bytes) -> None:
        """Keep the data, durably, under a key of 150 characters at most; given again, the latest counts."""
        ...

    def load(self, key: str) -> bytes:
        """Return what was kept under the key."""
        ...


@dataclass(frozen=True, slots=True)
class _InCaller:
    """A blocking one, for the async client: in the thread that waits."""

    blocking: External

    async def save(self, key: str, data: bytes) -> None:
        await in_caller(lambda: self.blocking.save(key, data))

    async def load(self, key: str) -> bytes:
        return await in_caller(lambda: self.blocking.load(key))


def workflow(
    name: str,
) -> Callable[[Callable[[Workflow, Data], Result]], WorkflowFunction[Data, Result]]:
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
        functions: Iterable[WorkflowFunction[Any, Any]],
        *,
        callback: str,
        external: External | None = None,
        now: Callable[[], datetime] = _workflows.utc_now,
        **options: Unpack[TransactionOptions],
    ) -> None:
        self._dtm = dtm
        self._inner_of = {id(one): self._waiting_for(one) for one in functions}
        kept = None if external is None else _InCaller(external)
        self._inner = _workflows.Workflows(
            dtm.inner, self._inner_of.values(), callback=callback, external=kept, now=now, **options
        )

    def execute(
        self,
        workflow: WorkflowFunction[Data, Result],
        data: Data | None = None,
        *,
        gid: str | None = None,
        wait_seconds: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a workflow in this thread and return its result; with an earlier gid, go on with that.

        data, wait_seconds, headers, what is raised: see `coordinator.client.Workflows.execute`.
        """
        inner: _workflow.WorkflowFunction[Data, Result] = (
            self._inner_of.get(id(workflow)) or self._waiting_for(workflow)  # which is refused
        )
        return self._dtm.portal.call(
            lambda: self._inner.execute(inner, data, gid=gid, wait_seconds=wait_seconds, headers=headers)
        )

    def cancel(self, gid: str, *, reason: str = "") -> None:
        """Have a workflow of these rolled back; see `coordinator.client.Workflows.cancel`."""
        self._dtm.portal.call(lambda: self._inner.cancel(gid, reason=reason))

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
        Raises MissingExtra where grpcio is not installed.

        Example:
            server = grpc.server(ThreadPoolExecutor(20), interceptors=[BlockingBranchInterceptor()])
            server.add_generic_rpc_handlers((workflows.grpc_handler(),))
        """

        with brought_by("grpcio"):
            from coordinator.client.frameworks.for_grpcio import blocking_branch_method

        def answer(branch: BranchContext, body: bytes) -> bytes:
            self.resume(branch, _workflows.data_of_message(body))
            return b""

        return blocking_branch_method(_workflows.GRPC_PATH, answer)

    def _waiting_for(
        self, blocking: WorkflowFunction[Data, Result]
    ) -> _workflow.WorkflowFunction[Data, Result]:
        async def running(inner: _workflow.Workflow, data: Data) -> Result:
            return await inner_of(blocking, self._dtm.portal).function(inner, data)

        return _workflow.WorkflowFunction(blocking.name, running)
