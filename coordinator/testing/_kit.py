"""A coordinator in the test's own process: SQLite in memory, real ports, and time that is moved by hand."""

from contextlib import AsyncExitStack
from datetime import UTC
from types import TracebackType
from typing import Any, Self, Unpack

from coordinator.api.grpc import GrpcApi
from coordinator.api.http import HttpApi
from coordinator.api.serve import start_grpc, start_http
from coordinator.backoff import Timing
from coordinator.client import Dtm, External, TransactionOptions, WorkflowFunction, Workflows
from coordinator.store.open import StoreConfig
from coordinator.testing._branches import HOST, FakeBranches
from coordinator.testing._workflows import WorkflowService
from coordinator.testing.inside import BYTES_MAX, STOP_SECONDS, Inside, TravellingClock, open_inside
from coordinator.watching.readiness import Readiness


class Kit:
    """A coordinator, a client of it, and scripted branches, as an async context manager (PROTOCOL §3–§9).

    request_timeout: real seconds that one branch call may take; the other times of the coordinator are its
    defaults (RetryInterval 10, TimeoutToFail 35) and pass only with `advance`.

    Example:
        async with Kit() as kit:
            kit.branches.answer("/deposit", Says.BROKEN, Says.SUCCESS)
            saga = kit.dtm.saga().add(f"{kit.branches.http_url}/deposit")
            await saga.submit()
            await kit.advance(20)  # RetryInterval, doubled after an unknown result
            assert (await kit.dtm.query(saga.gid)).status is Status.SUCCEED
    """

    def __init__(self, *, request_timeout: int = 1) -> None:
        self._request_timeout = request_timeout
        self._opened = AsyncExitStack()
        self._service: WorkflowService | None = None
        self.clock = TravellingClock()
        self.branches = FakeBranches()
        self.http_url = ""  # `http://127.0.0.1:port`
        self.grpc_url = ""  # `grpc://127.0.0.1:port`

    @property
    def dtm(self) -> Dtm:
        """A client over HTTP, open as long as the kit is."""
        return self._dtm

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._opened = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._opened.aclose()

    async def serve(
        self,
        *functions: WorkflowFunction[Any, Any],
        external: External | None = None,
        **options: Unpack[TransactionOptions],
    ) -> Workflows:
        """Serve workflow functions, which are called back as time passes with `advance`.

        Called again, the service is another process with these functions, where what was begun goes on.

        Example:
            workflows = await kit.serve(remind)
            with pytest.raises(Ongoing):
                await workflows.execute(remind, {"name": "ann"}, gid="g1")  # it sleeps a day
            await kit.advance(86_400)
        """
        if self._service is None:
            self._service = await self._opened.enter_async_context(WorkflowService())
        now = self.clock.now
        workflows = Workflows(
            self.dtm, functions, callback=self._service.url, external=external, now=now, **options
        )
        self._service.resume = workflows.resume
        return workflows

    async def advance(self, seconds: float) -> None:
        """Let time pass for the coordinator: what becomes due on the way is done, and has ended afterwards.

        Raises AssertionError where calls do not end in real time.
        """
        await self._inside.advance(seconds)

    async def settle(self) -> None:
        """Wait until the coordinator does nothing any more that is due now.

        Raises AssertionError where calls do not end in real time.
        """
        await self._inside.settle()

    async def _start(self, stack: AsyncExitStack) -> None:
        timing = Timing(request_timeout=self._request_timeout)
        store = StoreConfig(path=":memory:")
        self._inside = await open_inside(stack, self.clock, timing, store_config=store)
        await self._listen(stack, self._inside)
        await stack.enter_async_context(self.branches)
        self._dtm = await stack.enter_async_context(Dtm(self.http_url))

    async def _listen(self, stack: AsyncExitStack, inside: Inside) -> None:
        readiness = Readiness()
        subjects = (inside.operations, readiness, inside.metrics)
        http_api = HttpApi(*subjects, version="testing", zone=UTC, body_bytes_max=BYTES_MAX)
        http = await start_http(http_api, HOST, 0)
        stack.push_async_callback(http.stop, STOP_SECONDS)
        grpc_api = GrpcApi(*subjects, version="testing", zone=UTC, body_bytes_max=BYTES_MAX)
        grpc = await start_grpc(grpc_api, HOST, 0)
        stack.push_async_callback(grpc.stop, STOP_SECONDS)
        self.http_url = f"http://{HOST}:{http.port}"
        self.grpc_url = f"grpc://{HOST}:{grpc.port}"
