"""Builds everything, starts it, stops it in order; the only place that knows all rooms."""

import secrets
from contextlib import AsyncExitStack
from random import Random, SystemRandom

from coordinator import __version__
from coordinator.api.grpc import GrpcApi
from coordinator.api.http import HttpApi
from coordinator.api.room import Room
from coordinator.api.serve import Listener, start_grpc, start_http
from coordinator.calls.router import BranchCaller
from coordinator.clock import SystemClock
from coordinator.config.settings import Settings
from coordinator.discovery.names import Names
from coordinator.discovery.open import open_registration, open_resolver
from coordinator.engine.admission import Admission
from coordinator.engine.alerts import Alerts, LoggedAlerts
from coordinator.engine.drives import Engine
from coordinator.engine.hook import WebHookAlerts
from coordinator.engine.recovery import Recovery
from coordinator.engine.tools import Pattern, Tools
from coordinator.errors import StartError, StoreUnavailable
from coordinator.model import TransType
from coordinator.owner import prefix_of
from coordinator.patterns import msg, saga, tcc, workflow, xa
from coordinator.server.handed_out import bounds, store_config, timing
from coordinator.server.joining import join, open_membership
from coordinator.server.observing import Observing
from coordinator.server.tasks import Tasks
from coordinator.service import Operations, build_operations
from coordinator.store.fleet import BEAT_SECONDS
from coordinator.store.open import open_store
from coordinator.store.reach import Patience
from coordinator.store.sql import SqlStore
from coordinator.store.wall_clock import has_summer_time
from coordinator.telemetry.log import log
from coordinator.watching.census import INTERVAL_SECONDS as CENSUS_SECONDS
from coordinator.watching.census import Census
from coordinator.watching.membership import Alone, Membership
from coordinator.watching.readiness import PULSE_SECONDS, Readiness, StoreWatch

STORE_WAIT_SECONDS = 60.0  # how long a start waits for a database that is away
WRITE_SECONDS = 5.0  # how long a request waits for its commit
STOP_SECONDS = 5.0  # how long running requests and calls may take to end
_RESET_TIMEOUTS = 3  # reset_cron_time's default, in TimeoutToFail


