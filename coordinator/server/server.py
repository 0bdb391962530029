"""Builds everything, starts it, stops it in order; the only place that knows all rooms."""

import secrets
from contextlib import AsyncExitStack
from random import Random, SystemRandom

from coordinator.access.recorder import Recorder
from coordinator.calls.base import Caller
from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.router import BranchCaller
from coordinator.clock import SystemClock
from coordinator.config.settings import Settings
from coordinator.discovery.names import Names
from coordinator.discovery.open import open_registration, open_resolver
from coordinator.engine.admission import Admission
from coordinator.engine.alerts import Alerts, LoggedAlerts
from coordinator.engine.drives import Engine
from coordinator.engine.recovery import Recovery
from coordinator.engine.tools import Tools
from coordinator.patterns.by_type import PATTERNS
from coordinator.server.admitting import open_gate, open_recorder
from coordinator.server.beginning import follow_clock, take_back
from coordinator.server.bulk_jobs import open_bulk
from coordinator.server.certificates import Certificates
from coordinator.server.embedding import Embedding
from coordinator.server.handed_out import bounds, places, pressure, store_config, timing, web_hook
from coordinator.server.holding import open_holding
from coordinator.server.joining import join, open_membership, open_siblings
from coordinator.server.keeping import open_keeping, why_no_results
from coordinator.server.listening import STOP_SECONDS, Listening, Ports
from coordinator.server.looking import Looking, Sources
from coordinator.server.observing import Observing
from coordinator.server.place import Place
from coordinator.server.retaining import open_retention
from coordinator.server.signing_in import open_sign_in
from coordinator.server.tasks import Tasks
from coordinator.server.where import where
from coordinator.service import Operations, build_operations
from coordinator.service.acting import Acting
from coordinator.store.fleet import BEAT_SECONDS
from coordinator.store.open import open_store
from coordinator.store.sql import SqlStore
from coordinator.store.wall_clock import has_summer_time
from coordinator.telemetry.log import log
from coordinator.watching.census import INTERVAL_SECONDS as CENSUS_SECONDS
from coordinator.watching.census import Census
from coordinator.watching.membership import Alone, Membership
from coordinator.watching.readiness import PULSE_SECONDS, Readiness, StoreWatch

STORE_WAIT_SECONDS = 60.0  # how long a start waits for a database that is away
WRITE_SECONDS = 5.0  # how long a request waits for its commit
_RESET_TIMEOUTS = 3  # reset_cron_time's default, in TimeoutToFail


