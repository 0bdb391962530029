"""`Coordinator.embedded`: started and stopped with the program that has it inside."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context, copy_context
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

from coordinator.calls.base import Caller
from coordinator.client import Dtm, External, InvalidUse, LocalCall, Ongoing, WorkflowFunction, Workflows
from coordinator.client.transport.base import Transport
from coordinator.client.transport.branch_calls import Branches
from coordinator.config.settings import Settings
from coordinator.discovery.local import LOCAL
from coordinator.embedded.calling import LocalBranches, LocalCaller
from coordinator.embedded.functions import Function, Functions, by_name, end
from coordinator.embedded.settings import settings_of
from coordinator.embedded.transport import ADDRESS, LocalTransport
from coordinator.server.embedding import Embedding
from coordinator.server.observing import secrets_of
from coordinator.server.server import Server
from coordinator.telemetry.log import written_by
from coordinator.telemetry.log_of_host import HostLog
from coordinator.telemetry.secrets import Secrets
from coordinator.watching.readiness import Readiness

LOGGER: Final = "coordinator.embedded"
WORKFLOWS: Final = "workflows"  # the function by which workflows are called back
_NO_SETTINGS: Final[Mapping[str, object]] = MappingProxyType({})


class Coordinator:
    """A coordinator in this process, as an async context manager: made by `embedded`.

    client: what submits to it, without a port. workflows: what executes workflow functions. Both are for use
    inside of the block, and may be handed out before.
    """

    def __init__(
        self,
        settings: Settings,
        functions: Mapping[str, Function],
        workflows: Iterable[WorkflowFunction[Any, Any]],
        external: External | None,
        *,
        listens: bool,
        timeout: float,
    ) -> None:
        """See embedded."""
        of_workflows = list(workflows)
        resumed = {WORKFLOWS: self._resume} if of_workflows else {}
        self._settings = settings
        self._functions: Mapping[str, Function] = {**functions, **resumed}
        self._listens = listens
        self._log = HostLog(logging.getLogger(LOGGER), Secrets(secrets_of(settings)).hidden)
        self._running: _Running | None = None
        self._resumed: set[asyncio.Task[bytes]] = set()
        callback = f"{LOCAL}{WORKFLOWS}"
        self.client = Dtm(_Opener(lambda: self._running), timeout=timeout)
        self.workflows = Workflows(self.client, of_workflows, callback=callback, external=external)

    @classmethod
    def embedded(
        cls,
        url: str,
        functions: Mapping[str, Function] | Iterable[Function] = (),
        *,
        workflows: Iterable[WorkflowFunction[Any, Any]] = (),
        external: External | None = None,
        http: str = "",
        timeout: float = 10.0,
        settings: Mapping[str, object] = _NO_SETTINGS,
    ) -> Self:
        """Return a coordinator that starts with `async with`, and stops at its end.

        url: of the store, `sqlite:///orders.db` (one process alone), `mysql://user:password@host/database` or
        `postgresql://…` (several processes, and servers, may share it); its tables are made when absent.
        functions: `async def name(call: LocalCall)`, called as `local://name`; by name where they are to be
        called otherwise. workflows: functions that may be executed, and are called back without a port.
        external: see Workflows. http: `host:port` at which pages and the HTTP API are answered, port 0 for
        any; empty: nothing listens. timeout: seconds for one operation of the client. settings: by the keys
        of docs/configuration.md, such as `{"RequestTimeout": 5}`; nothing is read from the environment. Log
        lines go to the logger `coordinator.embedded`. Raises InvalidUse, naming what cannot be.

        Example:
            coordinator = Coordinator.embedded("sqlite:///orders.db", functions=[charge, give_back])

            @asynccontextmanager
            async def lifespan(_: FastAPI) -> AsyncIterator[None]:
                async with coordinator:
                    yield
        """
        named = by_name(functions)
        if WORKFLOWS in named:
            raise InvalidUse(
                f"functions: {WORKFLOWS!r} is how workflows are called back; choose another name"
            )
        made = settings_of(url, http, settings)
        return cls(made, named, workflows, external, listens=bool(http), timeout=timeout)

    async def __aenter__(self) -> Self:
        """Start. Raises StartError: the message says what to do."""
        if self._running is not None:
            raise InvalidUse("this coordinator runs already: make another one for another block")
        functions = Functions(self._functions, copy_context())  # of the program, not of the coordinator
        with written_by(self._log):
            self._running = running = _Running(self._settings, functions, listens=self._listens)
            try:
                await running.server.start()
                await self.client.__aenter__()
            except BaseException:
                self._running = None
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop in bounded time: functions that run have some seconds to end; the rest is left to a start."""
        running = self._running
        if running is None:
            return
        with written_by(self._log):
            try:
                await running.server.stop()
            finally:
                self._running = None
                await self.client.__aexit__(kind, error, traceback)
                await end(list(self._resumed))
                await running.functions.close()

    @property
    def http_url(self) -> str:
        """Where pages and the HTTP API are, `http://127.0.0.1:36789`; empty where nothing listens."""
        if self._running is None or not self._listens:
            return ""
        host = self._settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._running.server.ports.http}"

    def problems(self) -> Mapping[str, str]:
        """Why it cannot take work just now, by part; empty where it can: for the program's own readiness."""
        if self._running is None:
            return {"stopping": "the coordinator does not run"}
        return self._running.readiness.problems()

    async def _resume(self, call: LocalCall) -> bytes:
        """Go on with a workflow, however long it takes: its steps have time-outs of their own.

        Raises Ongoing where the time of the call is over first.
        """
        task = asyncio.create_task(self.workflows.resume(call.branch, call.payload))
        self._resumed.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                raise
            raise Ongoing(f"workflow {call.op!r} runs on in this process", gid=call.gid) from None

    def _ended(self, task: asyncio.Task[bytes]) -> None:
        self._resumed.discard(task)
        if not task.cancelled():
            task.exception()  # has been told, or will be when it is called back again


class _Running:
    """What there is from a start to its stop."""

    def __init__(self, settings: Settings, functions: Functions, *, listens: bool) -> None:
        self.zone = settings.time_zone
        self.context: Context = copy_context()
        self.functions = functions
        self.readiness = Readiness()
        embedding = Embedding(functions.names, self._around, self.readiness, listens)
        self.server = Server(settings, reset=False, embedding=embedding)

    def _around(self, inner: Caller) -> Caller:
        return LocalCaller(inner, self.functions)


class _Opener:
    """The client's Opener."""

    address = ADDRESS
    block = "async with coordinator:"

    def __init__(self, running: Callable[[], _Running | None]) -> None:
        self._running = running

    def transport(self) -> Transport:
        """See Opener."""
        running = self._there()
        return LocalTransport(running.server.operations, running.zone, running.context)

    def branches(self) -> Branches:
        """See Opener."""
        return LocalBranches(self._there().functions)

    def _there(self) -> _Running:
        running = self._running()
        if running is None:
            raise InvalidUse("the client of a coordinator is opened with it: `async with coordinator:`")
        return running