class Server:
    """One coordinator: `start`, `stop`. Between them it serves."""

    def __init__(self, settings: Settings, *, reset: bool) -> None:
        """reset: drop the coordinator's tables first."""
        self._settings = settings
        self._reset = reset
        self._start_token = secrets.token_hex(6)  # of this run, in owners and in dtm_node
        self._readiness = Readiness()
        self._tasks = Tasks(self._readiness)
        self._opened = AsyncExitStack()  # what is closed in the reverse order of opening

    async def start(self) -> str:
        """Start everything in order; returns the block that tells an operator where to look.

        Raises StartError, with all that was opened closed again.
        """
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> str:
        settings, clock = self._settings, SystemClock()
        if settings.time_zone is None and has_summer_time(None, clock.now().year):
            log.warning(
                "this machine's clock is put back in autumn, and TimeZoneOffset is not set: around that hour"
                " leases and back-offs are an hour off; set TimeZoneOffset, or run with TZ=UTC"
            )
        observing = Observing(settings)
        self._opened.push_async_callback(observing.close)
        store = await self._open_store(clock, observing)
        watch = await self._follow_clock(store, clock)  # before anything is reckoned by it
        membership = await self._join(store)
        self._watch(store, clock, watch, membership, observing)
        engine, recovery = self._build_engine(store, clock, observing, membership)
        operations = build_operations(
            engine,
            random=SystemRandom(),
            wake=recovery.wake,
            write_seconds=WRITE_SECONDS,
            reset_seconds=_RESET_TIMEOUTS * settings.timeout_to_fail,
            topic_seconds=settings.config_update_interval,
        )
        await self._take_back(store, clock, engine)
        http, grpc = await self._listen(operations, observing)
        self._tasks.keep(recovery.run(), "recovery")
        self._readiness.watch("recovery", lambda: recovery.problem)
        self._opened.push_async_callback(self._tasks.end)
        self._opened.callback(engine.refuse_new)
        await self._register(observing)  # last, so that a stop begins with leaving it
        return self._where(http, grpc)

    async def stop(self) -> None:
        """Stop in the reverse order, in bounded time; what still runs is left to recovery."""
        self._readiness.set("stopping", "the coordinator is stopping")
        await self._opened.aclose()

    async def _open_store(self, clock: SystemClock, observing: Observing) -> SqlStore:
        settings = self._settings
        store = await open_store(
            store_config(settings),
            clock=clock,
            zone=settings.time_zone,
            reset=self._reset,
            wait_seconds=STORE_WAIT_SECONDS,
            observer=observing.metrics,
            watch=observing.runner,
        )
        self._opened.push_async_callback(store.close)
        return store

    async def _follow_clock(self, store: SqlStore, clock: SystemClock) -> StoreWatch:
        embedded = self._settings.store.driver == "sqlite"
        watch = StoreWatch(store, clock, self._readiness, own_clock=embedded)
        try:
            await watch.follow()
        except (StoreUnavailable, TimeoutError) as error:
            raise StartError(
                f"the store {self._settings.store.address} does not tell its time: {error}",
                "see the database's log, then start again",
            ) from error
        return watch

    async def _join(self, store: SqlStore) -> Membership | Alone:
        membership = open_membership(self._settings, store, self._start_token)
        self._opened.push_async_callback(membership.leave)
        await join(membership, self._settings)
        return membership

    def _watch(
        self,
        store: SqlStore,
        clock: SystemClock,
        watch: StoreWatch,
        membership: Membership | Alone,
        observing: Observing,
    ) -> None:
        """Begin to look, again and again, at what work depends on."""
        readiness = self._readiness
        readiness.watch("fleet", lambda: membership.why_no_work)
        readiness.watch("writes", lambda: store.trouble or membership.trouble)
        readiness.note("fleet", lambda: membership.remark)
        census = Census(store, clock)
        self._opened.push_async_callback(self._tasks.end)
        self._tasks.repeat(watch.beat, "store watch", seconds=PULSE_SECONDS)
        self._tasks.repeat(membership.beat, "membership", seconds=BEAT_SECONDS)
        self._tasks.repeat(census.ask, "census", seconds=CENSUS_SECONDS)
        observing.show_store(store, census)

    def _build_engine(
        self, store: SqlStore, clock: SystemClock, observing: Observing, membership: Membership | Alone
    ) -> tuple[Engine, Recovery]:
        settings = self._settings
        names = Names()
        self._opened.push_async_callback(names.close)
        resolver = open_resolver(names, balancer=settings.grpc_balancer)
        self._opened.push_async_callback(resolver.close)
        caller = BranchCaller(
            resolver,
            answer_bytes_max=settings.answer_bytes_max,
            names=names,
        )
        self._opened.push_async_callback(caller.close)
        patterns: dict[str, Pattern] = {
            TransType.SAGA: saga,
            TransType.MSG: msg,
            TransType.TCC: tcc,
            TransType.XA: xa,
            TransType.WORKFLOW: workflow,
        }
        admission = Admission(bounds(settings), monotonic=clock.monotonic, random=Random())
        self._readiness.watch("room", lambda: admission.problem)
        tools = Tools(
            store=store,
            caller=observing.caller(caller, patterns),
            clock=clock,
            random=Random(),
            timing=timing(settings),
            patterns=patterns,
            observer=observing.metrics,
            admission=admission,
            alerts=self._open_alerts(),
            tracing=observing.tracing,
        )
        engine = Engine(
            tools,
            instance=settings.instance_name,
            start=self._start_token,
            why_no_work=lambda: membership.why_no_work,
        )
        self._opened.push_async_callback(engine.stop, STOP_SECONDS)
        recovery = Recovery(engine, interval=settings.trans_cron_interval)
        observing.show_engine(admission)
        return engine, recovery

    def _open_alerts(self) -> Alerts:
        if not self._settings.alert_web_hook:
            return LoggedAlerts()
        alerts = WebHookAlerts(self._settings.alert_web_hook, on_end=self._settings.alert_on_end)
        self._tasks.keep(alerts.run(), "alerts")
        return alerts

    async def _take_back(self, store: SqlStore, clock: SystemClock, engine: Engine) -> None:
        """Make due what this instance drove when it died; of a SQLite file nobody else can own anything."""
        embedded = self._settings.store.driver == "sqlite"
        prefix = "" if embedded else prefix_of(self._settings.instance_name)
        patience = Patience(
            self._settings.store.address,
            STORE_WAIT_SECONDS,
            hint="see what keeps the store from being written",
        )
        taken = None
        while taken is None:
            try:
                taken = await store.take_back(
                    now=clock.now(), owner_prefix=prefix, except_prefix=engine.owner_prefix
                )
            except StoreUnavailable as error:  # it went away since it was opened
                await patience.pause(error, error.message)
        if taken:
            were = "transaction was" if taken == 1 else "transactions were"
            log.info("{} {} running when this coordinator stopped; work on them goes on now", taken, were)

    async def _listen(self, operations: Operations, observing: Observing) -> tuple[Listener, Listener]:
        settings, readiness, metrics = self._settings, self._readiness, observing.metrics
        room = Room()
        http_api = HttpApi(
            operations,
            readiness,
            metrics,
            version=__version__,
            zone=settings.time_zone,
            body_bytes_max=settings.body_bytes_max,
            tracing=observing.tracing,
            room=room,
        )
        http = await start_http(http_api, settings.host, settings.http_port)
        self._opened.push_async_callback(http.stop, STOP_SECONDS)
        grpc_api = GrpcApi(
            operations,
            readiness,
            metrics,
            body_bytes_max=settings.body_bytes_max,
            tracing=observing.tracing,
            room=room,
        )
        grpc = await start_grpc(grpc_api, settings.host, settings.grpc_port)
        self._opened.push_async_callback(grpc.stop, STOP_SECONDS)
        return http, grpc

    async def _register(self, observing: Observing) -> None:
        registration = open_registration(
            self._settings.micro_service.driver,
            self._settings.micro_service.target,
            self._settings.micro_service.end_point,
        )
        self._opened.push_async_callback(registration.stop)
        await registration.start()
        observing.show_state(self._readiness, registration)

    def _where(self, http: Listener, grpc: Listener) -> str:
        host = "127.0.0.1" if self._settings.host in {"0.0.0.0", "::"} else self._settings.host
        return "\n".join(
            (
                f"dtm-coordinator {__version__} is ready",
                f"  HTTP     {self._settings.host}:{http.port}  (http://{host}:{http.port}/api/dtmsvr)",
                f"  gRPC     {self._settings.host}:{grpc.port}",
                f"  store    {self._settings.store.address}",
                f"  look at  http://{host}:{http.port}/api/dtmsvr/all and http://{host}:{http.port}/api/ready",
            )
        )