class Server:
    """One coordinator: `start`, `stop`. Between them it serves."""

    def __init__(
        self,
        settings: Settings,
        *,
        reset: bool,
        place: Place | None = None,
        sources: Sources | None = None,
        embedding: Embedding | None = None,
    ) -> None:
        """reset: drop the coordinator's tables first. place: among several processes; None: it is alone.

        embedding: in which other program it is; None: in none.
        """
        self._embedding = embedding
        self._sources = sources or {}
        self._settings = settings if place is None else place.settings_of(settings)
        self._place = place
        self._reset = reset
        self._start_token = secrets.token_hex(6)  # of this run, in owners and in dtm_node
        self._readiness = embedding.readiness if embedding else Readiness()
        self._tasks = Tasks(self._readiness)
        self._places = places(settings)  # where calls may go
        self.operations: Operations  # once it is started
        self.ports = Ports(0, 0)
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
        embedding = self._embedding
        observing = Observing(settings, is_traced=embedding is None)
        self._certificates = Certificates(settings, clock)
        self._opened.push_async_callback(observing.close)
        store = await self._open_store(clock, observing)
        watch = await follow_clock(settings, store, clock, self._readiness)
        membership = await self._join(store)
        census = self._watch(store, clock, watch, membership, observing)
        engine, recovery = self._build_engine(store, clock, observing, membership)
        recorder = open_recorder(settings, store, clock, self._readiness, self._tasks)
        self._opened.push_async_callback(recorder.beat)  # what waits is written before the store is closed
        acting = Acting(engine, recorder, write_seconds=WRITE_SECONDS, wake=recovery.wake)
        holding = await open_holding(store, engine.tools.admission, clock, self._readiness, self._tasks)
        operations = build_operations(
            engine,
            urls=BranchUrls(self._places, None if embedding is None else embedding.functions),
            random=SystemRandom(),
            wake=recovery.wake,
            write_seconds=WRITE_SECONDS,
            reset_seconds=_RESET_TIMEOUTS * settings.timeout_to_fail,
            topic_seconds=settings.config_update_interval,
            recorder=recorder,
            tables=store.operate,
            nodes=store.nodes,
            roll=lambda: membership.roll,
            overview=store.operate,
            clocks_apart=clock.apart,
            acting=acting,
            bulk=open_bulk(
                settings, store, engine, acting, recorder, self._readiness, self._tasks, self._opened
            ),
            holding=holding,
            called=observing.endpoints,
        )
        await take_back(settings, store, clock, engine, wait_seconds=STORE_WAIT_SECONDS)
        await open_retention(
            settings, store, clock, self._readiness, self._tasks, holder=settings.instance_name
        )
        self.operations = operations
        if embedding is None or embedding.listens:
            await self._listen(store, clock, observing, census, recorder, engine)
        self._tasks.keep(recovery.run(), "recovery")
        self._readiness.watch("recovery", lambda: recovery.problem)
        self._opened.push_async_callback(self._tasks.end)
        self._opened.callback(engine.refuse_new)
        await self._register(observing)  # last, so that a stop begins with leaving it
        return where(settings, self.ports)

    async def stop(self) -> None:
        """Stop in the reverse order, in bounded time; what still runs is left to recovery."""
        self._readiness.set("stopping", "the coordinator is stopping")
        await self._opened.aclose()

    async def _open_store(self, clock: SystemClock, observing: Observing) -> SqlStore:
        settings = self._settings
        store = await open_store(
            store_config(settings, self._certificates.store),
            clock=clock,
            zone=settings.time_zone,
            reset=self._reset,
            wait_seconds=STORE_WAIT_SECONDS,
            observer=observing.metrics,
            watch=observing.runner,
        )
        self._opened.push_async_callback(store.close)
        return store

    async def _join(self, store: SqlStore) -> Membership | Alone:
        membership = open_membership(self._settings, store, self._start_token)
        self._opened.push_async_callback(membership.leave)
        return await join(membership, self._settings)

    def _watch(
        self,
        store: SqlStore,
        clock: SystemClock,
        watch: StoreWatch,
        membership: Membership | Alone,
        observing: Observing,
    ) -> Census:
        """Begin to look, again and again, at what work depends on."""
        readiness = self._readiness
        readiness.watch("fleet", lambda: membership.why_no_work)
        readiness.watch("writes", lambda: store.trouble or membership.trouble)
        readiness.note("fleet", lambda: membership.remark)
        census = Census(store, clock, store.shared, self._settings.instance_name)
        self._opened.push_async_callback(self._tasks.end)
        self._tasks.repeat(watch.beat, "store watch", seconds=PULSE_SECONDS)
        self._tasks.repeat(membership.beat, "membership", seconds=BEAT_SECONDS)
        self._tasks.repeat(census.ask, "census", seconds=CENSUS_SECONDS)
        observing.show_store(store, census)
        self._certificates.watch(readiness, self._tasks, observing.metrics)
        return census

    def _build_engine(
        self, store: SqlStore, clock: SystemClock, observing: Observing, membership: Membership | Alone
    ) -> tuple[Engine, Recovery]:
        settings = self._settings
        names = Names()
        self._opened.push_async_callback(names.close)
        resolver = open_resolver(
            names,
            balancer=settings.grpc_balancer,
            may_reach=self._places.require,
            tls=self._certificates.etcd_tls,
        )
        self._opened.push_async_callback(resolver.close)
        caller = BranchCaller(
            resolver,
            answer_bytes_max=settings.answer_bytes_max,
            names=names,
            places=self._places,
            tls=self._certificates.branches,
        )
        self._opened.push_async_callback(caller.close)
        admission = Admission(bounds(settings), monotonic=clock.monotonic, random=Random())
        self._readiness.watch("room", lambda: admission.problem)
        tools = Tools(
            store=store,
            caller=observing.caller(self._around(caller), PATTERNS),
            clock=clock,
            random=Random(),
            timing=timing(settings),
            patterns=PATTERNS,
            observer=observing.metrics,
            admission=admission,
            alerts=self._open_alerts(names),
            keeping=open_keeping(settings, store, clock, self._readiness, self._tasks),
            tracing=observing.tracing,
            no_results=why_no_results(store, self._readiness),
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

    async def _listen(
        self,
        store: SqlStore,
        clock: SystemClock,
        observing: Observing,
        census: Census,
        recorder: Recorder,
        engine: Engine,
    ) -> None:
        """Answer at the ports."""
        settings, operations = self._settings, self.operations
        parts = (settings, store, clock, self._readiness, self._tasks, recorder)
        signing_in = open_sign_in(*parts, self._opened)
        gate = await open_gate(*parts, signing_in.pages.book if signing_in else None)
        siblings = await open_siblings(
            self._place, self._readiness, observing.metrics, operations.topics, self._opened
        )
        looking = Looking(
            *(settings, clock, operations, census, observing, self._tasks, signing_in, self._sources)
        )
        listening = Listening(
            settings,
            operations,
            self._readiness,
            observing,
            gate,
            self._certificates,
            self._places,
            self._opened,
            looking.console,
            siblings,
            pressure(settings, engine.tools.admission, store.seconds_to_wait, clock.monotonic),
        )
        self.ports = await (listening.open() if self._embedding is None else listening.open_http())
        looking.close_with(self._opened)

    def _around(self, caller: BranchCaller) -> Caller:
        return caller if self._embedding is None else self._embedding.caller(caller)

    def _open_alerts(self, names: Names) -> Alerts:
        hook = web_hook(self._settings, names, self._places)
        if hook is None:
            return LoggedAlerts()
        self._tasks.keep(hook.run(), "alerts")
        return hook

    async def _register(self, observing: Observing) -> None:
        registration = open_registration(
            self._settings.micro_service.driver,
            self._settings.micro_service.target,
            self._settings.micro_service.end_point,
            self._certificates.etcd.context if self._certificates.etcd else None,
        )
        self._opened.push_async_callback(registration.stop)
        await registration.start()
        observing.show_state(self._readiness, registration)
