"""A coordinator in the test's own process: SQLite in memory, real ports, and time that is moved by hand."""

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from random import Random
from types import TracebackType
from typing import Final, Self

from prometheus_client import CollectorRegistry

from coordinator.api.grpc import GrpcApi
from coordinator.api.http import HttpApi
from coordinator.api.serve import start_grpc, start_http
from coordinator.backoff import Timing
from coordinator.calls.router import BranchCaller
from coordinator.client import Dtm
from coordinator.discovery.open import open_resolver
from coordinator.engine.admission import Admission, Bounds
from coordinator.engine.alerts import LoggedAlerts
from coordinator.engine.drives import Engine
from coordinator.engine.recovery import Recovery
from coordinator.engine.tools import Tools
from coordinator.model import TransType
from coordinator.patterns import msg, saga, tcc, workflow, xa
from coordinator.service import Operations, build_operations
from coordinator.store.open import StoreConfig, open_store
from coordinator.telemetry.metrics import Metrics
from coordinator.testing._branches import HOST, FakeBranches
from coordinator.watching.readiness import Readiness

STEP_SECONDS: Final = 1.0  # the coordinator of the kit looks for due transactions this often
STEPS_MAX: Final = 600  # a long journey takes longer steps
SETTLE_SECONDS: Final = 20.0  # real ones, for calls that are running
_POLL_SECONDS: Final = 0.002
_WRITE_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 0.1
_BYTES_MAX: Final = 4 << 20


class TravellingClock:
    """Clocks that stand still but for what the test travels (PROTOCOL §9).

    They begin at a whole second, as columns hold them: what is due in 10 seconds is due after `advance(10)`.
    """

    def __init__(self) -> None:
        self._now = datetime.now(UTC).replace(microsecond=0)
        self._monotonic = 0.0

    def advance(self, seconds: float) -> None:
        """Move on."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        return self._monotonic


class Steady(Random):
    """No jitter: a transaction is due exactly when its interval is over."""

    def random(self) -> float:
        """See Random."""
        return 0.0


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

    async def advance(self, seconds: float) -> None:
        """Let time pass for the coordinator: what becomes due on the way is done, and has ended afterwards.

        Raises AssertionError where calls do not end in real time.
        """
        step = max(STEP_SECONDS, seconds / STEPS_MAX)
        await self.settle()
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            await self._do_due()

    async def settle(self) -> None:
        """Wait until the coordinator does nothing any more that is due now.

        Raises AssertionError where calls do not end in real time.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._engine.running:
            assert time.monotonic() < deadline, f"still running after {SETTLE_SECONDS} s"
            await asyncio.sleep(_POLL_SECONDS)

    async def _do_due(self) -> None:
        pause = 0.0
        while not pause:
            pause = await self._recovery.look()
            await self.settle()

    async def _start(self, stack: AsyncExitStack) -> None:
        metrics = Metrics(CollectorRegistry(), version="testing")
        store = await open_store(
            StoreConfig(path=":memory:"), clock=self.clock, zone=UTC, wait_seconds=0, observer=metrics
        )
        stack.push_async_callback(store.close)
        resolver = open_resolver()
        stack.push_async_callback(resolver.close)
        caller = BranchCaller(resolver, answer_bytes_max=_BYTES_MAX)
        stack.push_async_callback(caller.close)
        tools = Tools(
            store=store,
            caller=caller,
            clock=self.clock,
            random=Steady(),
            timing=Timing(request_timeout=self._request_timeout),
            patterns={
                TransType.SAGA: saga,
                TransType.MSG: msg,
                TransType.TCC: tcc,
                TransType.XA: xa,
                TransType.WORKFLOW: workflow,
            },
            observer=metrics,
            admission=Admission(Bounds(), monotonic=self.clock.monotonic, random=Steady()),
            alerts=LoggedAlerts(),
        )
        self._engine = Engine(tools, instance="testing", start="1")
        stack.push_async_callback(self._engine.stop, _STOP_SECONDS)
        self._recovery = Recovery(self._engine, interval=STEP_SECONDS)
        operations = build_operations(
            self._engine,
            random=Random(0),
            wake=self._recovery.wake,
            write_seconds=_WRITE_SECONDS,
            reset_seconds=105,
            topic_seconds=3,
        )
        await self._listen(stack, operations, metrics)
        await stack.enter_async_context(self.branches)
        self._dtm = await stack.enter_async_context(Dtm(self.http_url))

    async def _listen(self, stack: AsyncExitStack, operations: Operations, metrics: Metrics) -> None:
        readiness = Readiness()
        http_api = HttpApi(
            operations, readiness, metrics, version="testing", zone=UTC, body_bytes_max=_BYTES_MAX
        )
        http = await start_http(http_api, HOST, 0)
        stack.push_async_callback(http.stop, _STOP_SECONDS)
        grpc = await start_grpc(GrpcApi(operations, readiness, metrics, body_bytes_max=_BYTES_MAX), HOST, 0)
        stack.push_async_callback(grpc.stop, _STOP_SECONDS)
        self.http_url = f"http://{HOST}:{http.port}"
        self.grpc_url = f"grpc://{HOST}:{grpc.port}"
