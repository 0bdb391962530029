"""Coordinators over the simulation's twin store and scripted branches, all patterns, in virtual time."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ParamSpec

from coordinator.backoff import Timing
from coordinator.calls.base import SUCCESS, Answer
from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.places import Places
from coordinator.engine.admission import Admission, Bounds
from coordinator.engine.alerts import Alert, Alerts, LoggedAlerts
from coordinator.engine.drives import Engine
from coordinator.engine.lull import Lull
from coordinator.engine.recovery import Recovery
from coordinator.engine.tools import Tools
from coordinator.model import (
    Branch,
    BranchRequest,
    Options,
    Status,
    Step,
    Transaction,
    TransactionRequest,
)
from coordinator.patterns.by_type import PATTERNS
from coordinator.service import Operations, build_operations
from tests.simulation.twin import Rows, TwinStore
from tests.simulation.virtual_loop import run_virtually
from tests.simulation.world import CountingObserver, Seen, VirtualClock

P = ParamSpec("P")
Behaviour = Callable[[Branch], Awaitable[Answer]]
LOGGED = LoggedAlerts()
BOUNDS = Bounds(transactions_max=100)
WORKFLOW_DATA = '{"name":"transfer","data":"e30="}'


def virtually(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine test in virtual time."""

    @functools.wraps(test)
    def run(*arguments: P.args, **named: P.kwargs) -> None:
        run_virtually(test(*arguments, **named))

    return run


class Scripted:
    """Branches that do what the test says, and remember who was called when."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.called: list[str] = []
        self.at: list[float] = []  # seconds of virtual time
        self._behaviour = behaviour

    def endpoint(self, transaction: Transaction, branch: Branch) -> str:
        return branch.url

    async def call(self, transaction: Transaction, branch: Branch, *, timeout: float) -> Answer:
        self.called.append(f"{branch.op} {branch.branch_id}")
        self.at.append(asyncio.get_running_loop().time())
        return await self._behaviour(branch)

    async def close(self) -> None:
        pass


async def succeed(_branch: Branch) -> Answer:
    return SUCCESS


class Told:
    """Alerts, remembered."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.ends: list[tuple[str, str, bool]] = []

    def failing(self, alert: Alert) -> None:
        self.alerts.append(alert)

    def ended(self, gid: str, status: str, *, was_reported: bool) -> None:
        self.ends.append((gid, status, was_reported))


@dataclass
class Node:
    """One coordinator."""

    tools: Tools
    engine: Engine
    recovery: Recovery
    operations: Operations


class Bench:
    """One coordinator; `node` makes more over the same rows and branches."""

    def __init__(
        self, behaviour: Behaviour = succeed, *, alerts: Alerts = LOGGED, bounds: Bounds = BOUNDS
    ) -> None:
        self.rows = Rows()
        self._alerts = alerts
        self._bounds = bounds
        self.caller = Scripted(behaviour)
        self._nodes = 0
        self.first = self.node()
        self.tools, self.recovery = self.first.tools, self.first.recovery
        self.store = self.tools.store
        self.operators = self.first.operations.operators
        self.transactions = self.first.operations.transactions
        self.branches = self.first.operations.branches
        self.workflows = self.first.operations.workflows
        self.topics = self.first.operations.topics

    def node(self) -> Node:
        self._nodes += 1
        clock = VirtualClock()
        tools = Tools(
            TwinStore(self.rows, Random(self._nodes)),
            self.caller,
            clock,
            Random(self._nodes),
            Timing(),
            PATTERNS,
            CountingObserver(Seen().marks),
            Admission(self._bounds, monotonic=clock.monotonic, random=Random(self._nodes)),
            self._alerts,
            lull=Lull(clock.monotonic),
        )
        engine = Engine(tools, instance=f"node{self._nodes}", start="1")
        recovery = Recovery(engine, interval=3)
        operations = build_operations(
            engine,
            urls=BranchUrls(Places()),
            random=Random(self._nodes),
            wake=recovery.wake,
            write_seconds=5,
            reset_seconds=105,
            topic_seconds=3,
        )
        return Node(tools, engine, recovery, operations)

    @property
    def row(self) -> Transaction:
        return self.rows.transactions["g"]

    @property
    def branch_rows(self) -> list[tuple[str, str, str]]:
        """(branch_id, op, status) of each, first registered first."""
        return [(b.branch_id, b.op, b.status) for b in self.rows.branches["g"]]

    async def put(self, trans_type: str, status: Status, **values: Any) -> None:
        """Put a transaction `g` there as it is, with two branches where its type has such."""
        row = Transaction("g", trans_type, status, owner="other/1/1", next_cron_interval=10, **values)
        ops = {"tcc": ("cancel", "confirm"), "xa": ("rollback", "commit"), "saga": ("compensate", "action")}
        branches = [
            Branch("g", name, op, f"http://branch/{op}", b"{}")
            for name in ("01", "02")
            for op in ops.get(trans_type, ("action",))
        ]
        assert await self.store.insert(row, branches, timeout=5)

    async def after(self, seconds: float) -> Status:
        """Let recovery work for so long; where the transaction stands then."""
        looking = asyncio.create_task(self.first.recovery.run())
        await asyncio.sleep(seconds)
        looking.cancel()
        return self.row.status


def request(trans_type: str = "saga", steps: int = 2, **options: Any) -> TransactionRequest:
    """A request of `g` as a client of that type sends it; options as in Options."""
    if trans_type not in ("saga", "msg"):
        steps = 0
    step = Step("http://branch/do", "http://branch/undo" if trans_type == "saga" else "")
    return TransactionRequest(
        "g",
        trans_type,
        (step,) * steps,
        (b"{}",) * steps,
        query_prepared="http://client/ask" if trans_type in ("msg", "workflow") else "",
        custom_data=WORKFLOW_DATA if trans_type == "workflow" else "",
        options=Options(**options),
    )


def ended(status: str, **extra: str) -> TransactionRequest:
    """The submit of a workflow that ended so."""
    return replace(request("workflow"), req_extra={"status": status, **extra})


def branch(
    trans_type: str = "tcc", branch_id: str = "01", payload: bytes = b"{}", **data: str
) -> BranchRequest:
    """A registerBranch of `g`; urls as a client of that type gives them, unless told otherwise."""
    given = {
        "tcc": {"cancel": "http://branch/cancel", "confirm": "http://branch/confirm"},
        "xa": {"url": "http://branch/xa"},
        "workflow": {"op": "action", "status": "succeed"},
    }
    return BranchRequest("g", trans_type, branch_id, payload, given.get(trans_type, {}) | data)
